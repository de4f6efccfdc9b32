"""What the registry promises, whatever keeps its records and files; a new store adds a fixture."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from datetime import timedelta
from pathlib import Path

import doubling_model
import numpy as np
import pytest
import registry_servers

from novacron.errors import (
    ArtifactError,
    ConfigError,
    GateRefusedError,
    ModelNotFoundError,
    NotReadyError,
)
from novacron.models.bundles import LOADERS
from novacron.registry.config import RegistryConfig
from novacron.registry.gate import GateRules, MetricRule
from novacron.registry.records import Audit
from novacron.registry.store import ModelStore

PASSWORD = "kept-out-of-logs"  # noqa: S105 - of a server that lives for one test
RULES = GateRules(required=(MetricRule(name="wape_ratio_to_ewma", set="oboe", limit=1.0),))

# Servers and processes are started; a busy machine takes its time.
pytestmark = pytest.mark.timeout(180)

CONNECT_AND_REGISTER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import doubling_model
from novacron.models.bundles import LOADERS
from novacron.registry.config import RegistryConfig
from novacron.registry.store import ModelStore
LOADERS["doubling"] = "doubling_model"
config = RegistryConfig.model_validate_json(sys.stdin.readline())
uri = sys.stdin.readline().strip()
store = ModelStore.connect(config.model_copy(update={"tracking_uri": type(config.tracking_uri)(uri)}))
bundle = doubling_model.write_bundle(Path(sys.argv[2]))
print(store.register("bandwidth", bundle, doubling_model.card()).version)
"""


def audit(minutes=0):
    return Audit(who="ops", at=doubling_model.CREATED_AT + timedelta(minutes=minutes))


def register(store, folder, factor=2.0, **card_fields):
    bundle_dir = doubling_model.write_bundle(folder / f"bundle{factor}", factor=factor)
    return store.register("bandwidth", bundle_dir, doubling_model.card(**card_fields))


@pytest.fixture(scope="module")
def file_with_tables(tmp_path_factory):
    """A SQLite file to copy; making the tables takes seconds."""
    folder = tmp_path_factory.mktemp("made")
    ModelStore.connect(RegistryConfig(root=folder, experiment="unused"))
    return folder / "registry.db"


def sqlite_settings(file_with_tables, root, **settings):
    root.mkdir()
    shutil.copyfile(file_with_tables, root / "registry.db")
    return RegistryConfig(root=root, **settings)


@pytest.fixture(scope="module")
def database_uri():
    with registry_servers.postgres_server(PASSWORD) as uri:
        yield uri


def execute(database_uri, statement):
    psycopg2 = pytest.importorskip("psycopg2", reason="no driver: pip install psycopg2-binary")
    connection = psycopg2.connect(database_uri)
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()


@pytest.fixture(scope="module")
def database_with_tables(database_uri):
    """Name of a database to copy; making the tables takes seconds."""
    execute(database_uri, "CREATE DATABASE made")
    uri = f"{database_uri.rpartition('/')[0]}/made"
    code = (
        "import sys\n"
        "from novacron.registry.config import RegistryConfig\n"
        "from novacron.registry.store import ModelStore\n"
        "ModelStore.connect(RegistryConfig(tracking_uri=sys.stdin.read(), experiment='unused'))"
    )
    # In a process of its own: PostgreSQL copies no database that somebody has open.
    subprocess.run([sys.executable, "-c", code], input=uri, text=True, check=True)
    return "made"


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory):
    with registry_servers.mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(scope="module")
def object_store_url(tmp_path_factory):
    with registry_servers.s3_server(tmp_path_factory.mktemp("s3")) as url:
        yield url


class RegistryContract:
    """Subclasses supply `config`: settings of a registry without models."""

    @pytest.fixture
    def untouched_config(self, config):
        """Settings of a registry that nobody has opened yet."""
        return config

    @pytest.fixture(autouse=True)
    def _doubling_kind(self, monkeypatch):
        monkeypatch.setitem(LOADERS, "doubling", "doubling_model")

    @pytest.fixture
    def store(self, config):
        return ModelStore.connect(config)

    def test_connecting_twice_finds_what_was_stored(self, store, config, tmp_path):
        register(store, tmp_path)

        assert ModelStore.connect(config).models() == ("bandwidth",)

    def test_a_loaded_model_answers_as_the_registered_one(self, store, tmp_path):
        register(store, tmp_path, factor=3.0)

        loaded = store.load("bandwidth", "challenger")

        rows = loaded.model.prepare({"bandwidth_mbps": np.array([[1.5]])})
        assert loaded.model.predict(rows)["value_mbps"].tolist() == [[4.5]]

    def test_a_card_of_some_size_comes_back_whole(self, store, tmp_path):
        metrics = tuple(doubling_model.metric(set_name=f"set{n}") for n in range(200))
        register(store, tmp_path, metrics=metrics)

        assert store.card("bandwidth", "1").metrics == metrics

    def test_aliases_follow_promotion_refusal_and_rollback(self, store, tmp_path):
        register(store, tmp_path, factor=1.0)
        store.promote("bandwidth", "challenger", RULES, audit=audit())
        register(store, tmp_path, factor=2.0)
        store.promote("bandwidth", "challenger", RULES, audit=audit(5))
        register(store, tmp_path, factor=3.0, metrics=(doubling_model.metric(value=1.5),))

        with pytest.raises(GateRefusedError):
            store.promote("bandwidth", "challenger", RULES, audit=audit(10))
        restored = store.rollback("bandwidth", audit=audit(15))

        assert restored.model.factor == 1.0
        assert store.describe()["models"]["bandwidth"]["aliases"] == {
            "champion": "1",
            "challenger": "3",
        }
        actions = [(change.action, change.version) for change in store.history("bandwidth")]
        assert actions == [("promote", "1"), ("promote", "2"), ("rollback", "1")]

    def test_more_reasons_than_fit_are_counted_and_do_not_stop_a_forced_promotion(
        self, store, tmp_path
    ):
        register(store, tmp_path)
        rules = GateRules(
            required=tuple(
                MetricRule(name=f"unmeasured_{number}", set="oboe", limit=1.0)
                for number in range(300)
            )
        )
        forced = Audit(who="ops", at=audit().at, why="the first model")

        store.promote("bandwidth", "1", rules, audit=forced, force=True)

        (change,) = store.history("bandwidth")
        assert change.reasons[0] == "unmeasured_0 on oboe: the card does not have it."
        assert change.reasons[-1] == f"and {300 - len(change.reasons) + 1} more"

    def test_what_is_not_there_is_named(self, store, tmp_path):
        register(store, tmp_path)

        with pytest.raises(ModelNotFoundError, match="it has challenger, 1"):
            store.load("bandwidth", "champion")
        with pytest.raises(ModelNotFoundError, match="nearest are bandwidth"):
            store.load("bandwidt")

    def test_a_file_added_to_the_store_is_refused(self, store, tmp_path):
        record = register(store, tmp_path)
        extra = tmp_path / "extra.json"
        extra.write_text("{}")
        store._backend._client.log_model_artifact(record.model_id, str(extra), "data/bundle")

        with pytest.raises(ArtifactError, match="extra"):
            store.load("bandwidth", "1")

    def test_a_file_replaced_in_the_store_is_refused(self, store, tmp_path):
        record = register(store, tmp_path)
        other = tmp_path / "factor.json"
        other.write_text("9.0")
        store._backend._client.log_model_artifact(
            record.model_id, str(other), "data/bundle/weights"
        )

        with pytest.raises(ArtifactError, match=r"factor\.json"):
            store.load("bandwidth", "1")

    def test_a_run_keeps_its_progress_and_its_end(self, store, tmp_path):
        figure = tmp_path / "loss.png"
        figure.write_bytes(b"png")

        with store.run("train", params={"seed": 1}) as run:
            run.log_metrics({"loss": 0.5}, step=3)
            run.log_figure(figure)
        with (
            pytest.raises(ConfigError, match="started with"),
            store.run("train", params={"seed": 2}, run_id=run.run_id),
        ):
            pass

        stored = store._backend._client.get_run(run.run_id)
        assert stored.data.metrics == {"loss": 0.5}
        assert stored.info.status == "FAILED"

    def test_two_processes_that_begin_at_once_both_get_their_version(
        self, untouched_config, tmp_path
    ):
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        shared = Path(doubling_model.__file__).parent
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", CONNECT_AND_REGISTER, shared, tmp_path / f"two{number}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for number in range(2)
        ]
        config = untouched_config
        settings = config.model_dump_json(exclude={"tracking_uri"})
        for process in processes:
            process.stdin.write(f"{settings}\n{config.connection_uri}\n")
            process.stdin.flush()

        answers = [process.communicate(timeout=150) for process in processes]

        assert sorted(answer[0].strip() for answer in answers) == ["1", "2"], answers
        assert all(PASSWORD not in answer[1] for answer in answers)


class TestSqliteAndFolder(RegistryContract):
    @pytest.fixture
    def config(self, file_with_tables, tmp_path):
        return sqlite_settings(file_with_tables, tmp_path / "registry")

    @pytest.fixture
    def untouched_config(self, tmp_path):
        return RegistryConfig(root=tmp_path / "registry")


@pytest.mark.server
class TestPostgresAndFolder(RegistryContract):
    @pytest.fixture
    def config(self, database_with_tables, database_uri, tmp_path):
        return self.settings(database_uri, tmp_path, f"TEMPLATE {database_with_tables}")

    @pytest.fixture
    def untouched_config(self, database_uri, tmp_path):
        return self.settings(database_uri, tmp_path, "")

    def settings(self, database_uri, tmp_path, template):
        name = f"registry_{zlib.crc32(str(tmp_path).encode())}"
        execute(database_uri, f"CREATE DATABASE {name} {template}")
        return RegistryConfig(
            tracking_uri=f"{database_uri.rpartition('/')[0]}/{name}",
            artifact_uri=(tmp_path / "files").as_uri(),
        )

    def test_no_record_of_the_log_shows_the_password(self, config, caplog, capfd, tmp_path):
        caplog.set_level("DEBUG")

        register(ModelStore.connect(config), tmp_path)

        streams = capfd.readouterr()
        assert PASSWORD not in caplog.text + streams.out + streams.err

    def test_a_wrong_password_is_refused_at_once_and_not_repeated(self, config):
        wrong = config.connection_uri.replace(PASSWORD, "wrong-one")

        with pytest.raises(NotReadyError, match="does not answer") as caught:
            ModelStore.connect(RegistryConfig(tracking_uri=wrong))

        assert "wrong-one" not in str(caught.value)


@pytest.mark.server
class TestMlflowServer(RegistryContract):
    @pytest.fixture
    def config(self, mlflow_url, tmp_path):
        config = RegistryConfig(tracking_uri=mlflow_url, experiment=tmp_path.name)
        yield config
        store = ModelStore.connect(config)
        for name in store.models():
            store._backend._client.delete_registered_model(name)


@pytest.mark.server
class TestSqliteAndObjectStore(RegistryContract):
    @pytest.fixture
    def config(self, object_store_url, file_with_tables, tmp_path, monkeypatch):
        variables = {
            "MLFLOW_S3_ENDPOINT_URL": object_store_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return sqlite_settings(
            file_with_tables, tmp_path / "registry", artifact_uri=f"s3://models/{tmp_path.name}"
        )


@pytest.mark.parametrize("uri", ["postgresql://ml:s3cret@127.0.0.1:1/x", "http://127.0.0.1:1"])
def test_a_store_that_is_not_there_is_told_at_once_without_its_password(uri):
    with pytest.raises(NotReadyError, match="does not answer") as caught:
        ModelStore.connect(RegistryConfig(tracking_uri=uri))

    assert "s3cret" not in json.dumps(caught.value.to_dict())
