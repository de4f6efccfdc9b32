"""The prediction log: what an answer pays for it, whether it ever waits, what a killed process loses."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.results_format import Metric
from benchmarks.rollout.memory_children import LOG, NOW, make_entry
from benchmarks.rollout.memory_streaming import child, last_number, read_numbers
from novacron.models.base import TensorSpec
from novacron.models.tensor_checks import check_tensors
from novacron.monitoring.predictions.config import PredictionLogConfig
from novacron.monitoring.predictions.counters import settle_losses
from novacron.monitoring.predictions.files import block_files, write_block
from novacron.monitoring.predictions.writer import PredictionWriter
from serve_apps.config import BatchingConfig, LimitsConfig
from serve_apps.dataplane import DataPlane
from serve_apps.host import ModelHost
from serve_apps.messages import InferAnswer, InferRequest
from serve_apps.metrics import MemoryMetrics, ServingMetrics, Timing
from serve_apps.prediction_log.recorder import LogRecorder

_ANSWERS: Final = 100
_WARM_PAIRS: Final = 5
_PAIRS_A_BLOCK: Final = 10
_BLOCK_ROWS: Final = 1_000
_STALL_S: Final = 1.0
_BLOCKED_S: Final = 0.1
"""An answer that waited for the disk would have waited as long as that stalls; a busy machine takes
the processor away for some milliseconds now and then."""
BIG: Final = PredictionLogConfig(
    block_rows=10**6, block_interval_s=3_600, max_buffer_rows=10**6, max_buffer_bytes=2**30
)


def measure_log(seed: int = 1, *, quick: bool = False) -> list[Metric]:
    """Return every row about the prediction log."""
    return [
        *asyncio.run(_costs(10 if quick else 200)),
        *_stalls(seed, 500 if quick else 4_000),
        *_kills(seed, 2 if quick else 10),
    ]


@dataclass
class _Spread:
    """A model with the forecaster's tensors and next to no work, so that the path itself is timed."""

    kind: str = "bandwidth"
    features_hash: str = "0" * 64
    inputs: tuple[TensorSpec, ...] = (
        TensorSpec(
            name="bandwidth_mbps", datatype="FP64", shape=(-1, -1), unit="Mbit/s", doc="history"
        ),
    )
    outputs: tuple[TensorSpec, ...] = field(
        default_factory=lambda: tuple(
            TensorSpec(name=name, datatype="FP64", shape=(-1, 5), unit="Mbit/s", doc=name)
            for name in ("value_mbps", "lower_mbps", "upper_mbps")
        )
    )

    def prepare(self, tensors: Any) -> dict[str, NDArray[np.generic]]:
        check_tensors(tensors, self.inputs)
        return {"x": tensors["bandwidth_mbps"][:, -5:]}

    def predict(self, rows: Any) -> dict[str, NDArray[np.generic]]:
        x = rows["x"]
        return {"value_mbps": x + 0.0, "lower_mbps": x * 0.8, "upper_mbps": x * 1.2}

    def save(self, directory: Path) -> None:
        raise NotImplementedError(directory)


class _Store:
    """A registry of that one model."""

    def resolve(self, _name: str, _ref: str) -> str:
        return "1"

    def load(self, name: str, _ref: str) -> Any:
        model = _Spread()
        card = SimpleNamespace(features_hash=model.features_hash)
        return SimpleNamespace(model=model, name=name, version="1", card=card)


class _Codec:
    """Hands over a request as it is: no wire format is timed."""

    def __init__(self, request: InferRequest) -> None:
        self._request = request

    def decode(self, _body: bytes) -> InferRequest:
        return self._request

    def encode(self, _answer: InferAnswer) -> bytes:
        return b""


async def _costs(pairs: int) -> list[Metric]:
    """Time answers through the data plane with and without a log, a hundred each, turn by turn."""
    rng = np.random.default_rng(0)
    requests = [
        InferRequest(tensors={"bandwidth_mbps": rng.gamma(2.0, 20.0, (1, 96))}) for _ in range(256)
    ]
    serving = ServingMetrics(MemoryMetrics(), flush_s=0.5)
    host = ModelHost(_Store(), ["bandwidth"], BatchingConfig())
    await host.load()
    alone, added, without = [], [], []
    with TemporaryDirectory() as folder:
        log = PredictionWriter(Path(folder), BIG, now=lambda: NOW)
        plain = DataPlane(host, LimitsConfig(), serving)
        logged = DataPlane(host, LimitsConfig(), serving, recorder=LogRecorder(log))
        for pair in range(pairs + _WARM_PAIRS):
            # In turns who is first, and blocks of the size that is written under load.
            order = (plain, logged) if pair % 2 else (logged, plain)
            took_us = {plane: await _ask_us(plane, requests) for plane in order}
            without_us, with_us = took_us[plain], took_us[logged]
            call_us = _call_us(logged, requests)
            if pair % _PAIRS_A_BLOCK == 0:
                log.flush()
            if pair >= _WARM_PAIRS:
                added.append(with_us - without_us)
                without.append(without_us)
                alone.append(call_us)
        log.close()
    await host.drain()
    beside = "the same answers without a log"
    return [
        _median("log_us_per_answer", "the_call_alone", alone, "no call; goal 5"),
        _median("log_us_per_answer", "on_the_event_loop", added, f"{beside}; goal 5"),
        block := _block_cost(pairs),
        Metric(
            name="log_cpu_ratio",
            set="data_plane_without_codec_and_model",
            value=1 + float((np.median(added) + block.value) / np.median(without)),
            n=len(without),
            baseline=f"{beside}: {np.median(without):.0f} us each",
        ),
    ]


def _block_cost(pairs: int) -> Metric:
    """Time the writing of whole blocks, of the size that is written under load."""
    rng = np.random.default_rng(1)
    costs = []
    with TemporaryDirectory() as folder:
        log = PredictionWriter(Path(folder), BIG, now=lambda: NOW)
        for _ in range(max(2, pairs // 40)):
            for turn in range(_BLOCK_ROWS):
                log.record(make_entry(log, rng, float(turn)))
            began_s = time.process_time()
            log.flush()
            costs.append((time.process_time() - began_s) / _BLOCK_ROWS * 1e6)
        log.close()
    return _median(
        "log_block_us_per_row",
        f"blocks_of_{_BLOCK_ROWS}",
        costs,
        "none: CPU of the log's own thread",
    )


def _median(name: str, where: str, values: list[float], baseline: str) -> Metric:
    """Return the median with the interval that resampling the values gives it."""
    rng = np.random.default_rng(0)
    drawn = np.median(rng.choice(values, (1_000, len(values))), axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Metric(
        name=name,
        set=where,
        value=float(np.median(values)),
        lo=float(low),
        hi=float(high),
        n=len(values),
        baseline=baseline,
    )


def _call_us(plane: DataPlane, requests: list[InferRequest]) -> float:
    """Return the microseconds of the thread that one id and one record take."""
    recorder, served = plane.recorder, plane.host.get("bandwidth")
    assert recorder is not None  # noqa: S101
    timing = Timing(decode_s=1e-4, queue_s=0.0, predict_s=1e-3, encode_s=1e-4)
    tensors = served.model.predict(served.model.prepare(requests[0].tensors))
    began_s = time.thread_time()
    for turn in range(_ANSWERS):
        name = recorder.new_id()
        answer = InferAnswer(
            model_name="bandwidth", model_version="1", tensors=tensors, prediction_id=name
        )
        recorder.record(served, requests[turn % len(requests)], answer, timing)
    return (time.thread_time() - began_s) / _ANSWERS * 1e6


async def _ask_us(plane: DataPlane, requests: list[InferRequest]) -> float:
    began_s = time.process_time()
    for turn in range(_ANSWERS):
        await plane.infer("bandwidth", None, b"", _Codec(requests[turn % len(requests)]))
    return (time.process_time() - began_s) / _ANSWERS * 1e6


def _stalls(seed: int, answers: int) -> list[Metric]:
    """Count answers that waited while the disk stands still, refuses, or the buffer is full."""

    def stalled(*arguments: Any, **more: Any) -> Any:
        time.sleep(_STALL_S)
        return write_block(*arguments, **more)

    def refuses(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    found = []
    cases: tuple[tuple[str, Callable[..., Any], int], ...] = (
        ("disk_stalls", stalled, 10**6),
        ("disk_refuses", refuses, 10**6),
        ("buffer_is_full", refuses, 100),
    )
    for name, replaced, rows in cases:
        waits_s, refused = _record_all(seed, answers, rows, replaced)
        found.append(
            Metric(
                name="log_answers_blocked",
                set=name,
                value=float(np.count_nonzero(waits_s > _BLOCKED_S)),
                n=answers,
                baseline=f"answers that waited over {_BLOCKED_S * 1e3:.0f} ms; median wait "
                f"{np.median(waits_s) * 1e6:.1f} us, {refused} rows dropped and counted; goal 0",
            )
        )
    return found


def _record_all(
    seed: int, answers: int, rows: int, write: Callable[..., Path]
) -> tuple[NDArray[np.float64], int]:
    rng = np.random.default_rng(seed)
    config = PredictionLogConfig(block_rows=50, block_interval_s=0.05, max_buffer_rows=rows)
    waits_s = np.empty(answers)
    with TemporaryDirectory() as folder:
        log = PredictionWriter(Path(folder), config, now=lambda: NOW, write=write)
        for turn in range(answers):
            entry = make_entry(log, rng, float(turn))
            began_s = time.perf_counter()
            log.record(entry)
            waits_s[turn] = time.perf_counter() - began_s
        refused = log.refused_rows
        log.close()
    return waits_s, refused


def _kills(seed: int, kills: int) -> list[Metric]:
    """Kill a process that logs, and compare what is missing with what its successor says."""
    rng = np.random.default_rng(seed)
    missing, differences = [], []
    for _ in range(kills):
        with TemporaryDirectory() as folder:
            with child("log", folder, str(seed)) as process:
                said = read_numbers(process, int(rng.integers(700, 1_500)))
                recorded = last_number(process, said)
                process.wait()
            told = sum(loss.lost for loss in settle_losses(Path(folder)))
            written = sum(pq.read_metadata(one.path).num_rows for one in block_files(Path(folder)))
            missing.append(max(0, recorded - written))
            differences.append(abs(recorded - written - told))
    return [
        Metric(
            name="log_rows_lost_after_sigkill",
            set="largest",
            value=float(max(missing)),
            n=kills,
            baseline="what came since the last block: the one being written, and what waits; "
            f"a block is begun every {LOG.block_rows} rows or {LOG.block_interval_s:g} s",
        ),
        Metric(
            name="log_rows_lost_told_wrong",
            set="largest",
            value=float(max(differences)),
            n=kills,
            baseline="rows lost against rows said to be lost; 1 where the kill came between an "
            "answer and its number",
        ),
    ]
