"""The circuit breaker under load: a model dies, hangs and gets well again while callers ask on.

Callers are in a closed loop. A failure opens the circuit for a fraction of a second, so that many
trips fit into a run; the code is that of the replicas, with its own clocks and timers.
"""

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.results_format import Metric
from benchmarks.rollout.parts import Bench, PartResult
from benchmarks.rollout.replica import Replica, Shelf
from novacron.models.base import Tensors, TensorSpec
from serve_apps.config import BatchingConfig
from serve_apps.settings.resilience import BreakerConfig, ResilienceConfig

CALLERS: Final = 16
OPEN_S: Final = 0.2
TIMEOUT_S: Final = 0.1
_PAUSE_S: Final = 0.001
_BODY: Final = orjson.dumps(
    {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 3.0]}]}
)


@dataclass
class MortalModel:
    """Answers the mean of a row, raises while it is dead and hangs while it is stuck."""

    kind: str = "mortal"
    features_hash: str = "0" * 16
    dead: bool = False
    free: threading.Event = field(default_factory=threading.Event)
    calls_s: list[float] = field(default_factory=list)
    inputs: tuple[TensorSpec, ...] = (
        TensorSpec(name="x", datatype="FP64", shape=(-1, -1), unit="1", doc="samples"),
    )
    outputs: tuple[TensorSpec, ...] = (
        TensorSpec(name="y", datatype="FP64", shape=(-1,), unit="1", doc="mean"),
    )

    def __post_init__(self) -> None:
        self.free.set()

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Take the mean of each row."""
        return {"mean": np.asarray(tensors["x"], dtype=np.float64).mean(axis=1)}

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Answer, or not."""
        self.calls_s.append(time.monotonic())
        self.free.wait(30.0)
        if self.dead:
            raise RuntimeError("dead")
        return {"y": rows["mean"]}

    def save(self, directory: Any) -> None:
        """Refuse: it is not stored."""
        raise NotImplementedError(directory)


@dataclass
class Trial:
    """One death and recovery, counted."""

    calls_after_trip: int
    """Model calls between the trip and the next probe's time."""
    probes_until_closed: int
    """Model calls from the moment at which it was well until the circuit was closed."""
    closed_after_s: float
    """Seconds from the end of the open time, the model being well, to the first answer."""
    refused: int
    wrong: int


class _Callers:
    """Ask on and on, and count what they get."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self.statuses: dict[int, int] = {}
        self.last_status = 0
        self.answered_s = 0.0
        self._tasks = [asyncio.create_task(self._loop()) for _ in range(CALLERS)]

    async def _loop(self) -> None:
        while True:
            reply = await self._replica.ask(_BODY, ())
            status = reply.status
            if status == 200 and reply.json()["outputs"][0]["data"] != [2.0]:
                status = -1
            if status == 200:
                self.answered_s = time.monotonic()
            self.statuses[status] = self.statuses.get(status, 0) + 1
            await asyncio.sleep(_PAUSE_S)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def run_trial(*, hangs: bool) -> Trial:
    """Let a model die under load, and get well while the circuit is open."""
    model = MortalModel()
    config = ResilienceConfig(breaker=BreakerConfig(open_s=OPEN_S, timeout_s=TIMEOUT_S))
    # Nobody sees a call hang that is made on the event loop: here all are made in the thread.
    replica = Replica(Shelf("mortal", model), config, BatchingConfig(inline_below_s=0.0))
    await replica.host.load()
    served = replica.host.get("mortal")
    callers = _Callers(replica)

    def circuit() -> str:
        assert replica.asking is not None  # noqa: S101  made with settings
        return str(replica.asking.describe(served)["circuit"])

    async def until(state: str) -> float:
        while circuit() != state:
            await asyncio.sleep(0)
        return time.monotonic()

    await asyncio.sleep(0.05)
    if hangs:
        model.free.clear()
    else:
        model.dead = True
    tripped_s = await until("open")
    probe_due_s = tripped_s + OPEN_S
    await asyncio.sleep(OPEN_S / 2)
    reached = [at for at in model.calls_s if tripped_s < at < probe_due_s - 0.005]
    well_at_s = time.monotonic()
    model.dead = False
    model.free.set()
    closed_s = await until("closed")
    probes = [at for at in model.calls_s if well_at_s < at <= closed_s]
    await asyncio.sleep(0.05)
    await callers.stop()
    return Trial(
        calls_after_trip=len(reached),
        probes_until_closed=len(probes),
        closed_after_s=closed_s - probe_due_s,
        refused=callers.statuses.get(503, 0),
        wrong=callers.statuses.get(-1, 0),
    )


async def run_trials(count: int) -> dict[str, list[Trial]]:
    """Return trials of a model that raises and of one that hangs."""
    return {
        "model raises": [await run_trial(hangs=False) for _ in range(count)],
        "model hangs": [await run_trial(hangs=True) for _ in range(count)],
    }


def measure(bench: Bench) -> PartResult:
    """Measure; see `benchmarks.rollout.parts`."""
    metrics: list[Metric] = []
    for name, trials in asyncio.run(run_trials(2 if bench.quick else 25)).items():
        bench.say(f"breaker: {name}: {len(trials)} trips")
        refused = sum(trial.refused for trial in trials)

        def add(
            metric: str, values: list[float], baseline: str, where: str = f"breaker, {name}"
        ) -> None:
            metrics.append(
                Metric(
                    name=metric,
                    set=where,
                    value=max(values),
                    n=len(values),
                    baseline=baseline,
                )
            )

        add("calls_while_open",
            [trial.calls_after_trip for trial in trials],
            f"{refused} requests refused in that time")  # fmt: skip
        add("probes_until_closed",
            [trial.probes_until_closed for trial in trials], "one is the least")  # fmt: skip
        add("closed_after_s",
            [trial.closed_after_s for trial in trials], f"{OPEN_S:g} s open")  # fmt: skip
        add("wrong_answers_of_trips", [sum(trial.wrong for trial in trials)], "none")
    return PartResult(
        metrics=tuple(metrics),
        notes=(
            f"{CALLERS} callers in a closed loop; the circuit opens after 5 failures for {OPEN_S:g} s "
            "here, 60 s by default; each trial is a death and a recovery; the value is the worst.",
            "Calls are made in the model's thread (batching.inline_below_s 0): a call that hangs on the "
            "event loop is seen by nobody in the replica, which Serve's health check then replaces.",
        ),
    )
