"""Unmodified clients of the protocol, each from an environment of its own, get the model's bits.

tritonclient pins protobuf below 7, so that it cannot live beside the endpoint. The environment is
made once, outside the repository: in NOVACRON_CACHE_DIR, XDG_CACHE_HOME or ~/.cache.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bare_endpoint import bare_endpoint

from ray_jobs.cluster_state import free_ports

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(600)]

# Read before a fixture gives the tests another HOME: pip finds its settings there.
ENVIRONMENT = dict(os.environ)
REQUIREMENTS = ("tritonclient[http,grpc]==2.73.0", "protobuf<7")
CLIENT = Path(__file__).parent / "conformance_client.py"
ROWS = np.random.default_rng(11).uniform(0, 900, size=(400, 3))
TEXTS = ["", "wan", "\u4e2d"] + ["lte"] * 397


def cache_dir():
    home = ENVIRONMENT.get("XDG_CACHE_HOME") or str(Path(ENVIRONMENT["HOME"]) / ".cache")
    return Path(ENVIRONMENT.get("NOVACRON_CACHE_DIR") or str(Path(home) / "novacron-ml"))


def run(*command):
    return subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=480
    )


@pytest.fixture(scope="session")
def client_python():
    digest = hashlib.sha256(repr((REQUIREMENTS, sys.version)).encode()).hexdigest()[:12]
    folder = cache_dir() / f"tritonclient-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    python, finished = folder / "env" / "bin" / "python", folder / "finished"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            made = run(sys.executable, "-m", "venv", "--clear", str(folder / "env"))
            assert made.returncode == 0, made.stderr
            got = run(str(python), "-m", "pip", "install", "-q", *REQUIREMENTS)
            if got.returncode:
                pytest.skip(f"pip cannot install {REQUIREMENTS[0]}: {got.stderr[-300:]}")
            finished.touch()
    return str(python)


def ask(client_python, http_address, grpc_address):
    asked = json.dumps({"rows": ROWS.tolist(), "texts": TEXTS})
    finished = subprocess.run(
        [client_python, str(CLIENT), http_address, grpc_address],
        input=asked,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def check_answers(answers, factors):
    for way, answer in answers.items():
        factor = factors[answer["version"]]
        assert answer["value"] == (ROWS * factor).tobytes().hex(), way
        assert answer["fallback"] == [""] * len(ROWS), way


@pytest.fixture(scope="module")
def report(client_python):
    ports = free_ports(2)
    with bare_endpoint(ports):
        return ask(client_python, *(f"127.0.0.1:{port}" for port in ports))


def test_every_form_s_answer_is_that_of_the_model_bit_for_bit(report):
    assert len(report["answers"]) == 9
    check_answers(report["answers"], {"1": 3.0})


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_health_and_metadata_are_understood(report, protocol):
    assert report[f"{protocol} facts"] == {
        "live": True,
        "ready": True,
        "model_ready": True,
        "server": "novacron",
        "model": "bandwidth_mbps",
    }


@pytest.mark.parametrize(
    ("case", "http", "grpc", "words"),
    [
        ("other model", "404", "StatusCode.NOT_FOUND", "No model 'other' is served here"),
        ("other version", "404", "StatusCode.NOT_FOUND", "Version '99'"),
        ("wrong shape", "400", "StatusCode.INVALID_ARGUMENT", "bandwidth_mbps.data"),
        ("nan", "400", "StatusCode.INVALID_ARGUMENT", "bandwidth_mbps[0, 0]"),
        ("no such metadata", "404", "StatusCode.NOT_FOUND", "No model 'other' is served here"),
    ],
)
def test_refusals_arrive_with_status_and_sentence(report, case, http, grpc, words):
    for protocol, status in (("http", http), ("grpc", grpc)):
        got_status, message = report[f"{protocol} refusals"][case]
        assert got_status == status
        assert words in message


@pytest.mark.serve
def test_through_serve_the_answers_are_those_of_the_model_bit_for_bit(endpoint, client_python):
    report = ask(client_python, endpoint.url.removeprefix("http://"), endpoint.grpc_address)

    check_answers(report["answers"], endpoint.factors)
    assert report["grpc refusals"]["other model"][0] == "StatusCode.NOT_FOUND"
