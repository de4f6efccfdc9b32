import pickle

import pytest

from novacron.errors import ConfigError
from novacron.registry.config import RegistryConfig

DATABASE_URI = "postgresql://ml:s3cret@db.example:5432/registry"


def test_everything_lies_in_one_folder_by_default(tmp_path):
    config = RegistryConfig(root=tmp_path)

    assert config.connection_uri == f"sqlite:///{tmp_path}/registry.db"
    assert config.artifact_location == (tmp_path / "artifacts").as_uri()


@pytest.mark.parametrize("show", [repr, str, lambda config: config.model_dump_json()])
def test_a_password_is_never_shown(show):
    config = RegistryConfig(tracking_uri=DATABASE_URI)

    assert "s3cret" not in show(config)


def test_the_location_names_the_host_without_user_and_password():
    config = RegistryConfig(tracking_uri=DATABASE_URI)

    assert config.location == "postgresql+psycopg2://db.example:5432/registry"


def test_a_plain_postgresql_address_gets_the_driver_that_is_installed():
    config = RegistryConfig(tracking_uri="postgresql://db.example/registry")

    assert config.connection_uri == "postgresql+psycopg2://db.example/registry"


def test_the_connection_survives_a_trip_to_another_process():
    config = RegistryConfig(tracking_uri=DATABASE_URI)

    copy = pickle.loads(pickle.dumps(config))  # noqa: S301 - our own bytes

    assert copy.connection_uri == config.connection_uri


def test_variables_of_the_environment_are_read_by_name(tmp_path):
    config = RegistryConfig.from_mapping(
        {"NOVACRON_TRACKING_URI": DATABASE_URI, "NOVACRON_ARTIFACT_URI": "s3://models/here/"}
    )

    assert config.connection_uri.endswith(DATABASE_URI.partition("//")[2])
    assert config.artifact_location == "s3://models/here"


def test_an_explicit_setting_wins_over_a_variable():
    config = RegistryConfig.from_mapping({"NOVACRON_EXPERIMENT": "one"}, experiment="two")

    assert config.experiment == "two"


def test_an_empty_variable_counts_as_not_set():
    config = RegistryConfig.from_mapping({"NOVACRON_EXPERIMENT": ""})

    assert config.experiment == "novacron"


def test_a_refused_uri_is_named_by_its_variable_and_not_repeated():
    with pytest.raises(ConfigError) as caught:
        RegistryConfig.from_mapping({"NOVACRON_TRACKING_URI": "mysql://ml:s3cret@db/registry"})

    assert "NOVACRON_TRACKING_URI" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_password_in_the_artifact_address_is_refused():
    with pytest.raises(ConfigError) as caught:
        RegistryConfig.from_mapping({}, artifact_uri="sftp://ml:s3cret@files/models")

    assert "s3cret" not in str(caught.value)


def test_an_unknown_setting_is_refused():
    with pytest.raises(ConfigError, match="artefact_uri"):
        RegistryConfig.from_mapping({}, artefact_uri="x")


def test_a_server_decides_where_files_go_unless_told():
    config = RegistryConfig(tracking_uri="http://mlflow:5000")

    assert config.is_server
    assert config.artifact_location == ""


def test_a_folder_given_without_scheme_becomes_a_file_uri(tmp_path):
    config = RegistryConfig(artifact_uri=str(tmp_path / "files"))

    assert config.artifact_location == (tmp_path / "files").as_uri()


def test_only_a_registry_in_sqlite_has_a_database_file(tmp_path):
    named = RegistryConfig(tracking_uri=f"sqlite:///{tmp_path}/other.db")

    assert RegistryConfig(root=tmp_path).sqlite_path == tmp_path / "registry.db"
    assert named.sqlite_path == tmp_path / "other.db"
    assert RegistryConfig(tracking_uri=DATABASE_URI).sqlite_path is None


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///"])
def test_a_database_in_memory_is_refused(uri):
    with pytest.raises(ConfigError, match="needs a file"):
        RegistryConfig.from_mapping({}, tracking_uri=uri)
