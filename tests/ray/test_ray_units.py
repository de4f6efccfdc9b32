import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from novacron.errors import NovacronError, OutOfRangeError
from ray_jobs.cluster import LocalCluster, connect, use_cluster
from ray_jobs.units import UnitProgress, read_progress, run_units

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def connected(cluster: LocalCluster):
    use_cluster(cluster.state)
    with connect():
        # Workers cannot import a test module.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@dataclass
class Sleeper:
    folder: Path
    steps: int = 2
    step_s: float = 0.0
    fail_in: str = ""
    die_once_in: str = ""
    model: str = "sleeper"

    def fit_unit(self, unit, progress):
        if unit == self.fail_in:
            raise OutOfRangeError(field=unit, got=1, expected="nothing")
        mark = self.folder / f"{unit}.died"
        if unit == self.die_once_in and not mark.exists():
            mark.touch()
            os._exit(1)
        begun = time.monotonic()
        for step in range(1, self.steps + 1):
            time.sleep(self.step_s)
            progress(
                UnitProgress(
                    unit=unit,
                    set="s",
                    seed=1,
                    step=step,
                    steps=self.steps,
                    rows=5,
                    losses={"train": 0.5},
                )
            )
        (self.folder / unit).write_text(f"{begun} {time.monotonic()}")


def run(work: Sleeper, units: list[str], *, parallel: int = 2) -> list[UnitProgress]:
    seen: list[UnitProgress] = []
    run_units(
        work,
        units,
        progress_dir=work.folder / "progress",
        parallel=parallel,
        on_progress=seen.append,
    )
    return seen


def test_units_run_in_other_processes_and_every_report_arrives(tmp_path):
    seen = run(Sleeper(folder=tmp_path), ["a", "b", "c"])

    assert sorted((event.unit, event.step) for event in seen) == [
        (unit, step) for unit in "abc" for step in (1, 2)
    ]
    assert set(read_progress(tmp_path / "progress")) == {"a", "b", "c"}


@pytest.mark.parametrize("parallel", [1, 2])
def test_no_more_units_run_at_once_than_asked_for(tmp_path, parallel):
    units = ["a", "b", "c", "d"]

    run(Sleeper(folder=tmp_path, step_s=0.2), units, parallel=parallel)

    spans = [tuple(map(float, (tmp_path / unit).read_text().split())) for unit in units]
    running = [sum(begin <= at < end for begin, end in spans) for at, _ in spans]
    assert max(running) <= parallel


def test_the_error_of_a_unit_arrives_as_it_was_raised(tmp_path):
    with pytest.raises(OutOfRangeError, match="bad"):
        run(Sleeper(folder=tmp_path, fail_in="bad"), ["good", "bad"])


def test_a_unit_whose_worker_dies_is_run_again(tmp_path):
    seen = run(Sleeper(folder=tmp_path, die_once_in="a"), ["a"])

    assert (tmp_path / "a.died").exists()
    assert [event.step for event in seen] == [1, 2]


def test_a_failed_unit_cancels_those_still_running(tmp_path):
    with pytest.raises(NovacronError):
        run(Sleeper(folder=tmp_path, step_s=60.0, fail_in="bad"), ["slow", "bad"])

    assert not (tmp_path / "slow").exists()
