"""What every Serve application and settings file of this project must keep, without a cluster."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
from ray.serve.schema import ServeDeploySchema

from serve_apps.app import build, deployment_options
from serve_apps.config import AppConfig

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs" / "serve").glob("*.yaml"))


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def settings(request):
    return yaml.safe_load(request.param.read_text())


@pytest.fixture
def deployed(settings):
    """The deployment as Serve builds it from a file's arguments."""
    app = call_user_app_builder_with_args_if_necessary(
        build, settings["applications"][0].get("args", {})
    )
    return app._bound_deployment


def test_every_file_fits_serves_schema_and_our_settings(settings):
    schema = ServeDeploySchema.model_validate(settings)

    for application in schema.applications:
        AppConfig.model_validate(application.args)


def test_every_file_names_a_builder_that_exists(settings):
    for application in settings["applications"]:
        module, _, name = application["import_path"].partition(":")
        assert getattr(importlib.import_module(module), name) is build


def test_one_app_holds_all_models_at_the_root(settings):
    assert [app["route_prefix"] for app in settings["applications"]] == ["/"]


def test_the_endpoint_is_bound_to_this_machine_alone(settings):
    assert settings["http_options"]["host"] == "127.0.0.1"


def test_the_access_log_is_off(settings, deployed):
    assert settings["logging_config"]["enable_access_log"] is False
    assert deployed._deployment_config.logging_config["enable_access_log"] is False


def test_a_replica_takes_enough_requests_at_once_to_fill_batches(deployed):
    config = deployed.init_args[0]

    assert deployed.max_ongoing_requests >= 512
    assert deployed.max_ongoing_requests >= config.scaling.target_ongoing_requests


def test_it_scales_on_load_and_up_before_down(deployed):
    scaling = deployed._deployment_config.autoscaling_config

    assert scaling.min_replicas < scaling.max_replicas
    assert scaling.upscale_delay_s < scaling.downscale_delay_s


def test_a_new_replica_starts_before_the_old_one_stops(deployed):
    assert deployed._deployment_config.max_surge_percent == 100


def test_the_queue_is_bounded_and_says_when_to_come_back(deployed):
    backpressure = deployed._deployment_config.backpressure_config

    assert deployed._deployment_config.max_queued_requests > 0
    assert backpressure.status_code == 429
    assert backpressure.retry_after_s > 0


def test_the_replica_is_told_where_the_registry_is_in_absolute_terms(deployed):
    assert deployed.init_args[0].registry.root.is_absolute()


def test_the_builder_receives_settings_not_a_raw_mapping():
    (parameter,) = inspect.signature(build).parameters.values()

    assert parameter.annotation is AppConfig


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(ValidationError, match="max_replica\n"):
        call_user_app_builder_with_args_if_necessary(
            build, {"models": "bandwidth", "scaling": {"max_replica": 3}}
        )


def test_models_may_be_named_on_a_command_line():
    app = call_user_app_builder_with_args_if_necessary(
        build, {"models": "bandwidth,other@challenger"}
    )

    assert app._bound_deployment.init_args[0].models == ("bandwidth", "other@challenger")


def test_every_setting_of_a_deployment_is_one_that_serve_knows():
    from ray import serve

    options = deployment_options(AppConfig(models=("bandwidth",)))

    assert set(options) <= set(inspect.signature(serve.deployment).parameters)
