import threading
import time
from pathlib import Path

import psutil
import pytest

from novacron.errors import NovacronError
from ray_jobs.cluster import LocalCluster
from ray_jobs.locations import RUNS_DIR_VARIABLE
from ray_jobs.train import request_from, submit_training
from ray_jobs.training_data import GENERATOR

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

CONFIG = """
data:
  sets: [fcc]
  generator: {seed: 3, links: 12, hours: 0.5, step_s: 5.0}
parallel_units: 1
fit:
  horizon: 3
  seeds: [1]
  lstm: {hidden: 8, head: 16, epochs: 2, tuning_epochs: 1, rows_per_class: 1500, tuning_rows: 1500}
  twin: {rounds: 30, tuning_rounds: 15, examples: 3000}
"""


def drivers(config: Path) -> list[psutil.Process]:
    """Drivers that train by this config, wherever their supervisor put them."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[1:3] == ["-m", "ray_jobs.train"] and str(config) in words:
            found.append(process)
    return found


def test_a_training_job_whose_driver_is_killed_goes_on_when_it_is_submitted_again(
    cluster: LocalCluster, tmp_path, monkeypatch
):
    monkeypatch.setenv(RUNS_DIR_VARIABLE, str(tmp_path / "runs"))
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    request = request_from(model="bandwidth", config=config, data=GENERATOR, run_dir=None)
    finished: list[str] = []
    one_is_finished = threading.Event()

    def listen(event, _units):
        if event.step == event.steps:
            finished.append(event.unit)
            one_is_finished.set()

    failures: list[NovacronError] = []

    def first_try():
        try:
            submit_training(request, cluster.state, listen)
        except NovacronError as error:
            failures.append(error)

    caller = threading.Thread(target=first_try)
    caller.start()
    assert one_is_finished.wait(150)
    # The report of a unit's last step comes before its result is on disk.
    time.sleep(2)
    found = drivers(config)
    for driver in found:
        driver.kill()
    caller.join(60)

    outcome = submit_training(request, cluster.state, lambda _event, _units: None)

    assert found
    assert failures
    assert "failed" in str(failures[0])
    assert outcome["units_resumed"] >= 1
    assert not outcome["reused"]
    assert outcome["version"]
