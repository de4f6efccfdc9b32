"""A stage from the gateway down that guards its models, for tests."""

import asyncio

import httpx
from serving_fakes import (
    POISON,
    GatedModel,
    MemoryStore,
    infer_document,
)

from serve_apps.config import BatchingConfig, LimitsConfig
from serve_apps.dataplane import DataPlane
from serve_apps.gateway import Gateway
from serve_apps.host import ModelHost
from serve_apps.metrics import MemoryMetrics, ServingMetrics
from serve_apps.resilience.guarded import GuardedAsking
from serve_apps.resilience.metrics import ResilienceMetrics
from serve_apps.settings.resilience import CacheConfig, ResilienceConfig

URL = "/v2/models/mean/infer"
FOREVER = float("inf")
KEEPS = CacheConfig(max_bytes=100_000, models=("mean",))


class Clock:
    def __init__(self):
        self.ahead_s = 0.0

    def __call__(self):
        return asyncio.get_running_loop().time() + self.ahead_s


class Stage:
    """Everything from the gateway down, with a clock that can be put forward."""

    def __init__(self, models, refs, resilience=None, slow_names=()):
        self.store = MemoryStore(**models)
        self.metrics = MemoryMetrics()
        serving = ServingMetrics(self.metrics)
        self.host = ModelHost(self.store, refs, BatchingConfig(), serving.observe_batch)
        self.clock = Clock()
        self.asking = GuardedAsking(
            resilience or ResilienceConfig(),
            LimitsConfig(),
            ResilienceMetrics(serving),
            self.clock,
            slow_names=slow_names,
        )
        self.plane = DataPlane(self.host, LimitsConfig(), serving, self.clock, asking=self.asking)
        self.client = client_of(Gateway(self.plane, new_id=lambda: "made-here"))

    def total(self, name, *labels):
        return self.metrics.total(f"novacron_{name}", *labels)

    def state(self):
        return self.asking.describe(self.host.get("mean"))["circuit"]


def client_of(gateway):
    transport = httpx.ASGITransport(app=gateway, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://novacron")


async def stage(model, **settings):
    built = Stage({"mean": model}, ["mean"], ResilienceConfig(**settings))
    if isinstance(model, GatedModel):
        model.gate.set()
    await built.host.load()
    if isinstance(model, GatedModel):
        model.gate.clear()
        model.entered.clear()
    return built


async def fail(stage, times, value=POISON):
    return [await stage.client.post(URL, json=infer_document([[value]])) for _ in range(times)]
