"""One whole rollout on a real endpoint: a bad version goes back by itself, a good one takes over."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import doubling_model
import httpx
import pytest
import yaml
from served_endpoint import until

pytestmark = [pytest.mark.serve, pytest.mark.slow, pytest.mark.timeout(300)]
INFER = "/v2/models/bandwidth/infer"
BODY = {"inputs": [{"name": "bandwidth_mbps", "shape": [1, 1], "datatype": "FP64", "data": [3.0]}]}
NOVACRON = str(Path(sys.executable).parent / "novacron")


class Asking:
    """Asks again and again, and checks every answer against the version that it names."""

    def __init__(self, endpoint):
        self.endpoint, self.seen, self.bad = endpoint, [], []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def __enter__(self):
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for one in self._threads:
            one.join()

    def _ask(self):
        with httpx.Client(base_url=self.endpoint.url, timeout=60) as client:
            while not self._stop.is_set():
                reply = client.post(INFER, json=BODY)
                answer = reply.json()
                version = answer.get("model_version")
                wanted = [3.0 * self.endpoint.factors.get(version, 0.0)]
                if reply.status_code != 200 or answer["outputs"][0]["data"] != wanted:
                    self.bad.append((reply.status_code, answer))
                self.seen.append(version)


@pytest.fixture
def rollout(endpoint, tmp_path):
    plan = {"window_s": 2, "min_requests": 30, "compare_share": 0.5, "p95_ratio_limit": 50}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    gate = "limits: [{name: wape_ratio_to_ewma, limit: 1.0}]\n"
    (tmp_path / "gate.yaml").write_text(gate)
    env = endpoint.env | {"NOVACRON_REGISTRY_ROOT": str(endpoint.store.config.root)}

    def call(*arguments):
        done = subprocess.run(
            [NOVACRON, "rollout", *arguments, "--json"],
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def start(factor):
        folder = doubling_model.write_bundle(tmp_path / str(factor), factor=factor)
        version = endpoint.store.register("bandwidth", folder, doubling_model.card()).version
        endpoint.factors[version] = factor
        files = ("--plan", str(tmp_path / "plan.yaml"), "--gate", str(tmp_path / "gate.yaml"))
        call("start", "bandwidth", version, *files)
        return version

    call.start = start
    call.ended = lambda: call("status", "bandwidth")["status"] not in (
        "running", "passed", "promoting",
    )  # fmt: skip
    return call


def test_a_bad_version_goes_back_by_itself_and_a_good_one_takes_over(endpoint, rollout):
    champion = endpoint.store.resolve("bandwidth", "champion").version
    factor = endpoint.factors[champion]

    with Asking(endpoint) as asking:
        until(lambda: len(asking.seen) > 10, "ten answers")
        bad = rollout.start(factor * 2)
        until(rollout.ended, "the end of the bad version's rollout", timeout_s=60)
        taken_back = rollout("status", "bandwidth")
        alias_after_bad = endpoint.store.resolve("bandwidth", "champion").version

        good = rollout.start(factor)
        until(rollout.ended, "the end of the good version's rollout", timeout_s=90)
        promoted = rollout("status", "bandwidth")
        until(lambda: set(asking.seen[-20:]) == {good}, "the new champion alone")

    assert asking.bad == []
    assert taken_back["status"] == "rolled_back"
    assert "answers" in taken_back["decisions"][-1]["why"]
    assert taken_back["exposed_ratio"] <= 0.1
    assert (bad in asking.seen, alias_after_bad) == (True, champion)
    assert promoted["status"] == "promoted"
    assert endpoint.store.resolve("bandwidth", "champion").version == good
