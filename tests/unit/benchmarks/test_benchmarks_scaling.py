import json

import pytest

from benchmarks import scaling
from benchmarks.scaling_figures import pareto
from novacron.models.scaling.replay import Elasticity


@pytest.mark.learn
@pytest.mark.slow
def test_the_quick_form_measures_every_part_and_draws_it(tmp_path, capsys):
    assert scaling.main(["--quick", "--out", str(tmp_path)]) == 0

    result = json.loads((tmp_path / "scaling.json").read_text())
    names = {metric["name"] for metric in result["metrics"]}
    assert {"under_share", "theta_o", "moves_per_day", "coverage_90", "member_weight"} <= names
    assert {f"cost_ratio_{policy}" for policy in scaling.POLICIES} <= names
    assert "theta_o" in (tmp_path / "scaling.html").read_text()
    pictures = {path.stem for path in tmp_path.glob("*.png")}
    assert pictures == {f"scaling_{name}" for name in ("frontiers", "policies", "replays", "fans")}
    assert "not measured" in capsys.readouterr().out


def test_the_front_keeps_policies_that_no_other_beats_in_both():
    def scored(under, cost):
        return Elasticity(
            under_ratio=under, theta_u=0.0, theta_o=0.0, excess_area_ratio=0.0, moves_per_day=1.0,
            cost_ratio=cost, days=1.0,
        )  # fmt: skip

    policies = {"a": scored(0.0, 3.0), "b": scored(0.02, 1.0), "c": scored(0.03, 2.0)}

    assert pareto(policies) == ["a", "b"]
