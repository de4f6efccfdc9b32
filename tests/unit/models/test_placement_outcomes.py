from dataclasses import fields, replace

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor
from tiny_placement import SMALL, tiny_models

from novacron.models.placement.boosting import as_grown, contributions, predict, to_lightgbm
from novacron.models.placement.contention import (
    Demand,
    NodeState,
    queueing,
    simulate,
    slowdown,
    stretch,
)
from novacron.models.placement.outcomes import (
    TARGETS,
    draw_examples,
    grades,
    in_units,
    split,
    target_weights,
)
from novacron.models.placement.power import node_power_w
from novacron.models.placement.worlds import Sizes


def state(**changes):
    values = {one.name: 0.0 for one in fields(NodeState)} | {
        "cores": 32, "core_score": 1, "memory_gb": 128, "memory_mbps": 60_000, "iops": 100_000,
        "network_mbps": 10_000, "cache_mb": 64, "redundancy": 1, "maintenance_h": 5000, "pue": 1.2,
        "thrift_ratio": 1, "rtt_ms": 1, "loss_ratio": 1e-6, "inlet_c": 25, "age_years": 2,
        "failures_per_year": 0.5, "local_memory_ratio": 1, "promised_cores": 8,
    }  # fmt: skip
    return NodeState(**{name: np.array([float(v)]) for name, v in (values | changes).items()})


def demand(**changes):
    values = {
        "cores": 4, "memory_gb": 16, "busy_cores": 2, "memory_mbps": 3000, "iops": 1000,
        "network_mbps": 200, "cpu_share": 0.4, "memory_share": 0.3, "disk_share": 0.15,
        "network_share": 0.15, "burstability": 1, "fault_tolerance": 2,
    }  # fmt: skip
    return Demand(**{name: np.array([float(v)]) for name, v in (values | changes).items()})


@pytest.mark.parametrize(
    ("name", "high"),
    [
        ("busy_cores", 40),
        ("asked_memory_mbps", 90_000),
        ("asked_iops", 200_000),
        ("asked_network_mbps", 20_000),
        ("overhead_ratio", 0.3),
    ],
)
def test_more_asked_of_a_shared_resource_slows_a_workload_down(name, high):
    assert slowdown(state(**{name: high}), demand())[0] > slowdown(state(), demand())[0]


def test_a_free_reference_node_is_nearly_no_slowdown():
    assert slowdown(state(), demand())[0] == pytest.approx(1, abs=0.05)


def test_a_full_cpu_stretches_a_cpu_bound_workload_in_proportion():
    alone = demand(cpu_share=1, memory_share=0, disk_share=0, network_share=0)
    twice, four = (slowdown(state(busy_cores=b), alone)[0] for b in (62, 126))

    assert four / twice == pytest.approx(2, rel=1e-6)


def test_a_faster_core_helps_and_isolation_takes_queueing_away():
    bound = demand(cpu_share=1, memory_share=0, disk_share=0, network_share=0)
    assert slowdown(state(core_score=2), bound)[0] == pytest.approx(
        slowdown(state(), bound)[0] / 2
    )
    busy = state(busy_cores=29)
    assert slowdown(replace(busy, isolation=np.ones(1)), bound)[0] < slowdown(busy, bound)[0]


def test_queueing_is_that_of_one_server_where_there_is_one():
    rho = np.array([0.1, 0.5, 0.9])

    np.testing.assert_allclose(queueing(rho, 1.0), rho / (1 - rho))
    assert stretch(np.array([50.0]), np.array([100.0]), 1.0, np.zeros(1))[0] == pytest.approx(2)


@pytest.mark.parametrize(
    ("change", "better"),
    [
        ({"failures_per_year": 5}, False),
        ({"inlet_c": 40}, False),
        ({"age_years": 9}, False),
        ({"redundancy": 3}, True),
        ({"maintenance_h": 10}, False),
    ],
)
def test_reliability_follows_failures_heat_age_redundancy_and_planned_stops(change, better):
    changed = simulate(state(**change), demand()).reliability[0]
    assert (changed > simulate(state(), demand()).reliability[0]) == better


def test_power_is_convex_and_waking_a_node_costs_its_idle_power():
    load = np.linspace(0, 1, 11)
    power = np.array([node_power_w(u, 32) for u in load])
    assert (np.diff(power) > 0).all()
    assert (np.diff(power, 2) > 0).all()

    awake = simulate(state(), demand()).power_w[0]
    asleep = simulate(state(promised_cores=0), demand()).power_w[0]
    assert asleep - awake == pytest.approx(2.2 * 32 * 1.2)


def test_grades_and_units_are_two_ways_to_say_the_same():
    outcome = simulate(state(), demand())

    units = in_units(grades(outcome))[0]

    told = (outcome.throughput, outcome.latency_ms, outcome.reliability, outcome.efficiency)
    np.testing.assert_allclose(units[:4], [value[0] for value in told], rtol=1e-6)
    assert units[4] == pytest.approx(outcome.power_w[0], rel=1e-6)


def test_fleets_are_on_one_side_of_the_split_only():
    examples = draw_examples(Sizes.round(), SMALL.outcomes, 1)

    held = [set(part.fleet_N.tolist()) for part in split(examples)]

    assert not held[0] & held[1]
    assert not (held[0] | held[1]) & held[2]


def test_the_same_seed_draws_the_same_placements():
    one, other = (draw_examples(Sizes.round(), SMALL.outcomes, 1) for _ in range(2))

    np.testing.assert_array_equal(one.raw_NR, other.raw_NR)
    np.testing.assert_array_equal(one.grade_NT, other.grade_NT)


def test_even_small_models_beat_the_mean_on_unseen_fleets():
    models = tiny_models().outcomes
    unseen = draw_examples(Sizes.round(), SMALL.outcomes, 99)

    off = np.abs(models.estimate(unseen.raw_NR) - unseen.grade_NT).mean(axis=0)

    flat = np.abs(unseen.grade_NT - unseen.grade_NT.mean(axis=0)).mean(axis=0)
    assert dict(zip(TARGETS, off < flat, strict=True)) == dict.fromkeys(TARGETS, True)


def test_rewritten_trees_answer_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    x_NF = as_grown(rng.normal(size=(400, 5)))
    y_N = x_NF[:, 0] * 3 + np.sin(x_NF[:, 1] * 3) + rng.normal(size=400)
    model = GradientBoostingRegressor(n_estimators=25, max_depth=4, subsample=0.6, random_state=1)
    model.fit(x_NF, y_N)

    booster = to_lightgbm(model, list("abcde"))

    fresh = as_grown(rng.normal(size=(300, 5)))
    np.testing.assert_allclose(predict(booster, fresh), model.predict(fresh), atol=1e-9)


def test_a_tree_without_a_split_is_rewritten_too():
    x_NF, y_N = np.zeros((30, 2)), np.arange(30.0)
    model = GradientBoostingRegressor(n_estimators=3).fit(x_NF, y_N)

    booster = to_lightgbm(model, ["a", "b"])

    np.testing.assert_allclose(predict(booster, x_NF[:2]), 14.5)


def test_contributions_add_up_to_the_prediction():
    models = tiny_models().outcomes
    raw_NR = draw_examples(Sizes.round(), SMALL.outcomes, 3).raw_NR[:40]
    x_NC = models.columns.matrix(raw_NR)
    for name in TARGETS:
        base_N, share_NC = contributions(models.boosters[name], x_NC)
        np.testing.assert_allclose(
            base_N + share_NC.sum(axis=1), predict(models.boosters[name], x_NC), atol=1e-9
        )

    _, base_N, share_NV = models.explain(raw_NR, SMALL.weights)
    score_N = models.estimate(raw_NR) @ target_weights(SMALL.weights)
    np.testing.assert_allclose(base_N + share_NV.sum(axis=1), score_N, atol=1e-9)
