import json
import os
import subprocess
import sys
from pathlib import Path

import doubling_model
import pytest

from novacron.errors import ArtifactError
from novacron.registry.pyfunc_loader import _load_pyfunc

PLAIN_CLIENT = """
import json, sys
import mlflow, numpy
mlflow.set_tracking_uri(sys.argv[1])
# The test's own kind of model; those of the project need no such line.
from novacron.models.bundles import LOADERS
LOADERS["doubling"] = "doubling_model"
model = mlflow.pyfunc.load_model("models:/bandwidth@challenger")
answer = model.predict({"bandwidth_mbps": numpy.array([[1.0, 2.0]])})
inputs = [spec.name for spec in model.metadata.signature.inputs.inputs]
outputs = [spec.name for spec in model.metadata.signature.outputs.inputs]
print(json.dumps([answer["value_mbps"].tolist(), inputs, outputs]))
"""


def test_a_plain_mlflow_client_gets_the_same_answers(store, register, tmp_path):
    register(factor=3.0)
    env = os.environ | {
        "PYTHONPATH": str(Path(doubling_model.__file__).parent),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }

    finished = subprocess.run(
        [sys.executable, "-c", PLAIN_CLIENT, store.config.connection_uri],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=env,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr[-2000:]
    value_mbps, inputs, outputs = json.loads(finished.stdout)
    assert value_mbps == [[3.0, 6.0]]
    assert inputs == ["bandwidth_mbps"]
    assert outputs == ["value_mbps", "fallback"]


@pytest.fixture
def model_dir(register, config):
    register()
    return next((config.root / "artifacts").rglob("MLmodel")).parent


def test_no_file_of_a_registered_model_is_a_pickle(model_dir):
    paths = [path for path in model_dir.rglob("*") if path.is_file()]

    assert len(paths) >= 5
    assert not [path for path in paths if path.suffix in (".pkl", ".pickle", ".pt")]
    assert not [path for path in paths if path.read_bytes()[:1] == b"\x80"]


def test_the_requirements_are_this_project_and_mlflow_at_their_versions(model_dir):
    requirements = (model_dir / "requirements.txt").read_text().split()

    assert [line.split("==")[0] for line in requirements] == ["mlflow", "novacron-ml"]


def test_a_plain_client_refuses_a_changed_file_as_well(model_dir):
    (model_dir / "data" / "bundle" / "weights" / "factor.json").write_text("9.0")

    with pytest.raises(ArtifactError, match="sha256"):
        _load_pyfunc(str(model_dir / "data" / "bundle"))


def test_a_plain_client_refuses_a_model_without_card(model_dir):
    (model_dir / "card.json").unlink()

    with pytest.raises(ArtifactError, match=r"card\.json"):
        _load_pyfunc(str(model_dir / "data" / "bundle"))
