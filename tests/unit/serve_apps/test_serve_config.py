from pathlib import Path

import pytest
from pydantic import ValidationError

from novacron.errors import ConfigError
from novacron.registry.config import RegistryConfig
from serve_apps.config import AppConfig, ScalingConfig, resolve_registry, split_ref


@pytest.mark.parametrize(
    ("ref", "parts"),
    [
        ("bandwidth", ("bandwidth", "champion")),
        ("bandwidth@challenger", ("bandwidth", "challenger")),
        ("bandwidth@3", ("bandwidth", "3")),
    ],
)
def test_a_ref_is_a_name_and_an_alias_or_version(ref, parts):
    assert split_ref(ref) == parts


@pytest.mark.parametrize("ref", ["", "@champion", "a@", "a b", "../x", "a@b@c", "Name", "a/1"])
def test_a_ref_that_is_no_name_is_refused(ref):
    with pytest.raises(ValidationError):
        AppConfig(models=(ref,))


def test_a_model_listed_twice_is_refused():
    with pytest.raises(ValidationError, match="twice"):
        AppConfig(models=("a", "a"))


def test_no_model_at_all_is_refused():
    with pytest.raises(ValidationError):
        AppConfig(models=())


def test_a_request_limit_that_the_queue_could_never_hold_is_refused():
    with pytest.raises(ValidationError, match="max_queued_rows"):
        AppConfig(models=("a",), limits={"max_request_rows": 10}, batching={"max_queued_rows": 9})


def test_replica_bounds_must_be_ordered():
    with pytest.raises(ValidationError, match="below"):
        ScalingConfig(min_replicas=3, max_replicas=2)


def test_the_registry_folder_comes_from_settings_then_variables_then_the_runs_folder():
    given = RegistryConfig(root=Path("/given"))
    variables = {"NOVACRON_REGISTRY_ROOT": "/named", "NOVACRON_RUNS_DIR": "/runs"}

    assert resolve_registry(given, variables).root == Path("/given")
    assert resolve_registry(RegistryConfig(), variables).root == Path("/named")
    del variables["NOVACRON_REGISTRY_ROOT"]
    assert resolve_registry(RegistryConfig(), variables).root == Path("/runs/registry")
    assert resolve_registry(RegistryConfig(), {}).root == Path("runs/registry").resolve()


def test_a_tracking_address_comes_from_the_environment_and_is_never_shown():
    variables = {"NOVACRON_TRACKING_URI": "postgresql://me:secret@db/registry"}

    settings = resolve_registry(RegistryConfig(), variables)

    assert settings.tracking_uri.get_secret_value() == variables["NOVACRON_TRACKING_URI"]
    assert "secret" not in repr(AppConfig(models=("a",), registry=settings))


def test_a_variable_that_is_not_allowed_is_refused_by_name():
    with pytest.raises(ConfigError, match="NOVACRON_TRACKING_URI"):
        resolve_registry(RegistryConfig(), {"NOVACRON_TRACKING_URI": "ftp://x"})
