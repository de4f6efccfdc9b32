import json

import numpy as np
import pytest

from benchmarks import placement
from benchmarks.placement_contention import draw_world, run
from novacron.models.placement.worlds import Sizes


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("placement")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NOVACRON_DATA_DIR", raising=False)
        placement.main(["--quick", "--out", str(folder), "--runs", str(folder / "runs")])
    return folder


def test_the_quick_run_measures_decisions_and_contention_beside_baselines(quick):
    result = json.loads((quick / "placement.json").read_text())
    found = {(one["name"], one["set"]): one for one in result["metrics"]}

    assert found["infeasible_candidates", "simulated_requests"]["value"] == 0
    assert found["wrongly_none_feasible", "simulated_requests"]["value"] == 0
    assert ("speed_over_random_optimizer", "contention_intensity_1") in found
    assert ("speed_over_random_least_loaded", "contention_intensity_1") in found
    assert found["speed_over_random_random", "contention_intensity_1"]["value"] == 1
    assert "--quick" in result["command"]


def test_the_quick_run_leaves_a_page_and_pictures(quick):
    assert {path.name for path in quick.glob("*.png")} == {
        "placement_contention.png", "placement_reasons.png"
    }  # fmt: skip
    assert "Placement" in (quick / "placement.html").read_text()


def test_finished_stages_are_not_measured_again(quick, capsys):
    kept = sorted((quick / "runs").rglob("*.json"))
    before = [path.stat().st_mtime_ns for path in kept]

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NOVACRON_DATA_DIR", raising=False)
        placement.main(["--quick", "--out", str(quick), "--runs", str(quick / "runs")])

    assert [path.stat().st_mtime_ns for path in kept] == before


def test_the_same_world_meets_every_rule():
    one, other = (draw_world(Sizes.round(), 1.0, 300, 3) for _ in range(2))

    np.testing.assert_array_equal(one.work.cores, other.work.cores)
    assert run(one, "random", None, 1) == run(other, "random", None, 1)
    assert run(one, "best_fit", None, 1) != run(one, "worst_fit", None, 1)
