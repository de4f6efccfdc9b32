"""Unmodified clients of the protocol, each from an environment of its own, get the model's bits.

tritonclient pins protobuf below 7 and kserve pandas below 3, so that they cannot live beside the
endpoint.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from bare_endpoint import bare_endpoint
from environments import python_with, run

from ray_jobs.cluster_state import free_ports

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(600)]

CLIENTS = Path(__file__).parent
ROWS = np.random.default_rng(11).uniform(0, 900, size=(400, 3))
TEXTS = ["", "wan", "\u4e2d"] + ["lte"] * 397


@pytest.fixture(scope="session")
def client_python():
    return python_with("tritonclient", "tritonclient[http,grpc]==2.73.0", "protobuf<7")


@pytest.fixture(scope="session")
def kserve_python():
    return python_with("kserve", "kserve==0.21.0")


def ask(python, http_address, grpc_address, script="conformance_client.py"):
    asked = json.dumps({"rows": ROWS.tolist(), "texts": TEXTS})
    finished = run(python, str(CLIENTS / script), http_address, grpc_address, input=asked)
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


def test_the_kserve_client_gets_the_same_bits_over_rest_and_grpc(kserve_python):
    ports = free_ports(2)
    with bare_endpoint(ports):
        addresses = [f"127.0.0.1:{port}" for port in ports]
        report = ask(kserve_python, *addresses, script="kserve_client.py")

    assert set(report["answers"]) == {"json", "binary", "grpc"}
    for way, answer in report["answers"].items():
        assert answer["value"] == (ROWS * 3.0).tobytes().hex(), way
        assert answer["fallback"] == [""] * len(ROWS), way
    assert all(report["facts"].values())


@pytest.mark.serve
def test_through_serve_the_answers_are_those_of_the_model_bit_for_bit(endpoint, client_python):
    report = ask(client_python, endpoint.url.removeprefix("http://"), endpoint.grpc_address)

    check_answers(report["answers"], endpoint.factors)
    assert report["grpc refusals"]["other model"][0] == "StatusCode.NOT_FOUND"
