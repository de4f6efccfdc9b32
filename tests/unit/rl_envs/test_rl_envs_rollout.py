import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rl_envs
from novacron.errors import OutOfRangeError, UnknownNameError
from rl_envs.rollout import fixed_policy, random_policy, simulate

SHARED = {"throughput_mbps", "latency_ms", "loss_ratio"}


@pytest.mark.parametrize("target", rl_envs.ENVIRONMENTS)
def test_episode_is_tabulated_decision_by_decision(target):
    rows = simulate(target, random_policy(target, 1), scenario="wan", seed=2)

    assert [row.step for row in rows] == list(range(1, len(rows) + 1))
    assert all(set(row.metrics) >= SHARED for row in rows)
    assert all(np.isfinite(list(row.metrics.values())).all() for row in rows)
    assert len({str(row.parameters) for row in rows}) > 1


def test_fixed_policy_sets_what_it_was_given_and_leaves_the_rest_as_shipped():
    policy = fixed_policy("amst_transport", {"streams": 3})

    rows = simulate("amst_transport", policy, scenario="metro", seed=1)

    assert all(row.parameters["streams"] == 3 for row in rows)
    assert all(row.parameters["congestion_algorithm"] == "bbr" for row in rows)


def test_shipped_settings_gain_nothing_over_themselves():
    rows = simulate("hde_compression", fixed_policy("hde_compression", {}), scenario="wan", seed=4)

    assert [row.reward for row in rows] == [0.0] * len(rows)


@pytest.mark.parametrize(
    ("target", "scenario", "error"),
    [("routing", "wan", UnknownNameError), ("joint", "moon", UnknownNameError)],
)
def test_unknown_target_or_scenario_is_refused(target, scenario, error):
    with pytest.raises(error, match="known"):
        simulate(target, lambda observation: observation, scenario=scenario)


def test_fixed_policy_refuses_values_outside_the_table():
    with pytest.raises(OutOfRangeError, match="streams"):
        fixed_policy("amst_transport", {"streams": 0})
    with pytest.raises(UnknownNameError, match="pacing_ratio"):
        fixed_policy("amst_transport", {"pace": 1.0})


def test_example_prints_a_table_of_one_episode():
    script = Path(__file__).parents[3] / "examples" / "simulate_wan.py"

    answer = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=True,
        cwd=script.parent,
    )

    assert len(answer.stdout.splitlines()) == 21


def test_fixed_policy_leaves_the_rest_as_shipped_in_the_mode_of_the_path():
    policy = fixed_policy("amst_transport", {"streams": 3})

    rows = simulate("amst_transport", policy, scenario="lan", seed=1, steps=4)

    assert len(rows) == 4
    assert rows[0].default_parameters["streams"] == 64
    for row in rows:
        assert row.parameters == {**row.default_parameters, "streams": 3}
