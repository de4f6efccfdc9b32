"""The answer cache: CPU of a hit beside that of a prediction, and answers across version changes.

CPU is that of the whole path in the replica's process, from the ASGI app to its answer; requests
are binary (Open Inference Protocol), rows rotate, and every answer is checked.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.results_format import Metric
from benchmarks.rollout.breaker import MortalModel
from benchmarks.rollout.parts import Bench, PartResult
from benchmarks.rollout.replica import Replica, Reply, Shelf
from benchmarks.serving.bodies import make_model, make_rows
from novacron.models.bandwidth.config import BandwidthConfig, LstmConfig, TwinConfig
from novacron.models.bandwidth.fit import fit_bandwidth
from novacron.models.base import Dependence, ServableModel, Tensors
from novacron.registry.foreign import read_foreign
from novacron.telemetry.traces import Trace
from serve_apps.batching import KNOWN_CALLS
from serve_apps.mlflow_models import MlflowModel
from serve_apps.oip_binary import HEADER_LENGTH
from serve_apps.settings.resilience import CacheConfig, ResilienceConfig

SEED: Final = 7
OK: Final = 200
AT_ONCE: Final = (1, 16)
ROUNDS: Final = 7
KEPT: Final = CacheConfig(max_bytes=64 * 2**20, ttl_s=3600.0, models=("lgb", "mortal"))
OFF: Final = ResilienceConfig()
ON: Final = ResilienceConfig(cache=KEPT)
Floats = NDArray[np.float64]
Request = tuple[bytes, Sequence[tuple[bytes, bytes]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A model with requests, and the checks of their answers."""

    name: str
    label: str
    model: ServableModel
    requests: tuple[Request, ...]
    first: dict[str, Floats]
    """The tensors of the first request."""


def binary_request(tensors: dict[str, Floats]) -> Request:
    """Write a request with binary tensors, its answer binary too."""
    head = orjson.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": array.shape,
                    "datatype": "FP64",
                    "parameters": {"binary_data_size": array.nbytes},
                }
                for name, array in tensors.items()
            ],
            "parameters": {"binary_data_output": True},
        }
    )
    body = head + b"".join(array.tobytes() for array in tensors.values())
    return body, ((HEADER_LENGTH.encode(), str(len(head)).encode()),)


def trees(work: Path, count: int) -> Subject:
    """300 trees over 24 features, logged by MLflow as a user's model is."""
    from benchmarks.serving.ours import write_mlflow_model

    folder = work / "mlflow"
    write_mlflow_model(make_model(work / "model.txt"), folder)
    model = MlflowModel(read_foreign(folder), "lgb")
    rows = make_rows()[:count]
    name = model.inputs[0].name
    return Subject(
        name="lgb",
        label="LightGBM, 300 trees x 24 features",
        model=model,
        requests=tuple(binary_request({name: row[None]}) for row in rows),
        first={name: rows[:1]},
    )


def bandwidth(work: Path, count: int) -> Subject:
    """The bandwidth forecaster in its own size, fitted briefly on generated paths."""
    rng = np.random.default_rng(SEED)
    config = BandwidthConfig(
        seeds=(1,),
        lstm=LstmConfig(epochs=1, tuning_epochs=1, rows_per_class=1500, tuning_rows=500),
        twin=TwinConfig(rounds=300, patience=300, tuning_rounds=30, examples=4000, min_rows_per_leaf=20),
    )  # fmt: skip
    paths = tuple(_path(rng, number) for number in range(8))
    model = fit_bandwidth({"wave": paths}, config, checkpoint_dir=work / "fit").model
    history = config.features.history
    windows = 20 + 10 * rng.random((count, history)) + np.sin(np.arange(history) / 4)
    return Subject(
        name="bandwidth",
        label="bandwidth forecaster",
        model=model,
        requests=tuple(binary_request({"bandwidth_mbps": row[None]}) for row in windows),
        first={"bandwidth_mbps": windows[:1]},
    )


def _path(rng: np.random.Generator, number: int, samples: int = 300) -> Trace:
    swing = 1 + 0.6 * np.sin(2 * np.pi * np.arange(samples) / 8 + rng.random())
    return Trace(
        trace_id=f"wave-{number:03d}",
        path_class="wave",
        t_s=np.arange(samples, dtype=np.float64),
        bandwidth_mbps=20 * swing * rng.lognormal(0, 0.1, samples),
    )


async def cpu_of(subject: Subject, at_once: int) -> dict[str, list[float]]:
    """Return CPU us for each request, round by round, the ways side by side in each round."""
    plain = await _replica(subject, None)
    guarded = await _replica(subject, OFF)
    await _compare(plain, await _replica(subject, ON), subject)
    bare = plain.without_app()
    found: dict[str, list[float]] = {"plain": [], "guarded": [], "miss": [], "hit": []}
    for _ in range(ROUNDS):
        asking_us = await bare.cpu_us(
            subject.requests, at_once=at_once, check=partial(_expect, "")
        )
        kept = await _replica(subject, ON)
        turns = (("plain", plain, ""), ("guarded", guarded, ""), ("miss", kept, "miss"),
                 ("hit", kept, "hit"))  # fmt: skip
        for way, replica, state in turns:
            check = partial(_expect, state)
            cpu_us = await replica.cpu_us(subject.requests, at_once=at_once, check=check)
            found[way].append(cpu_us - asking_us)
    return found


async def _replica(subject: Subject, resilience: ResilienceConfig | None) -> Replica:
    """Load the model, and let the batcher learn how long a call takes."""
    replica = Replica(Shelf(subject.name, subject.model), resilience)
    await replica.host.load()
    served = replica.host.get(subject.name)
    for _ in range(2 * KNOWN_CALLS):
        rows = served.model.prepare(subject.first)
        await served.batcher.submit(rows, 1)
    return replica


def _expect(state: str, reply: Reply) -> None:
    if reply.status != OK or reply.headers.get("x-novacron-cache", "") != state:
        raise AssertionError(f"{reply.status}, {dict(reply.headers)}: not {state!r}")


async def _compare(plain: Replica, kept: Replica, subject: Subject) -> None:
    for body, headers in subject.requests:
        replies = [await one.ask(body, headers) for one in (plain, kept, kept)]
        if len({reply.body for reply in replies}) != 1:
            raise AssertionError(f"{subject.name}: a kept answer differs")


class Numbered(MortalModel):
    """A version whose answers tell its number."""

    depends_on: Dependence = "request"

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Answer the mean plus a thousand times the number."""
        return {"y": np.asarray(rows["mean"], dtype=np.float64) + 1000.0 * self.number}


@dataclass
class Swaps:
    """What callers got while versions changed."""

    changes: int = 0
    answers: int = 0
    hits: int = 0
    stale: int = 0
    """Answers of a version that had left before they were asked for."""
    wrong: int = 0
    """Answers that are not those of the version they name."""
    failed: int = 0


async def change_versions(changes: int, between_s: float) -> Swaps:
    """Swap versions under a closed loop of callers who ask the same questions again and again."""
    shelf = Shelf("mortal", Numbered(1))
    replica = Replica(shelf, ON)
    await replica.host.load()
    swaps = Swaps()
    values = [float(number) for number in range(20)]
    bodies = [
        orjson.dumps({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [v]}]})
        for v in values
    ]

    async def caller(number: int) -> None:
        place = number
        while True:
            place = (place + 7) % len(bodies)
            serving = int(replica.host.versions("mortal")[0])
            reply = await replica.ask(bodies[place], ())
            _count(swaps, reply, serving, values[place])
            await asyncio.sleep(0)

    callers = [asyncio.create_task(caller(number)) for number in range(8)]
    for number in range(2, changes + 2):
        await asyncio.sleep(between_s)
        shelf.versions[str(number)] = Numbered(number)
        shelf.champion = str(number)
        swaps.changes += len(await replica.host.refresh())
    await asyncio.sleep(between_s)
    for task in callers:
        task.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    return swaps


def _count(swaps: Swaps, reply: Reply, serving: int, value: float) -> None:
    swaps.answers += 1
    if reply.status != 200:
        swaps.failed += 1
        return
    document: Any = reply.json()
    version = int(document["model_version"])
    swaps.hits += reply.headers.get("x-novacron-cache") != "miss"
    swaps.stale += version < serving
    swaps.wrong += document["outputs"][0]["data"] != [value + 1000.0 * version]


def measure(bench: Bench) -> PartResult:
    """Measure; see `benchmarks.rollout.parts`."""
    metrics: list[Metric] = []
    makers = ((trees, 30),) if bench.quick else ((trees, 300), (bandwidth, 60))
    for make, n_requests in makers:
        subject = make(bench.work, n_requests)
        for at_once in AT_ONCE:
            bench.say(f"cache: {subject.label}, {at_once} in flight")
            found = asyncio.run(cpu_of(subject, at_once))
            metrics += _rows(f"{subject.label}, {at_once} in flight", found)
    return PartResult(
        metrics=tuple(metrics),
        notes=(
            "CPU is process time of the whole path in the app of a replica, without socket and HTTP "
            "parser, net of what asking an app that answers nothing costs; "
            "each of 300 (trees) or 60 distinct questions once in a round, the ways side by side; "
            "the value is the median of 7 rounds, the interval their range, which holds the median "
            "with 98 %.",
        ),
    )


def measure_changes(bench: Bench) -> PartResult:
    """Measure answers across version changes; see `benchmarks.rollout.parts`."""
    metrics: list[Metric] = []
    began_s = time.monotonic()
    swaps = asyncio.run(change_versions(*((5, 0.05) if bench.quick else (60, 0.1))))
    where = f"{swaps.changes} version changes, {time.monotonic() - began_s:.0f} s"
    beside = f"{swaps.answers} answers, {swaps.hits} of them kept ones"
    for name, value in (
        ("stale_answers", swaps.stale),
        ("wrong_answers_across_changes", swaps.wrong),
        ("failed_requests_across_changes", swaps.failed),
    ):
        metrics.append(Metric(name=name, set=where, value=value, n=swaps.changes, baseline=beside))
    return PartResult(
        metrics=tuple(metrics),
        notes=("stale is an answer of a version that had left before the request began.",),
    )


def _rows(where: str, found: dict[str, list[float]]) -> list[Metric]:
    us = {way: np.array(values) for way, values in found.items()}

    def row(name: str, values: Floats, baseline: str) -> Metric:
        return Metric(
            name=name,
            set=where,
            value=float(np.median(values)),
            lo=float(values.min()),
            hi=float(values.max()),
            n=len(values),
            baseline=baseline,
        )

    predicted = f"a prediction without cache, {np.median(us['guarded']):.0f} us"
    return [
        row("hit_times_cheaper", us["guarded"] / us["hit"],
            f"a hit, {np.median(us['hit']):.0f} us"),
        row("miss_adds_us", us["miss"] - us["guarded"], predicted),
        row("hit_ratio_that_pays",
            (us["miss"] - us["guarded"]) / (us["miss"] - us["hit"]), "0 would be free"),
        row("guard_adds_us", us["guarded"] - us["plain"],
            f"the same without them, {np.median(us['plain']):.0f} us"),
    ]  # fmt: skip
