"""The two ends of a transfer, each run inside its namespace with a JSON configuration.

`receive` counts bytes per second and group; `send` keeps n connections full, plain or compressed,
and reads each one's kernel statistics once a second.
"""

import errno
import gc
import json
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from novacron.params.groups import CODECS
from rl_envs.calibrate.codec import coders
from rl_envs.calibrate.corpora import log_bytes
from rl_envs.testbed.priority import ENDPOINT_PRIORITY, take_priority

PORT: Final = 7077
_TCP_CONGESTION: Final = 13
_TCP_INFO_RTT: Final = 15
_TCP_INFO_TOTAL_RETRANS: Final = 23
_SEGMENTS_OUT_AT: Final = 136
"""Offset of tcpi_segs_out in struct tcp_info, after 8 bytes, 24 words and 4 double words."""


class StreamGroup(BaseModel):
    """Connections of one kind; the first group is ours, further ones are cross traffic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Literal["cubic", "bbr", "reno"]
    streams: int = Field(ge=1, le=512)
    window_bytes: int | None = Field(default=None, ge=4096)
    """Receive buffer of each connection; the kernel's own tuning if None."""
    codec: str = "none"
    """Entry of the codec ladder that every chunk is compressed with; `none` sends it plain."""
    chunk_bytes: int = Field(default=65_536, ge=1024, le=4_194_304)

    @field_validator("codec")
    @classmethod
    def _known_codec(cls, codec: str) -> str:
        """Refuse here what would end a transfer that already runs."""
        if codec not in CODECS:
            raise ValueError(f"unknown codec {codec!r}; known: {', '.join(CODECS)}")
        return codec


class EndpointConfig(BaseModel):
    """What one end does, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    groups: tuple[StreamGroup, ...] = Field(min_length=1)
    duration_s: float = Field(gt=0, le=3600)
    warm_up_s: float = Field(default=0.0, ge=0)
    """Left out of the statistics of the steady state."""


def _listen(config: EndpointConfig) -> list[socket.socket]:
    """One listening socket per group, on ports of their own."""
    listeners = []
    for number, group in enumerate(config.groups):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if group.window_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, group.window_bytes)
        listener.bind((config.address, PORT + number))
        listener.listen(512)
        listener.settimeout(0)
        listeners.append(listener)
    return listeners


class _Arrivals:
    """Bytes per group and second, and per connection after the warm-up."""

    def __init__(self, config: EndpointConfig) -> None:
        self.config = config
        self.started_s = 0.0
        self.counts = [[0] * (int(config.duration_s) + 1) for _ in config.groups]
        self.per_connection: list[list[list[int]]] = [[] for _ in config.groups]

    def add(self, number: int, connection: list[int], got: int) -> None:
        """Count bytes that have just arrived."""
        elapsed_s = time.monotonic() - self.started_s
        row = self.counts[number]
        row[min(int(elapsed_s), len(row) - 1)] += got
        if elapsed_s >= self.config.warm_up_s:
            connection[0] += got

    def report(self) -> dict[str, Any]:
        """Return the counts and how evenly connections shared (Jain's index; 1 is evenly)."""
        evenness = []
        for connections in self.per_connection:
            rates = [count[0] for count in connections]
            square = sum(rate * rate for rate in rates) * len(rates)
            evenness.append(sum(rates) ** 2 / square if square else 1.0)
        return {"bytes_per_s": self.counts, "jain_index": evenness}


def receive(config: EndpointConfig) -> dict[str, Any]:
    """Accept everything and count what arrives from the first connection on, for the duration."""
    selector = selectors.DefaultSelector()
    for number, listener in enumerate(_listen(config)):
        selector.register(listener, selectors.EVENT_READ, (number, None))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    arrivals = _Arrivals(config)
    buffer = bytearray(1 << 20)
    # Until someone connects: the time a sender may need to start.
    end_s = time.monotonic() + 60.0
    while time.monotonic() < end_s:
        for key, _ in selector.select(timeout=0.1):
            number, count = key.data
            source: socket.socket = key.fileobj  # type: ignore[assignment]
            if count is None:
                connection, _ = source.accept()
                connection.settimeout(0)
                arrivals.per_connection[number].append([0])
                entry = (number, arrivals.per_connection[number][-1])
                selector.register(connection, selectors.EVENT_READ, entry)
                if not arrivals.started_s:
                    arrivals.started_s = time.monotonic()
                    end_s = arrivals.started_s + config.duration_s
                continue
            try:
                got = source.recv_into(buffer)
            except (BlockingIOError, ConnectionResetError):
                continue
            if got == 0:
                selector.unregister(source)
                source.close()
            arrivals.add(number, count, got)
    return arrivals.report()


def _chunk_source(group: StreamGroup) -> Callable[[], bytes]:
    """Return what makes the next bytes to send: a chunk of a log, compressed anew each time."""
    plain = log_bytes("json", group.chunk_bytes, 1)
    if group.codec == "none":
        return lambda: plain
    compress, _ = coders(group.codec)
    return lambda: compress(plain)


def _connect(config: EndpointConfig, number: int) -> socket.socket:
    """Begin one connection of a group; it is writable when it stands."""
    connection = socket.socket()
    algorithm = config.groups[number].algorithm
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, algorithm.encode())
    connection.settimeout(0)
    code = connection.connect_ex((config.address, PORT + number))
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, "connecting failed")
    return connection


def _start_order(config: EndpointConfig) -> list[int]:
    """Return the group of each connection in the order they begin: dealt out evenly.

    A flow that begins a moment before another keeps more of the link for half a minute.
    """
    places = [
        ((rank + 0.5) / group.streams, number)
        for number, group in enumerate(config.groups)
        for rank in range(group.streams)
    ]
    return [number for _, number in sorted(places)]


def _statistics(connection: socket.socket) -> tuple[float, int, int]:
    """Return smoothed round trip ms, retransmitted and sent segments of one connection."""
    raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    words = struct.unpack_from("24I", raw, 8)
    sent = struct.unpack_from("I", raw, _SEGMENTS_OUT_AT)[0]
    return words[_TCP_INFO_RTT] / 1e3, words[_TCP_INFO_TOTAL_RETRANS], sent


class _Group:
    """Connections of one kind at the sending side, with what the kernel says of them."""

    def __init__(self, group: StreamGroup) -> None:
        self.group = group
        self.connections: list[socket.socket] = []
        self.make_chunk = _chunk_source(self.group)
        self.encoded = self.chunks = 0
        self.rounds_ms: list[float] = []
        self.first: tuple[int, int] = (0, 0)

    def next_chunk(self) -> memoryview:
        """Return the next bytes of one connection."""
        chunk = self.make_chunk()
        self.chunks += 1
        self.encoded += len(chunk)
        return memoryview(chunk)

    def sample(self, *, steady: bool) -> tuple[int, int]:
        """Read the kernel's statistics; returns retransmitted and sent segments so far."""
        rows = [_statistics(connection) for connection in self.connections]
        resent, sent = sum(row[1] for row in rows), sum(row[2] for row in rows)
        if steady:
            self.rounds_ms.append(sum(row[0] for row in rows) / len(rows))
        else:
            self.first = (resent, sent)
        return resent, sent

    def report(self) -> dict[str, float]:
        """Return the means of the steady state and the ratios of the whole run."""
        resent, sent = self.sample(steady=True)
        plain = self.chunks * self.group.chunk_bytes
        return {
            "srtt_ms": sum(self.rounds_ms) / len(self.rounds_ms),
            "retransmit_ratio": resent / max(sent, 1),
            "steady_retransmit_ratio": (resent - self.first[0]) / max(sent - self.first[1], 1),
            "encode_ratio": plain / max(self.encoded, 1),
        }


def send(config: EndpointConfig) -> dict[str, Any]:
    """Keep every connection full for the duration and report the kernel's statistics per group."""
    selector = selectors.DefaultSelector()
    groups = [_Group(group) for group in config.groups]
    for number in _start_order(config):
        connection = _connect(config, number)
        groups[number].connections.append(connection)
        selector.register(connection, selectors.EVENT_WRITE, [memoryview(b""), groups[number]])
    start_s = time.monotonic()
    next_s = start_s + 1.0
    while (now_s := time.monotonic()) < start_s + config.duration_s:
        if now_s >= next_s:
            next_s += 1.0
            for group in groups:
                group.sample(steady=now_s - start_s > config.warm_up_s)
        for key, _ in selector.select(timeout=0.1):
            state = key.data
            if not state[0]:
                state[0] = state[1].next_chunk()
            try:
                sent = key.fileobj.send(state[0])  # type: ignore[union-attr]
            except BlockingIOError:
                continue
            state[0] = state[0][sent:]
    return {"groups": [group.report() for group in groups]}


def main() -> int:
    """Run one end: `python -m rl_envs.testbed.endpoint send|receive`."""
    ends = {"send": send, "receive": receive}
    config = EndpointConfig.model_validate_json(sys.stdin.readline())
    gc.disable()
    take_priority(ENDPOINT_PRIORITY)
    sys.stdout.write(json.dumps(ends[sys.argv[1]](config)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
