"""Deploys the endpoint to a cluster through Serve's REST API, and asks it what it answers."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from novacron.errors import ConfigError, NotReadyError
from ray_jobs.cluster_state import ClusterState, port_or_free
from ray_jobs.exposure import check_reach

_PATH: Final = "/api/serve/applications/"
_POLL_S: Final = 0.5
_FAILED: Final = ("DEPLOY_FAILED", "UNHEALTHY")


def read_serve_config(path: Path) -> dict[str, Any]:
    """Read a Serve config file as Serve takes it.

    Raises:
        ConfigError: It is missing, not YAML, or names no application.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as cause:
        raise ConfigError(field=str(path), got=str(cause), expected="a Serve YAML file") from cause
    if not isinstance(config, dict) or not config.get("applications"):
        raise ConfigError(
            field=f"{path.name}: applications", got=None, expected="at least one application"
        )
    return config


def with_models(config: Mapping[str, Any], models: str) -> dict[str, Any]:
    """Return a config whose first application serves these models instead.

    Args:
        config: As read by `read_serve_config`.
        models: `name`, `name@alias` or `name@version`, with commas between them.

    Raises:
        ConfigError: None is named.
    """
    refs = [ref.strip() for ref in models.split(",") if ref.strip()]
    if not refs:
        raise ConfigError(field="models", got=models, expected="at least one model")
    first, *others = config["applications"]
    first = {**first, "args": {**first.get("args", {}), "models": refs}}
    return {**config, "applications": [first, *others]}


def deploy(
    cluster: ClusterState,
    config: Mapping[str, Any],
    *,
    timeout_s: float = 180.0,
    on_status: Callable[[str], None] = lambda _status: None,
) -> str:
    """Deploy the applications of a config and wait until each runs.

    The config is the whole truth: an application that it does not name is removed. The ports are
    those it asks for, or any free ones where they are taken by somebody else.

    Args:
        cluster: Where to.
        config: As read by `read_serve_config`.
        timeout_s: How long to wait for it to run.
        on_status: Called with each new status.

    Returns:
        The URL of the endpoint.

    Raises:
        ConfigError: Serve refuses the config, or it opens an endpoint to everybody.
        NotReadyError: It does not run after `timeout_s`, or Serve gave up.
    """
    check_reach(config)
    wanted = dict(config)
    http_options = dict(wanted.get("http_options") or {})
    http_options["port"] = _port(cluster, "http_options", int(http_options.get("port", 8000)))
    wanted["http_options"] = http_options
    if wanted.get("grpc_options"):
        grpc_options = dict(wanted["grpc_options"])
        grpc_options["port"] = _port(cluster, "grpc_options", int(grpc_options.get("port", 9000)))
        wanted["grpc_options"] = grpc_options
    with cluster.http_client(timeout_s=60.0) as client:
        answer = client.put(_PATH, json=wanted)
    if answer.is_client_error:
        raise ConfigError(field="applications", got=answer.text[:300], expected="a Serve config")
    if answer.is_error:
        raise NotReadyError(f"Serve did not take the config: {answer.text[:300]}")
    _wait_until_running(cluster, timeout_s, on_status)
    return f"http://127.0.0.1:{http_options['port']}"


def undeploy(cluster: ClusterState) -> None:
    """Remove all applications; answers in flight are finished first.

    Raises:
        NotReadyError: Serve does not answer.
    """
    try:
        with cluster.http_client(timeout_s=60.0) as client:
            client.delete(_PATH).raise_for_status()
    except httpx.HTTPError as cause:
        raise NotReadyError(f"Serve did not remove the applications: {cause}") from cause


def describe(cluster: ClusterState) -> dict[str, Any]:
    """Return the applications with their status, and the endpoint's URL where one is deployed."""
    with cluster.http_client() as client:
        details = client.get(_PATH).raise_for_status().json()
    applications = {
        name: {
            "status": app["status"],
            "message": app.get("message", ""),
            "replicas": sum(len(each["replicas"]) for each in app["deployments"].values()),
        }
        for name, app in details.get("applications", {}).items()
    }
    port = (details.get("http_options") or {}).get("port")
    url = f"http://127.0.0.1:{port}" if applications and port else None
    return {"applications": applications, "url": url}


def _port(cluster: ClusterState, options: str, wanted: int) -> int:
    """Keep the port of a Serve that is already up, since Serve does not change it later."""
    with cluster.http_client() as client:
        details = client.get(_PATH).raise_for_status().json()
    running = (details.get(options) or {}).get("port")
    if running and details.get("proxies"):
        return int(running)
    return port_or_free(wanted)


def _wait_until_running(
    cluster: ClusterState, timeout_s: float, on_status: Callable[[str], None]
) -> None:
    deadline = time.monotonic() + timeout_s
    last = ""
    while True:
        applications = describe(cluster)["applications"]
        status = ", ".join(f"{name} {app['status']}" for name, app in applications.items())
        if status != last:
            on_status(status)
            last = status
        statuses = {app["status"] for app in applications.values()}
        if statuses == {"RUNNING"}:
            return
        # Serve's answer to the PUT says nothing: an app that cannot start stays DEPLOYING long.
        if statuses & set(_FAILED) or time.monotonic() > deadline:
            messages = " ".join(app["message"] for app in applications.values())
            raise NotReadyError(
                f"The endpoint does not run: {status}. {messages.strip()[-1500:]}",
                remedy="The replicas' logs are in the dashboard under Serve.",
            )
        time.sleep(_POLL_S)
