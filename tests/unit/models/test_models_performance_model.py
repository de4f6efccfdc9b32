import json

import numpy as np
import pytest
import tiny_performance
from tiny_performance import request

from novacron.errors import (
    ArtifactError,
    FeatureMismatchError,
    InvalidInputError,
    OutOfRangeError,
    SchemaError,
)
from novacron.models.bundles import load_bundle
from novacron.models.performance.generated import generate_scores
from novacron.models.performance.lstm_numpy import LstmWeights, static_inputs

pytestmark = pytest.mark.learn


@pytest.fixture(scope="module")
def model():
    return tiny_performance.tiny_model()


def answer(model, tensors):
    return model.predict(model.prepare(tensors))


def test_numpy_answers_as_torch_does(model):
    torch = pytest.importorskip("torch")
    from novacron.models.performance.config import LstmConfig
    from novacron.models.performance.lstm import AttentiveLstm, _exported

    rng = np.random.default_rng(0)
    config = LstmConfig(hidden=5, attention=4, head=7, steps=6, layers=3, dropout_ratio=0)
    torch.manual_seed(1)
    network = AttentiveLstm(config, channels=3, fixed=9).eval()
    x, fixed = rng.normal(size=(11, 6, 3)), rng.normal(size=(11, 9))
    x, fixed = x.astype(np.float32), fixed.astype(np.float32)
    ones = np.ones(9, dtype=np.float32)

    weights = _exported(network.state_dict(), config, ones * 0, ones)
    found, attention = weights.quantiles(x, fixed)
    with torch.no_grad():
        expected = network(torch.from_numpy(x), torch.from_numpy(fixed)).numpy()

    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(attention.sum(axis=1), np.ones(11), atol=1e-5)
    assert (np.diff(found, axis=1) >= 0).all()


def test_the_documented_network_has_three_layers_both_ways_of_128():
    from novacron.models.performance.config import LstmConfig

    assert (LstmConfig().layers, LstmConfig().hidden) == (3, 128)


def test_categories_become_one_column_each_and_unknown_ones_none():
    x = np.array([[1.0, 0.0, -1.0, 0.0, 7.0]], dtype=np.float32)

    spelled = static_inputs(x, (2, 1, 2))

    assert spelled.tolist() == [[0, 1, 1, 0, 0, 1, 0, 7]]


def test_every_answer_is_ordered_and_its_attention_sums_to_one(model):
    found = answer(model, request(5, 12))

    assert (found["lower"] >= 0).all()
    assert (found["lower"] <= found["value"]).all()
    assert (found["value"] <= found["upper"]).all()
    assert found["attention"].shape == (5, 6)
    assert found["attention"].sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert ((found["degradation_probability"] > 0) & (found["degradation_probability"] < 1)).all()
    assert found["fallback"].tolist() == [""] * 5
    assert found["own_samples"].tolist() == [12] * 5


def test_requests_and_the_replay_of_a_table_give_the_same_answers(model):
    frame = generate_scores(9, vms=2, samples=60)
    table, context = model.replay(frame)
    row = int(np.flatnonzero(table.ranks() == 40)[7])
    own, peers = np.isfinite(context.own_NT[row]), np.isfinite(context.peer_NM[row])
    names = table.names
    tensors = {
        "benchmark": np.array([names.benchmarks[table.benchmark_N[row]]], dtype=object),
        "vm_size": np.array([names.sizes[table.size_N[row]]], dtype=object),
        "region": np.array([names.regions[table.region_N[row]]], dtype=object),
        "score": context.own_NT[row][own][None],
        "age_s": context.own_age_NT[row][own][None],
        "peer_score": context.peer_NM[row][peers][None],
        "peer_age_s": context.peer_age_NM[row][peers][None],
        "peer_vm": context.peer_vm_NM[row][peers][None],
        "idle_s": context.idle_N[row : row + 1],
        "previous_benchmark": np.array([names.benchmarks[context.previous_N[row]]], dtype=object),
        "asked_at_s": context.asked_N[row : row + 1],
    }

    replayed = model.core.answer(context.take(np.array([row])))

    assert answer(model, tensors)["quantiles"] == pytest.approx(replayed.q_NQ, rel=1e-6)


def test_a_vm_without_a_past_is_answered_by_its_peers_and_says_so(model):
    tensors = request(1, 4)
    peers = {"peer_score": tensors.pop("score"), "peer_age_s": tensors.pop("age_s")}

    by_peers = answer(model, tensors | peers)
    by_training = answer(model, tensors)

    assert by_peers["fallback"].tolist() == ["fleet_level"]
    assert by_training["fallback"].tolist() == ["pooled_prior"]
    assert by_training["own_samples"].tolist() == [0]
    assert 1500 < by_training["value"][0] < 5000


def test_a_history_that_never_moves_is_answered_by_its_last_value_and_says_so(model):
    tensors = request(1, 12) | {"score": np.full((1, 12), 3000.0)}

    found = answer(model, tensors)

    assert found["fallback"].tolist() == ["last_value"]
    assert found["value"].tolist() == [3000.0]
    assert found["lower"][0] <= 3000 <= found["upper"][0]


def test_missing_samples_are_closed_up(model):
    whole = request(1, 6)
    holes = {
        "score": np.insert(whole["score"], 3, 0.0, axis=1),
        "age_s": np.insert(whole["age_s"], 3, 0.0, axis=1),
        "is_present": np.array([[True, True, True, False, True, True, True]]),
    }

    found = answer(model, whole | holes)

    assert found["quantiles"] == pytest.approx(answer(model, whole)["quantiles"])


NAN = request(1, 4)["score"] * np.array([1, np.nan, 1, 1])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"score": NAN}, OutOfRangeError, r"score\[0, 1\]"),
        ({"score": request(1, 4)["score"] * 1e6}, OutOfRangeError, "unit of the training"),
        ({"score": request(1, 4)["score"] * 0}, OutOfRangeError, "positive"),
        ({"age_s": np.array([[1.0, 2.0, 3.0, 4.0]])}, OutOfRangeError, "Sort the samples"),
        ({"age_s": np.array([[4.0, 3.0, 3.0, 1.0]])}, OutOfRangeError, "no time twice"),
        ({"age_s": np.array([[4.0, 3.0]])}, SchemaError, "shape of score"),
        ({"is_present": np.array([[True]])}, SchemaError, "is_present"),
        ({"peer_vm": np.array([[1]])}, SchemaError, "peer_score"),
        ({"benchmark": None}, SchemaError, "benchmark"),
    ],
)
def test_bad_input_is_refused_by_name(model, change, error, words):
    tensors = {k: v for k, v in (request(1, 4) | change).items() if v is not None}

    with pytest.raises(error, match=words):
        model.prepare(tensors)


def test_nothing_known_is_refused_and_not_guessed(model):
    with pytest.raises(InvalidInputError, match="benchmark of row 0"):
        model.prepare({"benchmark": np.array(["new"], dtype=object)})


def test_an_unknown_benchmark_with_a_past_is_answered(model):
    tensors = {"benchmark": np.array(["new"], dtype=object), "score": np.array([[5.0, 6.0, 5.5]])}

    found = answer(model, tensors)

    assert 3 < found["value"][0] < 9


def test_a_changed_bundle_is_refused(model, tmp_path):
    model.save(tmp_path / "b")
    path = tmp_path / "b" / "degradation.txt"
    path.write_text(path.read_text() + "\n")

    with pytest.raises(ArtifactError, match="degradation"):
        load_bundle(tmp_path / "b")


def test_a_bundle_of_other_features_is_refused(model, tmp_path):
    model.save(tmp_path / "b")
    path = tmp_path / "b" / "bundle.json"
    manifest = json.loads(path.read_text()) | {"features_hash": "0" * 64}
    path.write_text(json.dumps(manifest))

    with pytest.raises(FeatureMismatchError, match="again"):
        load_bundle(tmp_path / "b")


def test_arrays_that_do_not_belong_to_a_network_are_refused(model):
    weights = model.core.lstms[0]

    with pytest.raises(ArtifactError, match="LSTM"):
        LstmWeights(arrays=dict(weights.arrays), layers=2)
