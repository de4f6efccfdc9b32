"""The endpoint's data plane without Serve: under uvicorn, or behind a plain socket.

`python -m benchmarks.serving.bare_app PORT MLFLOW_MODEL [--raw]`. The plain socket is no server for
users: no TLS, no pipelining, no limits on headers. It shows what the layers above the data plane
cost, and so what a listener of our own in the replicas would save.
"""

import argparse
import asyncio
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import uvicorn

from novacron.errors import NovacronError
from novacron.registry.foreign import read_foreign
from serve_apps.config import BatchingConfig, LimitsConfig
from serve_apps.dataplane import DataPlane
from serve_apps.gateway import Gateway
from serve_apps.host import Loaded, ModelHost
from serve_apps.metrics import ServingMetrics
from serve_apps.mlflow_models import MlflowModel
from serve_apps.oip import encode_error
from serve_apps.oip_binary import HEADER_LENGTH, OipHttp


class _OneModel:
    """A registry that holds version 1 of one model."""

    def __init__(self, folder: Path) -> None:
        self._model = MlflowModel(read_foreign(folder), "lgb")

    def resolve(self, name: str, ref: str) -> str:
        del name, ref
        return "1"

    def load(self, name: str, ref: str) -> Loaded:
        del ref
        card = SimpleNamespace(features_hash=self._model.features_hash)
        return cast(Loaded, SimpleNamespace(model=self._model, name=name, version="1", card=card))


class _NoMetrics:
    """A metrics library that keeps nothing: a run of hours must not grow."""

    def __init__(self) -> None:
        self.Counter = self.Gauge = self.Histogram = _Nothing


class _Nothing:
    def __init__(self, *_: object, **__: object) -> None:
        self.inc = self.observe = self.set = self._ignore

    @staticmethod
    def _ignore(*_: object, **__: object) -> None:
        return None


class _Listener(asyncio.Protocol):
    """One connection: a request at a time, answered by the data plane."""

    def __init__(self, plane: DataPlane, tasks: set[asyncio.Task[None]]) -> None:
        self._plane = plane
        self._tasks = tasks
        self._buffer = bytearray()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:])
        }
        length = int(headers.get("content-length", "0"))
        if len(self._buffer) < end + 4 + length:
            return
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        task = asyncio.get_running_loop().create_task(self._answer(headers, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, headers: dict[str, str], body: bytes) -> None:
        given = headers.get(HEADER_LENGTH)
        codec = OipHttp(None if given is None else int(given))
        try:
            reply = await self._plane.infer("lgb", None, body, codec)
            status, answer, more = "200 OK", reply.body, codec.answer_headers
        except NovacronError as error:
            status, answer, more = f"{error.http_status} Refused", encode_error(error), {}
        told = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(answer)}\r\n{told}\r\n"
        self._transport.write(head.encode() + answer)


async def _serve_raw(plane: DataPlane, port: int) -> None:
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Listener(plane, tasks), "127.0.0.1", port)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with server:
        await stop.wait()


async def _serve(port: int, folder: Path, *, raw: bool) -> None:
    metrics = ServingMetrics(_NoMetrics())
    host = ModelHost(_OneModel(folder), ["lgb"], BatchingConfig(), metrics.observe_batch)
    await host.load()
    plane = DataPlane(host, LimitsConfig(), metrics)
    if raw:
        await _serve_raw(plane, port)
        return
    config = uvicorn.Config(
        Gateway(plane), port=port, log_level="warning", access_log=False, lifespan="off"
    )
    await uvicorn.Server(config).serve()


def main() -> None:
    """Serve until the process is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.bare_app")
    parser.add_argument("port", type=int)
    parser.add_argument("model", type=Path)
    parser.add_argument("--raw", action="store_true")
    given = parser.parse_args()
    import uvloop

    uvloop.run(_serve(given.port, given.model, raw=given.raw))


if __name__ == "__main__":
    main()
