"""Ends searches on purpose: five kills at driver and workers, then counts what was lost or repeated.

The search is a subprocess, under Ray Tune or not. A killed driver leaves its Ray to die with it; what
is left of that is ended by its process ids before the same command goes on.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import psutil

from benchmarks.tuning_toy import LOG_VARIABLE, STEPS

Victim = Literal["driver", "worker"]
Engine = Literal["ray", "here"]

KILLS: Final[Mapping[Engine, tuple[Victim, ...]]] = {
    "ray": ("worker", "driver", "worker", "driver", "driver"),
    "here": ("driver",) * 5,
}
_MODEL: Final = "benchmarks.tuning_toy:OBJECTIVE"
_LIMIT_S: Final = 540.0
_POLL_S: Final = 0.2
_CLOCKS_NS: Final = 200_000_000
"""A file's time lags some milliseconds behind the clock; a step that is run again comes a second
after the end at the earliest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KillResult:
    """What five kills did to one search."""

    kills: tuple[Victim, ...]
    trials: int
    """Asked for, over all phases."""
    lost: int
    """Of them without an end."""
    repeated: int
    """That ran on after they had ended."""
    failed: int
    runs: int
    """Times that the command was started."""
    steps_again: int
    """Steps of unfinished trials that were run twice: what was done since their last state."""
    idle_ms: float
    """Median time that a worker did nothing between two trials; NaN where none ran two."""
    pairs: int
    """Of trials that followed each other on a worker."""
    seconds: float


def inject_kills(room: Path, engine: Engine, *, trials: int) -> KillResult:
    """Run a search and kill a part of it again and again, each time a few finished trials later.

    Args:
        room: Folder of the search; what a broken-off measurement left there is removed.
        engine: Under Ray Tune, or in the process of the command, which is driver and worker then.
        trials: Settings of the search; the kills are spread over them.
    """
    kills = KILLS[engine]
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    log = room / "steps.jsonl"
    log.touch()
    began_s = time.monotonic()
    run = _Run(room, log, trials, engine)
    every = max(1, trials * STEPS // (len(kills) + 1))
    for number, victim in enumerate(kills, start=1):
        run.wait_for_lines(number * every, began_s + _LIMIT_S)
        if victim == "driver":
            run.kill_driver()
            run.start()
        else:
            run.kill_worker()
    document = run.finish(began_s + _LIMIT_S)
    return count_kills(document, log, kills, run.starts, time.monotonic() - began_s)


class _Run:
    def __init__(self, room: Path, log: Path, trials: int, engine: Engine) -> None:
        self._room, self._log, self._trials, self._engine = room, log, trials, engine
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the command, or the same command again."""
        self.starts += 1
        environment = os.environ | {
            LOG_VARIABLE: str(self._log), "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [
            sys.executable, "-m", "tuning.search", "--model", _MODEL, "--no-track",
            "--trials", str(self._trials), "--seeds", "1,2", "--finalists", "1",
            "--engine", self._engine, "--parallel", "2", "--storage", str(self._room / "searches"),
        ]  # fmt: skip
        errors = (self._room / f"run-{self.starts}.log").open("wb")
        answer = (self._room / "answer.json").open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdout=answer, stderr=errors, env=environment, start_new_session=True
        )

    def wait_for_lines(self, count: int, until_s: float) -> None:
        """Wait until the trials have done so many steps."""
        while len(self._log.read_text().splitlines()) < count:
            self._check(until_s)
            time.sleep(_POLL_S)

    def kill_worker(self) -> None:
        """Kill the process that did the last step."""
        last = json.loads(self._log.read_text().splitlines()[-1])
        os.kill(int(last["pid"]), signal.SIGKILL)

    def kill_driver(self) -> None:
        """Kill the driver, wait for its Ray, and end what is left of it."""
        process = self._running()
        family = [
            psutil.Process(process.pid),
            *psutil.Process(process.pid).children(recursive=True),
        ]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(family[1:], timeout=10.0)
        for one in alive:
            one.kill()
        psutil.wait_procs(alive, timeout=10.0)

    def finish(self, until_s: float) -> dict[str, Any]:
        """Wait for the end and return the search's results."""
        process = self._running()
        while process.poll() is None:
            self._check(until_s)
            time.sleep(_POLL_S)
        answer = json.loads((self._room / "answer.json").read_text())
        folder = Path(answer["folder"])
        found: dict[str, Any] = json.loads((folder / "results.json").read_text())
        return found | {"folder": str(folder)}

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None  # noqa: S101 - started in the constructor
        return self._process

    def _check(self, until_s: float) -> None:
        process = self._running()
        if process.poll() not in (None, 0):
            tail = (self._room / f"run-{self.starts}.log").read_text()[-2000:]
            raise RuntimeError(f"the search ended with {process.returncode}: {tail}")
        if time.monotonic() > until_s:
            self.kill_driver()
            raise TimeoutError("the search with kills took too long")


def count_kills(
    found: Mapping[str, Any], log: Path, kills: tuple[Victim, ...], runs: int, seconds: float
) -> KillResult:
    """Compare the journal of a search with what its trials wrote down.

    Args:
        found: Content of `results.json`, and `folder`.
        log: Of the steps, see `benchmarks.tuning_toy`.
        kills: That were injected.
        runs: Times that the command was started.
        seconds: That all of it took.
    """
    trials, folder = found["trials"], Path(found["folder"])
    idle_ms = idle_between_trials_ms(log)
    rows: dict[tuple[str, int, str], list[int]] = {}
    for line in log.read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(_key(row), []).append(int(row["at_ns"]))
    lost = repeated = again = 0
    for one in trials:
        done_ns = rows.get(_key(one), [])
        end = folder / "trials" / one["id"] / "ended.json"
        is_lost = not end.exists() or len(done_ns) < STEPS
        lost += is_lost
        repeated += not is_lost and max(done_ns) > end.stat().st_mtime_ns + _CLOCKS_NS
        again += max(0, len(done_ns) - STEPS)
    return KillResult(
        kills=kills,
        trials=len(trials),
        lost=lost,
        repeated=repeated,
        failed=sum(one["state"] == "failed" for one in trials),
        runs=runs,
        steps_again=again,
        idle_ms=float(np.median(idle_ms)) if idle_ms else float("nan"),
        pairs=len(idle_ms),
        seconds=seconds,
    )


def idle_between_trials_ms(log: Path) -> list[float]:
    """Return how long each worker waited between the end of a trial and the start of its next.

    A step takes a second and is noted at its end: what lies between the last step of a trial and
    the first one of the next on the same process, less that second, is the engine's.
    """
    by_worker: dict[int, list[Mapping[str, Any]]] = {}
    for line in log.read_text().splitlines():
        row = json.loads(line)
        by_worker.setdefault(int(row["pid"]), []).append(row)
    return [
        (int(after["at_ns"]) - int(before["at_ns"])) / 1e6 - 1000.0
        for rows in by_worker.values()
        for before, after in pairwise(sorted(rows, key=lambda row: int(row["at_ns"])))
        if before["step"] == STEPS and after["step"] == 1
    ]


def _key(row: Mapping[str, Any]) -> tuple[str, int, str]:
    values = {name: float(value) for name, value in sorted(row["values"].items())}
    return str(row["block"]), int(row["seed"]), json.dumps(values)
