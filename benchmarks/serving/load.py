"""A closed loop of requests over plain sockets: cheap enough not to be what is measured.

Each connection sends its next request when its answer is complete. Bodies rotate, so that no
branch predictor learns the trees.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What a closed loop saw."""

    requests: int
    failed: int
    seconds: float
    latency_s: tuple[float, ...]
    failures: tuple[str, ...] = ()
    """What came instead of answers: a status line, or that the connection was closed."""
    reconnects: int = 0
    """Connections that the server ended with an answer that said so (RFC 9112, 9.6)."""

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the latency."""
        return float(np.quantile(self.latency_s, share) * 1e3)


def http_request(host: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Return a POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class _Tally:
    until_s: float
    bodies: Sequence[bytes]
    port: int
    at: int = 0
    reconnects: int = 0
    failures: list[str] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)

    def next_body(self) -> bytes:
        self.at += 1
        return self.bodies[self.at % len(self.bodies)]


class _Caller(asyncio.Protocol):
    """One connection, and those that follow it where the server ends it."""

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._buffer = bytearray()
        self._began_s = 0.0
        self._transport: Any = None
        self._is_last = False
        self._connecting: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()

    async def connect(self) -> None:
        """Connect and send the first request."""
        try:
            await self._loop.create_connection(lambda: self, "127.0.0.1", self._tally.port)
        except OSError as error:
            self._tally.failures.append(f"not connected: {error!r}")
            self._finish()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._buffer.clear()
        self._began_s = time.perf_counter()
        self._transport.write(self._tally.next_body())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not _is_complete(self._buffer):
            return
        now_s = time.perf_counter()
        self._tally.latency_s.append(now_s - self._began_s)
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self._tally.failures.append(self._buffer.partition(b"\r\n")[0].decode("latin-1"))
        if now_s >= self._tally.until_s:
            self._finish()
            self._transport.close()
        elif _LAST.search(self._buffer, 0, self._buffer.find(b"\r\n\r\n")):
            self._is_last = True
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.done.done():
            return
        if self._is_last:
            self._is_last = False
            self._tally.reconnects += 1
        else:
            self._tally.failures.append(f"closed after {len(self._buffer)} bytes: {exc!r}")
        if time.perf_counter() >= self._tally.until_s:
            self._finish()
        else:
            self._connecting = self._loop.create_task(self.connect())

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _is_complete(buffer: bytearray) -> bool:
    head = buffer.find(b"\r\n\r\n")
    if head < 0:
        return False
    found = _LENGTH.search(buffer, 0, head + 2)
    if found:
        return len(buffer) - head - 4 >= int(found[1])
    return bool(_CHUNKED.search(buffer, 0, head + 2)) and buffer.endswith(b"0\r\n\r\n")


async def run_load(
    port: int, bodies: Sequence[bytes], *, connections: int, seconds: float
) -> Load:
    """Ask a server for a while and return what came back."""
    began_s = time.perf_counter()
    tally = _Tally(until_s=began_s + seconds, bodies=bodies, port=port)
    callers = [_Caller(tally) for _ in range(connections)]
    await asyncio.gather(*(caller.connect() for caller in callers))
    await asyncio.wait_for(asyncio.gather(*(caller.done for caller in callers)), seconds + 120.0)
    return Load(
        requests=len(tally.latency_s),
        failed=len(tally.failures),
        seconds=time.perf_counter() - began_s,
        latency_s=tuple(tally.latency_s),
        failures=tuple(tally.failures),
        reconnects=tally.reconnects,
    )
