"""The two ends of a transfer, each run inside its namespace with a JSON configuration.

`receive` counts bytes per second and group; `send` keeps n connections full, plain or compressed,
and reads each one's kernel statistics at the end.
"""

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


def receive(config: EndpointConfig) -> dict[str, Any]:
    """Accept everything and count bytes per group and second until all connections have closed."""
    selector = selectors.DefaultSelector()
    for number, listener in enumerate(_listen(config)):
        selector.register(listener, selectors.EVENT_READ, (number, True))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    seconds = int(config.duration_s) + 2
    counts = [[0] * seconds for _ in config.groups]
    buffer = bytearray(1 << 20)
    started_s: float | None = None
    open_count = 0
    end_s = time.monotonic() + config.duration_s + 30.0
    while time.monotonic() < end_s and (started_s is None or open_count):
        for key, _ in selector.select(timeout=0.5):
            number, listening = key.data
            source: socket.socket = key.fileobj  # type: ignore[assignment]
            if listening:
                connection, _ = source.accept()
                connection.settimeout(0)
                selector.register(connection, selectors.EVENT_READ, (number, False))
                started_s = time.monotonic() if started_s is None else started_s
                open_count += 1
                continue
            got = source.recv_into(buffer)
            if got == 0:
                selector.unregister(source)
                source.close()
                open_count -= 1
            elif started_s is not None:
                second = min(int(time.monotonic() - started_s), seconds - 1)
                counts[number][second] += got
    return {"bytes_per_s": counts}


def _chunk_source(group: StreamGroup) -> Callable[[], bytes]:
    """Return what makes the next bytes to send: a chunk of a log, compressed anew each time."""
    plain = log_bytes("json", group.chunk_bytes, 1)
    if group.codec == "none":
        return lambda: plain
    compress, _ = coders(group.codec)
    return lambda: compress(plain)


def _connect(config: EndpointConfig, number: int, group: StreamGroup) -> list[socket.socket]:
    connections = []
    for _ in range(group.streams):
        connection = socket.socket()
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, group.algorithm.encode())
        connection.connect((config.address, PORT + number))
        connection.settimeout(0)
        connections.append(connection)
    return connections


def _statistics(connection: socket.socket) -> tuple[float, int, int]:
    """Return smoothed round trip ms, retransmitted and sent segments of one connection."""
    raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    words = struct.unpack_from("24I", raw, 8)
    sent = struct.unpack_from("I", raw, _SEGMENTS_OUT_AT)[0]
    return words[_TCP_INFO_RTT] / 1e3, words[_TCP_INFO_TOTAL_RETRANS], sent


def send(config: EndpointConfig) -> dict[str, Any]:
    """Keep every connection full for the duration and report the kernel's statistics per group."""
    selector = selectors.DefaultSelector()
    groups = []
    for number, group in enumerate(config.groups):
        connections = _connect(config, number, group)
        groups.append(connections)
        for connection in connections:
            selector.register(
                connection, selectors.EVENT_WRITE, [_chunk_source(group), memoryview(b""), number]
            )
    encoded, chunks = [0] * len(groups), [0] * len(groups)
    end_s = time.monotonic() + config.duration_s
    while time.monotonic() < end_s:
        for key, _ in selector.select(timeout=0.5):
            state = key.data
            if not state[1]:
                state[1] = memoryview(state[0]())
                chunks[state[2]] += 1
                encoded[state[2]] += len(state[1])
            sent = key.fileobj.send(state[1])  # type: ignore[union-attr]
            state[1] = state[1][sent:]
    report = []
    for number, connections in enumerate(groups):
        statistics = [_statistics(connection) for connection in connections]
        resent, segments = sum(row[1] for row in statistics), sum(row[2] for row in statistics)
        plain = chunks[number] * config.groups[number].chunk_bytes
        report.append(
            {
                "srtt_ms": sum(row[0] for row in statistics) / len(statistics),
                "retransmit_ratio": resent / max(segments, 1),
                "encode_ratio": plain / max(encoded[number], 1),
            }
        )
        for connection in connections:
            connection.close()
    return {"groups": report}


def main() -> int:
    """Run one end: `python -m rl_envs.testbed.endpoint send|receive`."""
    ends = {"send": send, "receive": receive}
    config = EndpointConfig.model_validate_json(sys.stdin.readline())
    sys.stdout.write(json.dumps(ends[sys.argv[1]](config)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
