"""Runs the independent units of a training: side by side as Ray tasks, or one by one in here.

A unit writes its own checkpoints and a progress file into the run folder, so a run that was
killed goes on with what is missing, and the driver needs nothing from a task but its end.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

from novacron.errors import NovacronError
from novacron.monitoring.metric_names import TRAINING_LOSS, TRAINING_ROWS

log = logging.getLogger(__name__)

_POLL_S: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitProgress:
    """Where one unit stands after a step of it."""

    unit: str
    set: str
    seed: int
    step: int
    """Steps done, of `steps`."""
    steps: int
    rows: int
    """Rows stepped over since the last report."""
    losses: Mapping[str, float]
    """Split (`train`, `validation`) -> last loss."""


ProgressSink = Callable[[UnitProgress], None]


class UnitWork(Protocol):
    """What can be done in units; it travels to the workers."""

    model: str

    def fit_unit(self, unit: str, progress: ProgressSink) -> None:
        """Fit one unit and leave its result in the run folder; go on from its checkpoint."""
        ...


def run_units(
    work: UnitWork,
    units: Sequence[str],
    *,
    progress_dir: Path,
    parallel: int,
    on_progress: ProgressSink,
) -> None:
    """Run units to their end: as Ray tasks when connected to a cluster, else one after another.

    Args:
        work: What a unit does.
        units: Which ones.
        progress_dir: Folder of the progress files, on storage that the workers share.
        parallel: How many tasks at once, one CPU each.
        on_progress: Called here, in the driver, for each report of each unit.

    Raises:
        NovacronError: A unit failed; the others that were running are cancelled.
    """
    progress_dir.mkdir(parents=True, exist_ok=True)
    if _is_connected():
        _run_as_tasks(work, units, progress_dir, parallel, on_progress)
        return
    for unit in units:
        with _progress_path(progress_dir, unit).open("a", encoding="utf-8") as stream:
            work.fit_unit(unit, _recording(stream, on_progress))


def _run_as_tasks(
    work: UnitWork,
    units: Sequence[str],
    progress_dir: Path,
    parallel: int,
    on_progress: ProgressSink,
) -> None:
    import ray

    readers = {unit: _ProgressReader(_progress_path(progress_dir, unit)) for unit in units}
    shared = ray.put(work)
    # A lost worker costs the steps since the unit's last checkpoint.
    task = ray.remote(num_cpus=1, max_retries=2)(_fit_in_task)
    waiting = list(units)
    running: dict[Any, str] = {}
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                unit = waiting.pop(0)
                reference = task.remote(shared, unit, _progress_path(progress_dir, unit))
                running[reference] = unit
            ended, _ = ray.wait(list(running), timeout=_POLL_S)
            for reader in readers.values():
                reader.pass_on(on_progress)
            for reference in ended:
                _raise_if_failed(reference, running.pop(reference))
            for reader in readers.values():
                reader.pass_on(on_progress)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _fit_in_task(work: UnitWork, unit: str, path: Path) -> None:
    """Run on a worker: fit, and report into the unit's progress file and Ray's metrics."""
    from ray.util import metrics

    loss_gauge = TRAINING_LOSS.create(metrics)
    row_counter = TRAINING_ROWS.create(metrics)

    def measure(event: UnitProgress) -> None:
        tags = {"model": work.model, "set": event.set}
        if event.rows:
            row_counter.inc(event.rows, tags=tags)
        for split, loss in event.losses.items():
            loss_gauge.set(loss, tags=tags | {"seed": str(event.seed), "split": split})

    with path.open("a", encoding="utf-8") as stream:
        work.fit_unit(unit, _recording(stream, measure))


def _recording(stream: TextIO, sink: ProgressSink) -> ProgressSink:
    """Return a sink that also appends each report to a progress file."""

    def record(event: UnitProgress) -> None:
        stream.write(json.dumps(asdict(event)) + "\n")
        stream.flush()
        sink(event)

    return record


def read_progress(progress_dir: Path) -> dict[str, list[UnitProgress]]:
    """Return all reports of a run by unit, the steps of a unit in order and each once."""
    found: dict[str, dict[int, UnitProgress]] = {}
    for path in sorted(progress_dir.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                event = UnitProgress(**json.loads(line))
            except ValueError:  # the process was killed while it wrote this line
                continue
            # A unit that goes on from a checkpoint repeats the steps after it.
            found.setdefault(event.unit, {})[event.step] = event
    return {unit: [steps[at] for at in sorted(steps)] for unit, steps in found.items()}


def _raise_if_failed(reference: Any, unit: str) -> None:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, NovacronError):
            raise error.cause from None
        raise NovacronError(
            f"Unit {unit} failed: {error}", remedy="Run the same command again to go on."
        ) from error
    except RayError as error:
        raise NovacronError(
            f"The worker of unit {unit} was lost: {error}",
            remedy="Run the same command again to go on.",
        ) from error


def _progress_path(folder: Path, unit: str) -> Path:
    return folder / f"{unit.replace('/', '__')}.jsonl"


class _ProgressReader:
    """Reads what a task has appended to its progress file since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # What an earlier run of the same folder wrote has been reported by it.
        self._offset = path.stat().st_size if path.exists() else 0

    def pass_on(self, sink: ProgressSink) -> None:
        if not self._path.exists() or self._path.stat().st_size == self._offset:
            return
        with self._path.open("rb") as stream:
            stream.seek(self._offset, os.SEEK_SET)
            text = stream.read()
        complete = text[: text.rfind(b"\n") + 1]
        self._offset += len(complete)
        for line in complete.splitlines():
            sink(UnitProgress(**json.loads(line)))


def _is_connected() -> bool:
    if not os.environ.get("RAY_ADDRESS"):
        return False
    import ray

    return bool(ray.is_initialized())
