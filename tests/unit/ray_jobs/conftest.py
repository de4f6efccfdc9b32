import shutil
from pathlib import Path

import pytest

from novacron.models.bundles import LOADERS
from novacron.registry.config import VARIABLES, RegistryConfig
from novacron.registry.store import ModelStore
from ray_jobs.trainers import TRAINERS

DOUBLING_YAML = """
data: {sets: [fcc], generator: {links: 3, hours: 0.1}}
fit: {steps: 3}
"""


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory):
    """A database with tables and nothing else; making one takes seconds."""
    folder = tmp_path_factory.mktemp("registry")
    ModelStore.connect(RegistryConfig(root=folder, experiment="unused"))
    return folder / "registry.db"


@pytest.fixture
def runs(tmp_path, empty_registry, monkeypatch) -> Path:
    """A runs folder of the test's own with an empty registry, named by the environment."""
    folder = tmp_path / "runs"
    (folder / "registry").mkdir(parents=True)
    shutil.copyfile(empty_registry, folder / "registry" / "registry.db")
    monkeypatch.setenv("NOVACRON_RUNS_DIR", str(folder))
    for name in ("RAY_ADDRESS", "NOVACRON_DATA_DIR", *VARIABLES.values()):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(TRAINERS, "doubling", "doubling_trainer")
    monkeypatch.setitem(LOADERS, "doubling", "doubling_model")
    return folder


@pytest.fixture
def turn_to_another_registry(runs, empty_registry, monkeypatch):
    """Call it to go on with an empty registry, beside run folders that were begun under the first."""

    def turn():
        root = runs.parent / "another"
        root.mkdir()
        shutil.copyfile(empty_registry, root / "registry.db")
        monkeypatch.setenv(VARIABLES["root"], str(root))

    return turn


@pytest.fixture
def doubling_yaml(tmp_path) -> Path:
    path = tmp_path / "doubling.yaml"
    path.write_text(DOUBLING_YAML)
    return path
