import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from novacron.errors import ConfigError, NotReadyError
from ray_jobs import serving
from ray_jobs.cluster_state import ClusterState

CONFIG = {"http_options": {"port": 8000}, "applications": [{"name": "novacron"}]}


class FakeServe:
    """Serve's REST API: keeps what it is told and answers the statuses given, one per question."""

    def __init__(self) -> None:
        self.statuses = ["DEPLOYING", "RUNNING"]
        self.put_status = 200
        self.deployed: dict = {}
        self.proxies: dict = {}

    def details(self) -> dict:
        asked = self.deployed.get("applications") and len(self.statuses) > 1
        status = self.statuses.pop(0) if asked else self.statuses[0]
        app = {"status": status, "message": "because of reasons", "deployments": {}}
        applications = {one["name"]: app for one in self.deployed.get("applications", [])}
        http_options = self.deployed.get("http_options", {})
        return {
            "applications": applications,
            "http_options": http_options,
            "grpc_options": self.deployed.get("grpc_options", {}),
            "proxies": self.proxies,
        }


@pytest.fixture
def serve(tmp_path) -> Iterator[tuple[FakeServe, ClusterState]]:
    fake = FakeServe()

    class Handler(BaseHTTPRequestHandler):
        def reply(self, status: int, body: dict) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_GET(self) -> None:
            self.reply(200, fake.details())

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if fake.put_status == 200:
                fake.deployed = json.loads(body)
            self.reply(fake.put_status, {"said": "no"})

        def do_DELETE(self) -> None:
            fake.deployed = {}
            self.reply(200, {})

        def log_message(self, *_args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state = ClusterState(
        cluster_id="c",
        session_id=1,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        temp_dir=tmp_path,
        gcs_address="127.0.0.1:1",
        dashboard_url=f"http://127.0.0.1:{server.server_port}",
        auth="disabled",
        token_path=None,
        metrics_port=1,
        runs_dir=tmp_path,
        pids=(),
    )
    yield fake, state
    server.shutdown()
    thread.join()
    server.server_close()


def test_deploying_waits_until_every_application_runs(serve):
    fake, state = serve
    statuses: list[str] = []

    url = serving.deploy(state, CONFIG, on_status=statuses.append)

    assert statuses == ["novacron DEPLOYING", "novacron RUNNING"]
    assert url == f"http://127.0.0.1:{fake.deployed['http_options']['port']}"


def test_an_application_that_serve_gave_up_on_is_an_error_with_its_message(serve):
    fake, state = serve
    fake.statuses = ["DEPLOYING", "DEPLOY_FAILED"]

    with pytest.raises(NotReadyError, match="because of reasons"):
        serving.deploy(state, CONFIG)


def test_an_application_that_never_runs_is_an_error_after_the_limit(serve):
    fake, state = serve
    fake.statuses = ["DEPLOYING"]

    with pytest.raises(NotReadyError, match="DEPLOYING"):
        serving.deploy(state, CONFIG, timeout_s=0.1)


def test_a_config_that_serve_refuses_is_a_config_error(serve):
    fake, state = serve
    fake.put_status = 400

    with pytest.raises(ConfigError):
        serving.deploy(state, CONFIG)


def test_the_port_of_a_running_proxy_is_kept(serve):
    fake, state = serve
    fake.deployed = {"http_options": {"port": 8123}, "applications": []}
    fake.proxies = {"node": {}}

    assert serving.deploy(state, CONFIG) == "http://127.0.0.1:8123"


def test_a_grpc_port_that_is_taken_is_replaced_and_a_config_without_grpc_gets_none(serve):
    fake, state = serve
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]

        serving.deploy(state, CONFIG | {"grpc_options": {"port": taken}})
        replaced = fake.deployed["grpc_options"]["port"]
        serving.deploy(state, CONFIG)

    assert replaced not in (0, taken)
    assert "grpc_options" not in fake.deployed


def test_removing_the_endpoint_leaves_none(serve):
    _, state = serve
    serving.deploy(state, CONFIG)

    serving.undeploy(state)

    assert serving.describe(state) == {"applications": {}, "url": None}


def test_a_dead_dashboard_is_not_healthy(serve, tmp_path):
    _, state = serve
    gone = state.model_copy(update={"dashboard_url": "http://127.0.0.1:9"})

    assert not gone.is_healthy()


@pytest.mark.parametrize("text", ["applications: []", "[1]", "a: [", ""])
def test_a_file_without_applications_is_refused(tmp_path, text):
    path = tmp_path / "serve.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError):
        serving.read_serve_config(path)


def test_models_named_on_the_command_line_replace_those_of_the_file():
    config = {
        "http_options": {"port": 8000},
        "applications": [
            {"name": "novacron", "args": {"models": ["bandwidth"], "replica": {"num_cpus": 0.5}}},
            {"name": "other"},
        ],
    }

    changed = serving.with_models(config, "lgb, lstm@challenger,")

    assert changed["applications"][0]["args"] == {
        "models": ["lgb", "lstm@challenger"],
        "replica": {"num_cpus": 0.5},
    }
    assert changed["applications"][1] == {"name": "other"}
    assert config["applications"][0]["args"]["models"] == ["bandwidth"]


def test_no_model_at_all_on_the_command_line_is_refused():
    with pytest.raises(ConfigError, match="at least one model"):
        serving.with_models({"applications": [{}]}, " , ")


def endpoint(host, **access):
    application = {"name": "novacron", "import_path": "serve_apps.app:build"}
    return {
        "http_options": {"host": host},
        "applications": [application | {"args": {"models": ["a"], "access": access}}],
    }


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "fleet.example"])  # noqa: S104
def test_an_endpoint_that_others_reach_is_deployed_with_a_token_only(serve, host):
    fake, cluster = serve

    with pytest.raises(ConfigError, match=r"http_options\.host"):
        serving.deploy(cluster, endpoint(host))
    assert fake.deployed == {}

    serving.deploy(cluster, endpoint(host, token_sha256=["a" * 64]))
    assert fake.deployed["http_options"]["host"] == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_this_machine_no_token_is_needed(serve, host):
    _, cluster = serve

    serving.deploy(cluster, endpoint(host))
