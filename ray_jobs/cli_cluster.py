"""Commands about the local cluster: up, down, env, status, serve."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Group
from rich.text import Text

from novacron.errors import NotReadyError
from ray_jobs.answers import Answer, answer, facts, table
from ray_jobs.cluster_state import ClusterConfig, ClusterState, read_state
from ray_jobs.locations import registry_config, runs_dir

AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]

app = typer.Typer()


@app.command()
def up(
    cpus: Annotated[
        int | None, typer.Option(min=1, help="CPU slots; all cores by default.")
    ] = None,
    auth: Annotated[bool, typer.Option(help="Require the private token for every call.")] = True,
    as_json: AsJson = False,
) -> None:
    """Start a local Ray cluster, or say where the running one is."""

    def work() -> Answer:
        config = ClusterConfig(cpus=cpus, auth="token" if auth else "disabled")
        state, reused = ensure_cluster(config)
        payload = _cluster_payload(state) | {"reused": reused}
        title = "The cluster was already running" if reused else "The cluster is up"
        hint = Text('\nFor `ray` commands in this shell:  eval "$(novacron env)"')
        return Answer(payload=payload, view=Group(facts(title, _cluster_facts(state)), hint))

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def down(as_json: AsJson = False) -> None:
    """Stop the local cluster and every process of it."""

    def work() -> Answer:
        from ray_jobs.cluster import stop_cluster

        state = read_state(runs_dir())
        ended = stop_cluster(state) if state is not None else 0
        view = f"Ended {ended} processes." if state is not None else "No cluster was running."
        return Answer(payload={"stopped": state is not None, "processes": ended}, view=view)

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def env(as_json: AsJson = False) -> None:
    """Print the variables with which `ray` commands find the cluster and its token.

    Use it as: eval "$(novacron env)"
    """

    def work() -> Answer:
        variables = running_cluster().client_env()
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        return Answer(payload=variables, view="\n".join(lines))

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def serve(
    config: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="Serve config file.")
    ] = Path("configs/serve/local.yaml"),
    models: Annotated[
        str, typer.Option(help="Serve these instead: name[@alias or @version], with commas.")
    ] = "",
    stop: Annotated[bool, typer.Option("--stop", help="Remove the endpoint instead.")] = False,
    timeout_s: Annotated[float, typer.Option(min=1, help="How long it may take to run.")] = 180.0,
    as_json: AsJson = False,
) -> None:
    """Deploy the endpoint to the local cluster, starting the cluster if needed."""

    def work() -> Answer:
        from ray_jobs import serving

        if stop:
            serving.undeploy(running_cluster())
            return Answer(payload={"stopped": True}, view="The endpoint is removed.")
        wanted = serving.read_serve_config(config)
        if models:
            wanted = serving.with_models(wanted, models)
        state, _ = ensure_cluster(ClusterConfig())
        url = serving.deploy(state, wanted, timeout_s=timeout_s)
        applications = serving.describe(state)["applications"]
        shown = {"endpoint": url, "dashboard": f"{state.dashboard_url}/#/serve"}
        shown |= {name: app["status"] for name, app in applications.items()}
        payload = {"url": url, "applications": applications}
        return Answer(payload=payload, view=facts("The endpoint runs", shown))

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the cluster, its jobs, the endpoint, and the registered models with their aliases."""

    def work() -> Answer:
        state = read_state(runs_dir())
        healthy = state is not None and state.is_healthy()
        payload: dict[str, Any] = {
            "cluster": _cluster_payload(state) | {"healthy": healthy} if state else None,
            "jobs": _jobs(state) if state and healthy else [],
            "endpoint": _endpoint(state) if state and healthy else None,
            "registry": _registry(),
        }
        return Answer(payload=payload, view=_status_view(state, payload))

    raise typer.Exit(answer(work, as_json=as_json))


def ensure_cluster(config: ClusterConfig) -> tuple[ClusterState, bool]:
    """Return the local cluster, started if none is running, and whether one was."""
    from ray_jobs.cluster import LocalCluster

    cluster = LocalCluster(config, runs=runs_dir(), now=datetime.now(UTC))
    return cluster.start(), cluster.reused


def running_cluster() -> ClusterState:
    """Return the running local cluster.

    Raises:
        NotReadyError: None is running.
    """
    state = read_state(runs_dir())
    if state is None or not state.is_healthy():
        raise NotReadyError("No local cluster is running.", remedy="Start one with `novacron up`.")
    return state


def _cluster_payload(state: ClusterState) -> dict[str, Any]:
    return state.model_dump(mode="json", exclude={"pids"}) | {"processes": len(state.pids)}


def _cluster_facts(state: ClusterState) -> dict[str, object]:
    shown: dict[str, object] = {
        "dashboard": state.dashboard_url,
        "job API": state.dashboard_url,
        "control store": state.gcs_address,
        "metrics": f"http://127.0.0.1:{state.metrics_port}/metrics",
        "runs": state.runs_dir,
    }
    if state.token_path is not None:
        shown["token for the dashboard"] = state.token_path
    return shown


def _jobs(state: ClusterState) -> list[dict[str, Any]]:
    with state.http_client() as client:
        jobs = client.get("/api/jobs/").raise_for_status().json()
    submitted = [job for job in jobs if job.get("submission_id")]
    submitted.sort(key=lambda job: job.get("start_time") or 0, reverse=True)
    keys = ("submission_id", "status", "driver_exit_code", "entrypoint", "message")
    return [{key: job.get(key) for key in keys} for job in submitted]


def _endpoint(state: ClusterState) -> dict[str, Any]:
    from ray_jobs import serving

    found = serving.describe(state)
    found["ready"] = False
    if found["url"]:
        try:
            ready = httpx.get(f"{found['url']}/v2/health/ready", timeout=5.0)
            found["ready"] = ready.status_code == httpx.codes.OK
        except httpx.HTTPError:
            pass
    return found


def _registry() -> dict[str, Any]:
    from novacron.registry.store import ModelStore

    config = registry_config()
    if not config.is_server and not (config.root / "registry.db").exists():
        return {"location": config.location, "models": {}}
    return ModelStore.connect(config).describe()


def _status_view(state: ClusterState | None, payload: dict[str, Any]) -> Group:
    parts: list[Any] = []
    if state is None:
        parts.append("No local cluster is running; `novacron up` starts one.")
    else:
        title = "Cluster" if payload["cluster"]["healthy"] else "Cluster (does not answer)"
        parts.append(facts(title, _cluster_facts(state)))
    jobs = [
        (job["submission_id"], job["status"], job["driver_exit_code"], job["entrypoint"])
        for job in payload["jobs"][:10]
    ]
    parts.append(table("Jobs, newest first", ("id", "status", "exit code", "command"), jobs))
    endpoint = payload["endpoint"] or {"applications": {}, "url": None, "ready": False}
    apps = [
        (name, app["status"], app["replicas"], endpoint["url"], endpoint["ready"])
        for name, app in endpoint["applications"].items()
    ]
    parts.append(table("Endpoint", ("application", "status", "replicas", "url", "ready"), apps))
    models = [
        (name, model["versions"], ", ".join(f"{k} {v}" for k, v in model["aliases"].items()))
        for name, model in payload["registry"]["models"].items()
    ]
    title = f"Models in {payload['registry']['location']}"
    parts.append(table(title, ("model", "versions", "aliases"), models))
    return Group(*parts)
