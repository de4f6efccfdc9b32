"""Callers in a closed loop over plain sockets, who check every answer and write down when it came.

Each asks about a new id and value; the answer must be the value times the factor of the version that
says it answered, or the value itself where a baseline is flagged.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import orjson

from benchmarks.rollout.trial_model import BASELINE, FIRST_ID, NAME

RETRIES: Final = 5
RETRY_AFTER_S: Final = 0.1
_TIMEOUT_S: Final = 30.0
_TOLERANCE: Final = 1e-9


@dataclass(slots=True)
class Seen:
    """One request as its caller saw it."""

    done_s: float
    """Since the start of the load."""
    latency_s: float
    """Of all attempts together."""
    status: int
    """Of the last attempt; 0 where the connection broke."""
    version: str = ""
    wrong: bool = False
    baseline: bool = False
    """Whether a flagged baseline answered."""
    retries: int = 0
    first_status: int = 200

    @property
    def answered(self) -> bool:
        """Whether it came to a right answer, flagged or not."""
        return self.status == 200 and not self.wrong


@dataclass
class Load:
    """All requests of a load, in the order of their ends."""

    seen: list[Seen] = field(default_factory=list)
    seconds: float = 0.0
    from_s: float = 0.0
    """When it began, in the time of `done_s`."""

    def between(self, from_s: float, to_s: float) -> "Load":
        """Return the requests that ended in a time."""
        chosen = [one for one in self.seen if from_s <= one.done_s < to_s]
        return Load(chosen, to_s - from_s, from_s)

    @property
    def failed(self) -> list[Seen]:
        """Requests without a right answer, after any retries."""
        return [one for one in self.seen if not one.answered]

    @property
    def failed_at_first(self) -> list[Seen]:
        """Requests whose first attempt failed."""
        return [one for one in self.seen if one.first_status != 200 or one.wrong]

    @property
    def wrong(self) -> int:
        """Answers with the wrong value for the version that they name."""
        return sum(one.wrong for one in self.seen)

    def longest_gap_s(self) -> float:
        """Return the longest time without any right answer."""
        ends = (one.done_s for one in self.seen if one.answered)
        times = [self.from_s, *ends, self.from_s + self.seconds]
        return max((b - a for a, b in pairwise(times)), default=0.0)

    def quantile_s(self, share: float) -> float:
        """Return a quantile of the latency of the answers."""
        latencies = sorted(one.latency_s for one in self.seen if one.answered)
        if not latencies:
            return math.inf
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))]

    def share_of(self, version: str) -> float:
        """Return the share of all requests that a version answered or failed."""
        return sum(one.version == version for one in self.seen) / max(1, len(self.seen))


class Callers:
    """A closed loop.

    Args:
        port: Of the endpoint on this machine.
        factors: Version to factor; may be added to while the load runs.
        callers: Connections.
        retries: Further attempts of a request that failed.
    """

    def __init__(
        self, port: int, factors: Mapping[str, float], *, callers: int = 8, retries: int = 0
    ) -> None:
        self._port = port
        self._factors = factors
        self._callers = callers
        self._retries = retries
        self._next_id = FIRST_ID
        self._began_s = 0.0
        self.load = Load()

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._began_s

    async def run(self, until: Callable[[], bool]) -> Load:
        """Ask until told to stop."""
        self._began_s = time.perf_counter()
        await asyncio.gather(*(self._call(until) for _ in range(self._callers)))
        self.load.seconds = self.now_s
        return self.load

    async def _call(self, until: Callable[[], bool]) -> None:
        link = _Link(self._port)
        while not until():
            self._next_id += 1
            ident = self._next_id
            value = 1.0 + ident % 97
            began_s = self.now_s
            seen = Seen(done_s=0.0, latency_s=0.0, status=0)
            for attempt in range(self._retries + 1):
                await self._attempt(link, seen, ident, value)
                if attempt == 0:
                    seen.first_status = seen.status
                if seen.answered or attempt == self._retries:
                    break
                seen.retries += 1
                await asyncio.sleep(RETRY_AFTER_S * 2**attempt)
            seen.done_s = self.now_s
            seen.latency_s = seen.done_s - began_s
            self.load.seen.append(seen)
        link.close()

    async def _attempt(self, link: "_Link", seen: Seen, ident: int, value: float) -> None:
        try:
            status, headers, body = await asyncio.wait_for(link.ask(ident, value), _TIMEOUT_S)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
            link.close()
            seen.status = 0
            # A connection that is refused at once must not make the loop spin.
            await asyncio.sleep(0.01)
            return
        seen.status = status
        if status != 200:
            return
        answer = orjson.loads(body)
        seen.version = answer["model_version"]
        seen.baseline = headers.get(b"x-novacron-fallback", b"") == BASELINE.encode()
        factor = 1.0 if seen.baseline else self._factors.get(seen.version, math.nan)
        got = answer["outputs"][0]["data"][0]
        seen.wrong = not abs(got - value * factor) <= _TOLERANCE * abs(got)


class _Link:
    """One connection, opened again when it was lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, ident: int, value: float) -> tuple[int, dict[bytes, bytes], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        body = (
            b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[%d,%.1f]}],'
            b'"outputs":[{"name":"y"}]}' % (ident, value)
        )
        writer.write(
            b"POST /v2/models/%s/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
            % (NAME.encode(), len(body))
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        headers = {}
        for line in head[1:]:
            name, _, text = line.partition(b":")
            headers[name.lower()] = text.strip()
        content = await reader.readexactly(int(headers.get(b"content-length", b"0")))
        if headers.get(b"connection", b"").lower() == b"close":
            self.close()
        return int(head[0].split(b" ")[1]), headers, content

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def run_with(callers: Callers, events: Callable[[Callers], object]) -> Load:
    """Run a load while a plan of events runs in a thread; the load ends when the plan does."""
    done = asyncio.Event()
    running = asyncio.create_task(callers.run(done.is_set))
    try:
        await asyncio.to_thread(events, callers)
    finally:
        done.set()
    return await running
