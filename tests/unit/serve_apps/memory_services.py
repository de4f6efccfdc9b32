"""Services that keep samples and predictions in a folder, for tests."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import pytest_asyncio
from serving_fakes import MeanModel, build_service
from tiny_bandwidth import tiny_fit

from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.model import AnomalyModel
from serve_apps.memory import Memory
from serve_apps.metrics import MemoryMetrics
from serve_apps.settings.predictions import PredictionsConfig
from serve_apps.settings.streaming import StreamingConfig

SAMPLES = "/api/v1/samples"
BANDWIDTH = "/api/v1/predict/bandwidth"
ANOMALY = "/api/v1/anomalies/detect"
ACTUALS = "/api/v1/actuals"
STEP_S = 5


def series(count, *, seed=0, until_s=2.0, **more):
    """Samples of a link every five seconds, the newest `until_s` seconds ago."""
    rng = np.random.default_rng(seed)
    newest = datetime.now(UTC) - timedelta(seconds=until_s)
    times = [newest - timedelta(seconds=STEP_S * (count - 1 - n)) for n in range(count)]
    mbps = rng.gamma(4.0, 10.0, count)
    return [
        {"ts": at.isoformat(), "link_id": "w-1", "bandwidth_mbps": float(x), "rtt_ms": 20.0 + n}
        | more
        for n, (at, x) in enumerate(zip(times, mbps, strict=True))
    ]


def batch(samples, table="link"):
    return {"table": table, "samples": samples}


@pytest.fixture(scope="module")
def memory_models():
    return {
        "bandwidth": tiny_fit().model,
        "anomaly": AnomalyModel(AnomalyDetector()),
        "mean": MeanModel(),
    }


@pytest.fixture
def start_services(memory_models, tmp_path):
    """Starts replicas that share a folder; each is a service with its `memory` and `seen`."""
    started = []

    async def begin(*, streaming=None, predictions=None):
        seen = MemoryMetrics()
        settings = {"log": {"block_interval_s": 600, "fsync": False}} | (predictions or {})
        memory = Memory(
            StreamingConfig(**streaming or {}), PredictionsConfig(**settings), tmp_path, seen
        )
        service = build_service(
            memory_models, list(memory_models), site_dir=tmp_path / "f", memory=memory
        )
        await service.host.load()
        service.memory, service.seen = memory, seen
        started.append(service)
        return service

    return begin, started


@pytest_asyncio.fixture
async def begin(start_services):
    factory, started = start_services
    yield factory
    for service in started:
        await service.memory.close()


async def post(service, path, body):
    return await service.client.post(path, json=body)
