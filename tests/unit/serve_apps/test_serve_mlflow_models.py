"""Models that others logged to MLflow are served by name: their framework's answers, no pickle."""

import lightgbm
import mlflow
import mlflow.lightgbm
import mlflow.onnx
import mlflow.pytorch
import mlflow.sklearn
import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import Schema
from mlflow.types import TensorSpec as MlflowTensor
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from novacron.errors import ArtifactError, ModelNotFoundError, NovacronError, SchemaError
from novacron.registry.config import RegistryConfig
from novacron.registry.store import ModelStore
from serve_apps.engines import Engine, choose_engine
from serve_apps.host import RegistryStore
from serve_apps.load_checks import check_loaded

RNG = np.random.default_rng(4)
FRAME = pd.DataFrame(RNG.standard_normal((300, 4)), columns=["cpu_ratio", "a", "b", "c"])
TARGET = FRAME["cpu_ratio"] * 2 + FRAME["a"]
PLAIN = {"pip_requirements": ["scikit-learn"]}


def matrix_signature(outputs="float64"):
    tensor = MlflowTensor(np.dtype("float64"), (-1, 4))
    return ModelSignature(Schema([tensor]), Schema([MlflowTensor(np.dtype(outputs), (-1,))]))


def save_booster(path):
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(FRAME.to_numpy(), TARGET), 20)
    mlflow.lightgbm.save_model(booster, path, signature=matrix_signature(), **PLAIN)
    return booster.predict(FRAME.to_numpy()), {"input": FRAME.to_numpy()}


def save_regressor(path):
    model = lightgbm.LGBMRegressor(n_estimators=10, verbose=-1).fit(FRAME, TARGET)
    mlflow.lightgbm.save_model(model, path, signature=infer_signature(FRAME, TARGET), **PLAIN)
    return model.predict(FRAME), {name: FRAME[name].to_numpy() for name in FRAME}


def save_classifier(path):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, TARGET > 0)
    mlflow.sklearn.save_model(
        model,
        path,
        signature=infer_signature(FRAME, model.predict(FRAME)),
        serialization_format="skops",
        **PLAIN,
    )
    return model.predict(FRAME), {name: FRAME[name].to_numpy() for name in FRAME}


def save_onnx(path):
    weights = np.array([[2.0], [1.0], [0.0], [0.0]], dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "w"], ["load_ratio"])],
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("load_ratio", TensorProto.FLOAT, [None, 1])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    rows = FRAME.to_numpy(dtype=np.float32)
    signature = ModelSignature(
        Schema([MlflowTensor(np.dtype("float32"), (-1, 4), "features")]),
        Schema([MlflowTensor(np.dtype("float32"), (-1, 1), "load_ratio")]),
    )
    mlflow.onnx.save_model(model, path, signature=signature, save_as_external_data=False, **PLAIN)
    return rows @ weights, {"features": rows}


SAVED = {
    "booster": save_booster,
    "regressor": save_regressor,
    "classifier": save_classifier,
    "onnx": save_onnx,
}


@pytest.fixture
def registry(tmp_path):
    store = ModelStore.connect(RegistryConfig(root=tmp_path / "registry"))
    client = MlflowClient(store.config.connection_uri, store.config.connection_uri)

    def register(name, folder):
        client.create_registered_model(name)
        version = client.create_model_version(name, str(folder)).version
        client.set_registered_model_alias(name, "champion", version)

    return RegistryStore(store), register


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", SAVED)
def test_a_model_is_served_by_its_alias_with_the_framework_s_own_answers(kind, registry, tmp_path):
    store, register = registry
    wanted, tensors = SAVED[kind](tmp_path / "model")
    register("load", tmp_path / "model")

    loaded = store.load("load", "champion")

    model = loaded.model
    check_loaded(model, loaded.card.features_hash, "load")
    (got,) = model.predict(model.prepare(tensors)).values()
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(got.ravel(), wanted.ravel(), rtol=1e-6)
    else:
        np.testing.assert_array_equal(got, wanted)
    assert model.kind.startswith("mlflow_")
    assert loaded.version == "1"


def test_the_trees_of_a_booster_may_be_walked_by_onnx_runtime(registry, tmp_path):
    store, register = registry
    save_booster(tmp_path / "model")
    register("load", tmp_path / "model")

    choice = store.load("load", "champion").model.choice

    assert set(choice.seconds) == {"lightgbm", "onnxruntime_trees"}
    assert choice.refused == {}


def test_columns_are_tensors_with_the_signature_s_names_and_types(registry, tmp_path):
    store, register = registry
    save_classifier(tmp_path / "model")
    register("load", tmp_path / "model")

    model = store.load("load", "1").model

    assert [(spec.name, spec.datatype, spec.shape) for spec in model.inputs] == [
        (name, "FP64", (-1,)) for name in FRAME
    ]
    with pytest.raises(SchemaError, match="cpu_ratio"):
        model.prepare({"a": np.ones(2)})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_pickle_is_refused_and_says_how_to_log_it(registry, tmp_path):
    store, register = registry
    model = LogisticRegression().fit(FRAME, TARGET > 0)
    mlflow.sklearn.save_model(
        model,
        tmp_path / "model",
        signature=infer_signature(FRAME),
        serialization_format="cloudpickle",
        **PLAIN,
    )
    register("load", tmp_path / "model")

    with pytest.raises(ArtifactError, match=r"pickle.*skops"):
        store.load("load", "champion")


@pytest.mark.filterwarnings("ignore")
def test_torch_files_run_code_and_are_refused_with_onnx_as_the_way_out(registry, tmp_path):
    store, register = registry
    mlflow.pytorch.save_model(
        torch.nn.Linear(4, 1),
        tmp_path / "model",
        signature=matrix_signature("float32"),
        serialization_format="pickle",
        pip_requirements=["torch"],
    )
    register("load", tmp_path / "model")

    with pytest.raises(ArtifactError, match=r"pytorch.*mlflow\.onnx"):
        store.load("load", "champion")


def test_a_model_without_a_signature_is_refused(registry, tmp_path):
    store, register = registry
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(FRAME.to_numpy(), TARGET), 2)
    mlflow.lightgbm.save_model(booster, tmp_path / "model", **PLAIN)
    register("load", tmp_path / "model")

    with pytest.raises(SchemaError, match="infer_signature"):
        store.load("load", "champion")


def test_a_name_that_is_not_registered_is_refused(registry):
    store, _ = registry

    with pytest.raises(ModelNotFoundError):
        store.load("nothing", "champion")


PROBE = {"x": np.arange(8.0)}


def engine(name, answer, cost_s=0.0, ticks=None):
    def predict(rows):
        if ticks is not None:
            ticks[0] += cost_s
        return {"y": answer(rows["x"])}

    return Engine(name=name, predict=predict)


def test_the_fastest_engine_with_the_framework_s_answers_is_taken_and_a_wrong_one_refused():
    now_s = [0.0]
    reference = engine("native", lambda x: x * 2, 1.0, now_s)
    others = [
        engine("quick", lambda x: x * 2, 0.5, now_s),
        engine("quicker but wrong", lambda x: x * 2.001, 0.1, now_s),
        engine("other shape", lambda x: x[:, None] * 2, 0.1, now_s),
        engine("other type", lambda x: (x * 2).astype(np.float32), 0.1, now_s),
        engine("broken", lambda x: 1 / 0, 0.1, now_s),
    ]

    choice = choose_engine(reference, others, PROBE, clock=lambda: now_s[0])

    assert choice.engine.name == "quick"
    assert choice.seconds["quick"] < choice.seconds["native"]
    assert set(choice.refused) == {"quicker but wrong", "other shape", "other type", "broken"}
    assert "differs by up to" in choice.refused["quicker but wrong"]


def test_the_framework_s_own_call_stays_where_nothing_is_faster():
    now_s = [0.0]
    reference = engine("native", lambda x: x, 0.1, now_s)

    choice = choose_engine(
        reference, [engine("slow", lambda x: x, 1.0, now_s)], PROBE, clock=lambda: now_s[0]
    )

    assert choice.engine is reference


def test_a_framework_that_does_not_answer_is_an_error():
    with pytest.raises(NovacronError, match="cannot answer a probe"):
        choose_engine(engine("native", lambda x: 1 / 0), [], PROBE)
