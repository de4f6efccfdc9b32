"""A tiny servable model and everything above it, without Ray, registry or sockets."""

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import httpx
import numpy as np

from novacron.errors import ModelNotFoundError, OutOfRangeError
from novacron.models.base import TensorSpec
from serve_apps.access.desk import Desk
from serve_apps.config import BatchingConfig, LimitsConfig
from serve_apps.dataplane import DataPlane
from serve_apps.domain.site import Site
from serve_apps.gateway import Gateway
from serve_apps.host import ModelHost
from serve_apps.metrics import MemoryMetrics, ServingMetrics

POISON = 13.0
UNFINISHED = 17.0


@dataclass
class MeanModel:
    """Answers `factor` times the mean of each row; breaks on POISON, answers NaN on UNFINISHED."""

    factor: float = 1.0
    kind: str = "mean"
    features_hash: str = "f" * 16
    calls: list[int] = field(default_factory=list)
    inputs = (
        TensorSpec(
            name="x_mbps",
            datatype="FP64",
            shape=(-1, -1),
            unit="Mbit/s",
            doc="samples, oldest first",
            low=0,
            high=1000,
        ),
        TensorSpec(
            name="path_class",
            datatype="BYTES",
            shape=(-1,),
            unit="name",
            doc="kind of path",
            required=False,
        ),
    )
    outputs = (
        TensorSpec(
            name="mean_mbps", datatype="FP64", shape=(-1, 1), unit="Mbit/s", doc="mean of the row"
        ),
        TensorSpec(
            name="fallback", datatype="BYTES", shape=(-1,), unit="name", doc="baseline or empty"
        ),
    )

    def prepare(self, tensors):
        mean = tensors["x_mbps"].mean(axis=1)
        if (mean == 999.0).any():
            raise OutOfRangeError(field="x_mbps", got=999.0, expected="no row with mean 999")
        return {"mean": mean}

    def predict(self, rows):
        mean = rows["mean"]
        self.calls.append(len(mean))
        if (mean == POISON).any():
            raise RuntimeError("poison")
        value = np.where(mean == UNFINISHED, np.nan, self.factor * mean)
        fallback = np.where(mean == 0, "last_value", "").astype(object)
        return {"mean_mbps": value[:, None], "fallback": fallback}

    def save(self, directory):
        raise AssertionError("nothing saves it")


class GatedModel(MeanModel):
    """Waits in `predict` until `gate` opens; `entered` tells that it has begun."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.entered = threading.Event()

    def predict(self, rows):
        self.entered.set()
        assert self.gate.wait(10)
        return super().predict(rows)


class MeanBaseline:
    """The stand-in of the fake model: its answers are the newest sample."""

    name = "last_value"

    def __init__(self):
        self.asked = 0

    async def answer(self, tensors):
        self.asked += 1
        newest_N = tensors["x_mbps"][:, -1:]
        names_N = np.full(len(newest_N), self.name, dtype=object)
        return {"mean_mbps": newest_N, "fallback": names_N}


class StoodInModel(MeanModel):
    def __init__(self, **more):
        super().__init__(**more)
        self.stand_in = MeanBaseline()


class MemoryStore:
    """A registry in a dict: name to versions, and aliases to version numbers."""

    def __init__(self, **models):
        self.versions = {name: {"1": model} for name, model in models.items()}
        self.features = {name: model.features_hash for name, model in models.items()}
        self.aliases = dict.fromkeys(((name, "champion") for name in models), "1")

    def resolve(self, name, ref):
        version = self.aliases.get((name, ref), ref)
        if version not in self.versions.get(name, {}):
            raise ModelNotFoundError(f"No {name}@{ref}.")
        return version

    def load(self, name, ref):
        version = self.resolve(name, ref)
        model = self.versions[name][version]
        card = SimpleNamespace(features_hash=self.features[name])
        return SimpleNamespace(model=model, name=name, version=version, card=card)


def infer_document(rows, **extra):
    """The JSON of a request for the fake model, as an object."""
    x_mbps = {
        "name": "x_mbps",
        "shape": [len(rows), len(rows[0])],
        "datatype": "FP64",
        "data": rows,
    }
    return {"inputs": [x_mbps | extra.pop("tensor", {})]} | extra


@dataclass
class Service:
    """The layers of one replica, each reachable."""

    store: MemoryStore
    host: ModelHost
    plane: DataPlane
    metrics: MemoryMetrics
    client: httpx.AsyncClient
    desk: Desk


def build_service(
    models,
    refs,
    *,
    batching=None,
    limits=None,
    site_dir=None,
    recorder=None,
    memory=None,
    **of_gateway,
):
    store = MemoryStore(**models)
    metrics = MemoryMetrics()
    serving = ServingMetrics(metrics)
    host = ModelHost(store, refs, batching or BatchingConfig(), serving.observe_batch)
    if memory is not None:
        recorder = memory.recorder
    plane = DataPlane(host, limits or LimitsConfig(), serving, recorder=recorder)
    desk = of_gateway.setdefault("desk", Desk())
    if site_dir is not None:
        kept = {}
        if memory is not None:
            kept = {"histories": memory.histories, "extensions": memory.extensions}
        of_gateway["site"] = Site(plane, site_dir, **kept)
    gateway = Gateway(plane, on_shutdown=host.drain, new_id=lambda: "made-here", **of_gateway)
    transport = httpx.ASGITransport(app=gateway, raise_app_exceptions=False)
    client = httpx.AsyncClient(transport=transport, base_url="http://novacron")
    return Service(store=store, host=host, plane=plane, metrics=metrics, client=client, desk=desk)
