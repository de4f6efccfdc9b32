"""The endpoint's layers behind plain web and gRPC servers, without Ray: what conformance needs."""

import asyncio
import threading
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import grpc
import uvicorn
from doubling_model import DoublingModel

from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.model import AnomalyModel
from serve_apps.config import BatchingConfig, LimitsConfig
from serve_apps.dataplane import DataPlane
from serve_apps.domain.site import Site
from serve_apps.gateway import Gateway
from serve_apps.grpc_ingress import METHODS, add_inference_service
from serve_apps.grpc_service import InferenceService
from serve_apps.host import ModelHost
from serve_apps.metrics import MemoryMetrics, ServingMetrics


class BareStore:
    """A registry that holds version 1 of two models."""

    def resolve(self, name, ref):
        return "1"

    def load(self, name, ref):
        known = {
            "bandwidth": DoublingModel(factor=3.0),
            "anomaly": AnomalyModel(AnomalyDetector()),
        }
        model = known[name]
        card = SimpleNamespace(features_hash=model.features_hash)
        return SimpleNamespace(model=model, name=name, version="1", card=card)


class Context:
    """grpc's own context, with the few calls that Serve's has in another form."""

    def __init__(self, context):
        self._context = context

    def __getattr__(self, name):
        return getattr(self._context, name)

    def set_trailing_metadata(self, pairs):
        self._context.set_trailing_metadata(tuple(pairs))


def servicer_of(service):
    def method(name):
        async def answer(body, context):
            return (await service.call(name, body, Context(context))).data

        return answer

    return SimpleNamespace(**{name: method(name) for name in METHODS})


async def _serve(ports, refs, feedback_dir, up, stop):
    metrics = ServingMetrics(MemoryMetrics())
    host = ModelHost(BareStore(), refs, BatchingConfig())
    await host.load()
    plane = DataPlane(host, LimitsConfig(), metrics)
    rpc = grpc.aio.server()
    rpc.add_insecure_port(f"127.0.0.1:{ports[1]}")
    add_inference_service(servicer_of(InferenceService(plane, allow_remote=False)), rpc)
    await rpc.start()
    site = Site(plane, feedback_dir)
    web = uvicorn.Server(
        uvicorn.Config(
            Gateway(plane, site=site), port=ports[0], log_level="warning", lifespan="off"
        )
    )
    serving = asyncio.create_task(web.serve())
    while not web.started and not serving.done():
        await asyncio.sleep(0.01)
    up.set()
    while not stop.is_set() and not serving.done():
        await asyncio.sleep(0.05)
    web.should_exit = True
    await serving
    await rpc.stop(0)
    await host.drain()


@contextmanager
def bare_endpoint(ports, refs=("bandwidth",)):
    """Serve on the HTTP and the gRPC port given, from a thread of its own."""
    up, stop = threading.Event(), threading.Event()
    with TemporaryDirectory() as folder:
        thread = threading.Thread(
            target=lambda: asyncio.run(_serve(ports, refs, Path(folder), up, stop))
        )
        thread.start()
        try:
            assert up.wait(30)
            yield
        finally:
            stop.set()
            thread.join(30)
