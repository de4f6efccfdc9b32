"""What the tests of the deployed endpoint share: its settings, its registry, its command line."""

import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import doubling_model
import httpx
import pytest
import yaml

from novacron.registry.gate import GateRules, MetricRule
from novacron.registry.records import Audit
from novacron.registry.store import ModelStore
from ray_jobs.cluster_state import ClusterState

ROOT = Path(__file__).parents[1]
SERVE = str(Path(sys.executable).parent / "serve")
RULES = GateRules(required=(MetricRule(name="wape_ratio_to_ewma", set="oboe", limit=1.0),))
# Replicas load the test's kind of model as they would any other: Python runs this at their start.
SITE = f"""
import sys
sys.path.append({str(ROOT / "tests")!r})
from novacron.models.bundles import LOADERS
LOADERS["doubling"] = "doubling_model"
"""


@dataclass
class Endpoint:
    """The deployed application and what stands around it."""

    url: str
    grpc_address: str
    state: ClusterState
    env: dict[str, str]
    store: ModelStore
    bundles: Path
    settings: Path
    factors: dict[str, float] = field(default_factory=dict)
    """Version to factor: what each registered version answers."""

    def promote(self, factor: float) -> str:
        folder = doubling_model.write_bundle(self.bundles / str(factor), factor=factor)
        record = self.store.register("bandwidth", folder, doubling_model.card())
        self.factors[record.version] = factor
        audit = Audit(who="test", at=datetime.now(UTC), why="test")
        self.store.promote("bandwidth", record.version, RULES, audit=audit, force=True)
        return record.version

    def serve(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SERVE, *arguments],
            env=self.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


def until(condition, what, *, timeout_s=120.0):
    """Poll until `condition()` is true; fail by saying what never happened."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            found = condition()
        except httpx.TransportError:
            found = None
        if found:
            return found
        time.sleep(0.2)
    return pytest.fail(f"{what} did not happen in {timeout_s:.0f} s")


def write_settings(runs: Path, port: int, grpc_port: int) -> Path:
    """The settings users start from, with gRPC, on free ports, looking at the registry often."""
    settings = yaml.safe_load((ROOT / "configs" / "serve" / "local.yaml").read_text())
    settings["http_options"]["port"] = port
    settings["grpc_options"] = {
        "port": grpc_port,
        "grpc_servicer_functions": ["serve_apps.grpc_ingress:add_inference_service"],
        "enable_reflection": False,
        "request_timeout_s": 60,
    }
    settings["applications"][0]["args"]["replica"]["registry_poll_s"] = 0.5
    path = runs / "serve.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path
