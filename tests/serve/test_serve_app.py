import asyncio
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import doubling_model
import httpx
import numpy as np
import psutil
import pytest
import yaml
from served_endpoint import ROOT, RULES, until

from novacron.errors import DatasetNotFoundError
from novacron.monitoring.predictions.join import read_predictions
from novacron.registry.records import Audit

pytestmark = [pytest.mark.serve, pytest.mark.slow, pytest.mark.timeout(300)]
INFER = "/v2/models/bandwidth/infer"


def body_of(rows, **changes):
    tensor = {
        "name": "bandwidth_mbps",
        "shape": [len(rows), len(rows[0])],
        "datatype": "FP64",
        "data": rows,
    }
    return {"inputs": [tensor | changes]}


BAD_BODIES = [
    body_of([[1.0]], name="bandwidth_kbps"),
    body_of([[1.0]], shape=[1, 2]),
    body_of([[1.0]], datatype="INT64"),
    body_of([[1.0]], shape=[0, 1], data=[]),
    body_of([[1.0]], data=[None]),
]


def test_good_requests_are_answered_while_bad_ones_beside_them_are_refused(endpoint):
    rng = np.random.default_rng(3)
    rows = [rng.uniform(0, 100, size=(int(rng.integers(1, 5)), 3)) for _ in range(60)]

    async def ask_all():
        async with httpx.AsyncClient(base_url=endpoint.url, timeout=60) as client:
            good = [client.post(INFER, json=body_of(x.tolist())) for x in rows]
            bad = [client.post(INFER, json=body) for body in BAD_BODIES * 4]
            cut = [client.post(INFER, content=b'{"inputs": [{"na')]
            nan = [client.post(INFER, content=b'{"inputs": [NaN]}')]
            return await asyncio.gather(*good, *bad, *cut, *nan)

    replies = asyncio.run(ask_all())

    for x, reply in zip(rows, replies, strict=False):
        answer = reply.json()
        factor = endpoint.factors[answer["model_version"]]
        np.testing.assert_allclose(answer["outputs"][0]["data"], factor * x.ravel())
    refusals = replies[len(rows) :]
    assert {reply.status_code for reply in refusals} == {400}
    assert all(reply.json()["error"] and reply.json()["field"] for reply in refusals)


def test_health_metadata_and_routes_answer_through_the_proxy(endpoint):
    with httpx.Client(base_url=endpoint.url) as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2").json()["name"] == "novacron"
        assert client.get("/v2/models/bandwidth/ready").json()["ready"] is True
        assert client.get("/v2/models/other").status_code == 404
        assert client.get(INFER).status_code == 405


def test_an_answer_carries_its_request_id_once_and_its_timing(endpoint):
    headers = {"X-Request-ID": "mine"}

    reply = httpx.post(endpoint.url + INFER, json=body_of([[1.0]]), headers=headers)
    refusal = httpx.post(endpoint.url + INFER, content=b"")

    assert reply.headers.get_list("x-request-id") == ["mine"]
    assert refusal.json()["request_id"] == refusal.headers["x-request-id"]
    assert re.fullmatch(r"decode;dur=.*queue;dur=.*predict;dur=.*", reply.headers["server-timing"])


def test_samples_sent_by_anybody_answer_for_their_link_and_answers_are_logged(endpoint):
    newest = datetime.now(UTC)
    samples = [
        {
            "ts": (newest - timedelta(seconds=5 * (9 - n))).isoformat(),
            "link_id": "w-1",
            "bandwidth_mbps": 10.0 + n,
        }
        for n in range(10)
    ]
    for sample in samples:
        # A connection each, so that the proxy may choose another replica.
        sent = httpx.post(
            f"{endpoint.url}/api/v1/samples", json={"table": "link", "samples": [sample]}
        )
        assert sent.json()["accepted"] == 1

    asked = [
        httpx.post(f"{endpoint.url}/api/v1/predict/bandwidth", json={"link_id": "w-1"})
        for _ in range(8)
    ]

    for reply in asked:
        record = reply.json()
        assert record["history"]["samples"] == 10
        factor = endpoint.factors[record["model_version"]]
        assert record["value_mbps"] == [factor * one["bandwidth_mbps"] for one in samples]
    ids = {reply.json()["prediction_id"] for reply in asked}
    folder = endpoint.store.config.root / "predictions"
    until(lambda: ids <= _logged(folder), "the answers in the prediction log", timeout_s=60)
    told = {"prediction_id": ids.pop(), "value": [20.0]}
    assert httpx.post(f"{endpoint.url}/api/v1/actuals", json=told).json()["kept"] == 1


def _logged(folder):
    try:
        table = read_predictions(folder, model="bandwidth")
    except DatasetNotFoundError:
        return set()
    return set(table.column("prediction_id").to_pylist())


def test_serve_shows_the_scaling_and_limits_it_was_given(endpoint):
    with endpoint.state.http_client() as dashboard:
        details = dashboard.get("/api/serve/applications/").json()

    application = details["applications"]["novacron"]
    config = application["deployments"]["Endpoint"]["deployment_config"]
    assert application["status"] == "RUNNING"
    assert config["autoscaling_config"]["min_replicas"] == 1
    assert config["autoscaling_config"]["max_replicas"] == 2
    assert config["max_ongoing_requests"] >= 512
    assert config["max_surge_percent"] == 100


def test_the_endpoint_listens_on_this_machine_alone(endpoint):
    port = int(endpoint.url.rpartition(":")[2])

    listening = {
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }

    assert listening == {"127.0.0.1"}


def test_served_rows_latency_and_errors_show_in_rays_metrics(endpoint):
    httpx.post(endpoint.url + INFER, json=body_of([[1.0], [2.0]]))
    httpx.post(endpoint.url + INFER, content=b"")
    address = f"http://127.0.0.1:{endpoint.state.metrics_port}/metrics"

    def exported():
        text = httpx.get(address).text
        series = (
            r"ray_novacron_served_rows_total\{.*model=\"bandwidth\"",
            r"ray_novacron_served_requests_total\{.*status=\"400\"",
            r"ray_novacron_served_latency_seconds_count\{.*model=\"bandwidth\"",
            r"ray_novacron_served_stage_seconds_total\{.*stage=\"predict\"",
            r"ray_novacron_batch_rows_count\{.*model=\"bandwidth\"",
        )
        return all(re.search(one, text) for one in series)

    until(exported, "every series of the endpoint in Ray's metrics", timeout_s=60)


def test_a_promoted_version_takes_over_under_load_without_a_failed_request(endpoint):
    seen, failures = [], []
    stop = threading.Event()

    def ask():
        with httpx.Client(base_url=endpoint.url, timeout=60) as client:
            while not stop.is_set():
                reply = client.post(INFER, json=body_of([[3.0]]))
                answer = reply.json()
                factor = endpoint.factors.get(answer.get("model_version"))
                if factor is None or answer["outputs"][0]["data"] != [factor * 3.0]:
                    failures.append((reply.status_code, answer))
                seen.append(answer.get("model_version"))

    callers = [threading.Thread(target=ask) for _ in range(3)]
    for caller in callers:
        caller.start()
    until(lambda: len(seen) > 10, "ten answers")
    version = endpoint.promote(10.0)
    try:
        until(lambda: seen[-1] == version, "an answer of the promoted version")
    finally:
        stop.set()
        for caller in callers:
            caller.join()

    assert failures == []


def test_serve_run_starts_the_same_app_under_a_prefix_of_its_own(endpoint):
    finished = endpoint.serve(
        "run", "--non-blocking", "--name", "second", "--route-prefix", "/second",
        "serve_apps.app:build", "models=bandwidth@champion",
    )  # fmt: skip

    assert finished.returncode == 0, finished.stderr
    url = f"{endpoint.url}/second{INFER}"
    reply = until(lambda: _answered(url), "an answer of the second app")
    factor = endpoint.factors[reply.json()["model_version"]]
    assert reply.json()["outputs"][0]["data"] == [factor * 1.0]


def test_a_slow_model_answers_from_a_deployment_of_its_own(endpoint, tmp_path):
    folder = doubling_model.write_bundle(endpoint.bundles / "slow", factor=5.0)
    record = endpoint.store.register("slow", folder, doubling_model.card(name="slow"))
    audit = Audit(who="test", at=datetime.now(UTC), why="test")
    endpoint.store.promote("slow", record.version, RULES, audit=audit, force=True)
    settings = yaml.safe_load(endpoint.settings.read_text())
    scaling = {"min_replicas": 1, "max_replicas": 1}
    composed = settings["applications"][0] | {
        "name": "composed",
        "route_prefix": "/composed",
        "args": {
            "models": ["bandwidth"],
            "scaling": scaling,
            "slow": {"models": ["slow"], "scaling": scaling, "num_cpus": 0.5},
            "replica": {"num_cpus": 0.5},
        },
    }
    settings["applications"].append(composed)
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(settings))

    finished = endpoint.serve("deploy", str(path))

    assert finished.returncode == 0, finished.stderr
    url = f"{endpoint.url}/composed/v2/models"
    slow = until(lambda: _answered(f"{url}/slow/infer"), "an answer of the slow model")
    light = httpx.post(f"{url}/bandwidth/infer", json=body_of([[2.0]]), timeout=30)
    wrong = httpx.post(f"{url}/slow/infer", json=body_of([[1.0]], name="x"), timeout=30)
    assert slow.json()["outputs"][0]["data"] == [5.0]
    factor = endpoint.factors[light.json()["model_version"]]
    assert light.json()["outputs"][0]["data"] == [factor * 2.0]
    assert wrong.status_code == 400
    with endpoint.state.http_client() as dashboard:
        applications = dashboard.get("/api/serve/applications/").json()["applications"]
    assert set(applications["composed"]["deployments"]) == {"Endpoint", "SlowModels"}


def _answered(url):
    reply = httpx.post(url, json=body_of([[1.0]]))
    return reply if reply.status_code == 200 else None


def test_an_app_of_a_model_that_is_not_registered_fails_and_says_so(endpoint, tmp_path):
    settings = yaml.safe_load(endpoint.settings.read_text())
    absent = settings["applications"][0] | {
        "name": "absent",
        "route_prefix": "/absent",
        "args": {"models": ["nothing-of-this-name"]},
    }
    settings["applications"].append(absent)
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(settings))

    endpoint.serve("deploy", str(path))

    def failed():
        with endpoint.state.http_client() as dashboard:
            details = dashboard.get("/api/serve/applications/").json()
        application = details["applications"].get("absent", {})
        return application if application.get("status") == "DEPLOY_FAILED" else None

    application = until(failed, "the failure of an app without its model")
    reason = application["message"] + application["deployments"]["Endpoint"]["message"]
    assert "There is no model 'nothing-of-this-name'" in reason
    assert httpx.get(f"{endpoint.url}/v2/health/ready").status_code == 200


def test_the_example_client_prints_an_answer_and_explains_a_refusal(endpoint):
    example = [sys.executable, str(ROOT / "examples" / "infer.py"), endpoint.url]

    good = subprocess.run([*example, "1", "2"], capture_output=True, text=True, check=False)
    bad = subprocess.run(example, capture_output=True, text=True, check=False)

    assert good.returncode == 0, good.stderr
    assert "value_mbps [1, 2]" in good.stdout
    assert bad.returncode == 1
    assert "400: bandwidth_mbps.shape" in bad.stderr
