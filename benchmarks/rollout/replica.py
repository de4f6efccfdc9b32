"""One replica's layers in this process, from the ASGI app down, asked as its server would ask it.

No socket and no HTTP parser: what they cost is the same whatever answers, and is left out.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, cast

import orjson

from novacron.errors import ModelNotFoundError
from novacron.models.base import ServableModel
from serve_apps.asking import Asking
from serve_apps.config import BatchingConfig, LimitsConfig
from serve_apps.dataplane import DataPlane
from serve_apps.gateway import Gateway
from serve_apps.host import Loaded, ModelHost
from serve_apps.metrics import ServingMetrics
from serve_apps.resilience.guarded import GuardedAsking
from serve_apps.resilience.metrics import ResilienceMetrics
from serve_apps.settings.resilience import ResilienceConfig

METRICS_FLUSH_S: Final = 0.5


class NoMetrics:
    """A metrics library that keeps nothing: a run of hours must not grow."""

    def __init__(self) -> None:
        self.Counter = self.Gauge = self.Histogram = _Nothing


class _Nothing:
    def __init__(self, *_: object, **__: object) -> None:
        self.inc = self.observe = self.set = self._ignore

    @staticmethod
    def _ignore(*_: object, **__: object) -> None:
        return None


async def _answer_nothing(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Shelf:
    """A registry of one model in memory: versions by number, and what the champion is."""

    def __init__(self, name: str, model: ServableModel) -> None:
        self.name = name
        self.versions: dict[str, ServableModel] = {"1": model}
        self.champion = "1"

    def resolve(self, name: str, ref: str) -> str:
        """Return the version behind an alias."""
        version = self.champion if ref == "champion" else ref
        if name != self.name or version not in self.versions:
            raise ModelNotFoundError(f"No {name}@{ref}.")
        return version

    def load(self, name: str, ref: str) -> Loaded:
        """Hand out a version."""
        version = self.resolve(name, ref)
        model = self.versions[version]
        card = SimpleNamespace(features_hash=model.features_hash)
        return cast(Loaded, SimpleNamespace(model=model, name=name, version=version, card=card))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer as its caller gets it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the parsed body."""
        return orjson.loads(self.body)


class Replica:
    """The layers, each reachable.

    Args:
        shelf: Its registry.
        resilience: Settings of breaker, stand-ins and cache; None leaves all of them out.
        batching: Settings of the queue.
    """

    def __init__(
        self,
        shelf: Shelf,
        resilience: ResilienceConfig | None,
        batching: BatchingConfig | None = None,
    ) -> None:
        self.shelf = shelf
        limits = LimitsConfig()
        metrics = ServingMetrics(NoMetrics(), METRICS_FLUSH_S)
        self.host = ModelHost(shelf, [shelf.name], batching or BatchingConfig())
        self.asking: Asking | None = None
        if resilience is not None:
            self.asking = GuardedAsking(resilience, limits, ResilienceMetrics(metrics))
        self.plane = DataPlane(self.host, limits, metrics, asking=self.asking)
        self.gateway = Gateway(self.plane, new_id=lambda: "made-here")

    def without_app(self) -> "Replica":
        """Return one whose app answers at once: what asking it costs is the asking's own."""
        bare = object.__new__(Replica)
        bare.shelf, bare.host, bare.asking, bare.plane = (
            self.shelf,
            self.host,
            self.asking,
            self.plane,
        )
        bare.gateway = cast(Gateway, _answer_nothing)
        return bare

    async def ask(self, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Reply:
        """Send one inference request through the app."""
        scope = {
            "type": "http",
            "method": "POST",
            "path": f"/v2/models/{self.shelf.name}/infer",
            "headers": [(b"content-length", str(len(body)).encode()), *headers],
            "client": ("127.0.0.1", 5000),
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.gateway(scope, receive, send)
        start, content = sent
        told = {key.decode(): value.decode("latin-1") for key, value in start["headers"]}
        return Reply(status=start["status"], headers=told, body=content["body"])

    async def cpu_us(
        self,
        requests: Sequence[tuple[bytes, Sequence[tuple[bytes, bytes]]]],
        *,
        at_once: int,
        check: Callable[[Reply], None],
    ) -> float:
        """Return the CPU of this process for each request, so many in flight at once."""
        turns = iter(requests)

        async def caller() -> None:
            for body, headers in turns:
                # As a server does, each request has a task of its own.
                check(await asyncio.create_task(self.ask(body, headers)))

        began_s = time.process_time()
        await asyncio.gather(*(caller() for _ in range(at_once)))
        return (time.process_time() - began_s) / len(requests) * 1e6
