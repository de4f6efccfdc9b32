"""schemathesis against the OpenAPI document: whatever it sends, every answer is as documented."""

import re
from pathlib import Path

import pytest
from bare_endpoint import bare_endpoint
from environments import python_with, run

from ray_jobs.cluster_state import free_ports

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(600)]
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


def test_no_request_that_schemathesis_makes_gets_an_undocumented_answer():
    command = Path(python_with("schemathesis", "schemathesis==4.32.5")).with_name("schemathesis")
    ports = free_ports(2)
    with bare_endpoint(ports, refs=("bandwidth", "anomaly")):
        url = f"http://127.0.0.1:{ports[0]}/openapi.json"
        finished = run(
            str(command), "run", url, "--checks", ",".join(CHECKS), "--max-examples", "25",
            "--seed", "7", "--no-color", "--phases", "coverage,fuzzing",
        )  # fmt: skip

    assert finished.returncode == 0, finished.stdout[-5000:] + finished.stderr[-1000:]
    assert re.search(r"Tested: 1[6-9]", finished.stdout), finished.stdout[-1000:]
