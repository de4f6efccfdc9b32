"""The bound on what placement can reach under contention."""

import json

import numpy as np
import pytest

from benchmarks.placement_contention import OVERCOMMIT, draw_world, lived
from benchmarks.placement_hindsight import Timeline, alone, main, search
from novacron.models.placement.worlds import Sizes


@pytest.fixture(scope="module")
def world():
    return draw_world(Sizes.round(), 1.0, 300, 3)


@pytest.mark.parametrize("rule", ["random", "best_fit", "oracle"])
def test_a_placement_is_as_slow_in_hindsight_as_it_was_when_lived(world, rule):
    ran, placed = lived(world, rule, None, 1)

    assert Timeline(world, placed).mean() == pytest.approx(ran.slowdown, rel=1e-12)


def test_every_move_makes_the_mean_smaller_and_nothing_beats_being_alone(world):
    ran, placed = lived(world, "random", None, 1)
    timeline = Timeline(world, placed)
    before = timeline.mean()
    means = [timeline.mean() for job in timeline.jobs[:12] if timeline.improve(int(job))]

    assert len(means) > 2
    assert means[0] < before
    assert (np.diff(means) < 0).all()
    assert alone(world, placed) < search(world, placed, 1, 0).slowdown < ran.slowdown


def test_moved_jobs_still_fit(world):
    _, placed = lived(world, "random", None, 1)
    timeline = Timeline(world, placed)
    for job in timeline.jobs[:12]:
        timeline.improve(int(job))
    node_N, state = timeline.placement, world.hardware.state

    for now_s in world.arrived_N[node_N >= 0]:
        here_N = (node_N >= 0) & (world.arrived_N <= now_s) & (world.end_N > now_s)
        for asked, has in (
            (world.work.cores, state.cores * OVERCOMMIT),
            (world.work.memory_gb, state.memory_gb),
        ):
            summed = np.bincount(node_N[here_N], weights=asked[here_N], minlength=len(has))
            assert (summed <= has + 1e-6).all()


def test_the_quick_run_writes_its_figures(tmp_path, monkeypatch):
    monkeypatch.delenv("NOVACRON_DATA_DIR", raising=False)

    main(["--quick", "--out", str(tmp_path), "--runs", str(tmp_path / "runs")])

    result = json.loads((tmp_path / "placement_hindsight.json").read_text())
    value = {one["name"]: one["value"] for one in result["metrics"]}
    assert (
        1
        < value["speed_over_random_oracle"]
        <= value["speed_over_random_hindsight"]
        < value["speed_over_random_alone"]
    )
