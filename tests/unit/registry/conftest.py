import shutil

import doubling_model
import pytest

from novacron.models.bundles import LOADERS
from novacron.registry.config import RegistryConfig
from novacron.registry.store import ModelStore


@pytest.fixture(autouse=True)
def doubling_kind(monkeypatch):
    monkeypatch.setitem(LOADERS, "doubling", "doubling_model")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database with tables and nothing else; making one takes seconds."""
    folder = tmp_path_factory.mktemp("registry")
    ModelStore.connect(RegistryConfig(root=folder, experiment="unused"))
    return folder / "registry.db"


@pytest.fixture
def config(tmp_path, empty_database):
    config = RegistryConfig(root=tmp_path / "registry")
    config.root.mkdir()
    shutil.copyfile(empty_database, config.root / "registry.db")
    return config


@pytest.fixture
def store(config):
    return ModelStore.connect(config)


@pytest.fixture
def register(store, tmp_path):
    """Register a new version that multiplies by `factor`; card fields by keyword."""
    count = iter(range(1000))

    def run(factor=2.0, run_id="", **card_fields):
        bundle_dir = doubling_model.write_bundle(tmp_path / f"bundle{next(count)}", factor=factor)
        return store.register(
            "bandwidth", bundle_dir, doubling_model.card(**card_fields), run_id=run_id
        )

    return run
