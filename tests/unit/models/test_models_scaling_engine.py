from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import tiny_scaling

from novacron import PredictiveScalingEngine
from novacron.errors import (
    InvalidInputError,
    NotReadyError,
    OutOfRangeError,
    SchemaError,
    UnknownNameError,
)
from novacron.models.scaling.config import POLICIES
from novacron.models.scaling.demand import to_demand
from novacron.models.scaling.deployment import Deployment, Node, plan_move
from novacron.models.scaling.replay import replay

DAY = tiny_scaling.DAY
NOW = datetime(2025, 3, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def engine():
    return PredictiveScalingEngine(tiny_scaling.tiny_model(), version="7", clock=lambda: NOW)


@pytest.fixture(scope="module")
def history():
    return tiny_scaling.working_days(6, seed=9)[: 5 * DAY + 140]


def frame_of(values, name="demand"):
    times = pd.date_range("2025-03-03", periods=len(values), freq="5min", tz="UTC")
    return pd.DataFrame({"timestamp": times, name: values})


def test_untrained_it_says_what_to_do():
    with pytest.raises(NotReadyError, match=r"fit\(history\)"):
        PredictiveScalingEngine().forecast([1.0] * 100, step_s=300)


@pytest.mark.learn
def test_from_a_cold_start_it_learns_from_a_history_and_decides():
    values = tiny_scaling.working_days(4, seed=2)
    engine = PredictiveScalingEngine(config=tiny_scaling.TINY).fit(frame_of(values))

    decision = engine.decide(frame_of(values), deployment=3.0)

    assert engine.is_trained
    assert decision.action == "scale_up"
    assert decision.target_capacity > values[-1]
    assert decision.model_version.startswith("history-")


def test_a_history_too_short_to_learn_from_is_refused():
    with pytest.raises(SchemaError, match="at least"):
        PredictiveScalingEngine(config=tiny_scaling.TINY).fit(np.ones(20), step_s=300)


def test_a_forecast_carries_its_interval_and_its_provenance(engine, history):
    found = engine.forecast(frame_of(history), entity_id="shop")

    assert len(found.value) == len(found.lower) == len(found.upper) == 12
    assert found.horizon_s[-1] == 3600
    assert all(a <= b <= c for a, b, c in zip(found.lower, found.value, found.upper, strict=True))
    assert found.peak == max(found.value)
    assert (found.entity_id, found.target, found.fallback) == ("shop", "demand", "")
    assert (found.model_name, found.model_version) == ("scaling", "7")
    assert len(found.features_hash) == 64
    assert found.made_at == datetime(2025, 3, 3, tzinfo=UTC) + timedelta(
        seconds=300 * (len(history) - 1)
    )
    assert found.valid_until - found.made_at == timedelta(minutes=5)


def test_the_forecast_sees_the_nightly_job_coming(engine):
    values = tiny_scaling.working_days(6, seed=9)[: 5 * DAY + 18]  # half an hour before the job

    found = engine.forecast(frame_of(values))

    assert max(found.value[6:12]) > 1.5 * values[-1]
    assert found.value[2] < 1.4 * values[-1]


def test_a_decision_says_why_at_what_cost_and_how_to_go_back(engine, history):
    found = engine.decide(frame_of(history), deployment=2 * history[-1], policy="predictive")

    assert found.action == "scale_down"
    assert history[-1] < found.target_capacity < 2 * history[-1]
    assert found.cost.running_per_h < 0
    assert found.performance.utilisation_after > found.performance.utilisation_before
    assert 0 <= found.urgency <= 1
    assert 0.9 < found.confidence <= 1
    assert found.rollback.restore_size == 2 * history[-1]
    assert any("chance of a shortage" in reason for reason in found.reasons)
    assert any("moved the forecast" in reason for reason in found.reasons)


def test_urgency_and_risk_rise_as_capacity_falls(engine, history):
    found = [
        engine.decide(history, step_s=300, deployment=share * history[-1])
        for share in (0.5, 1.0, 3.0)
    ]

    assert found[0].urgency > found[1].urgency > found[2].urgency
    assert found[0].performance.under_risk_before > 0.9
    assert found[2].performance.under_risk_before < 0.05


def test_enough_capacity_is_left_as_it_is(engine, history):
    first = engine.decide(history, step_s=300, deployment=history[-1])
    again = engine.decide(history, step_s=300, deployment=first.target_capacity)

    assert again.action == "no_action"
    assert again.execution_s == 0


@pytest.mark.parametrize(
    ("deployment", "wanted", "action"),
    [
        (Deployment(size=4.0), 6.0, "scale_up"),
        (Deployment(size=4.0), 2.0, "scale_down"),
        (Deployment(size=4.0), 4.0, "no_action"),
        (Deployment(size=4.0, max_size=4.0, max_instances=9), 9.0, "scale_out"),
        (Deployment(size=4.0, instances=3, max_size=4.0, max_instances=9), 7.0, "scale_in"),
        (
            Deployment(size=4.0, host_free=1.0, nodes=(Node(node_id="b", free=8.0),)),
            7.0,
            "migrate",
        ),
        (
            Deployment(size=4.0, is_alone_on_host=True, nodes=(Node(node_id="b", free=3.0),)),
            2.0,
            "consolidate",
        ),
        (
            Deployment(
                size=4.0,
                is_alone_on_host=True,
                nodes=(Node(node_id="b", free=3.0, is_in_use=False),),
            ),
            2.0,
            "scale_down",
        ),
        (Deployment(size=4.0, min_size=4.0, max_size=4.0), 9.0, "no_action"),
    ],
)
def test_each_action_has_its_case(deployment, wanted, action):
    move = plan_move(deployment, wanted)

    assert move.action == action
    assert move.capacity + move.shortfall >= min(wanted, deployment.capacity) - 1e-9


def test_a_migration_goes_to_the_tightest_host_that_fits_and_says_how_long_it_takes(
    engine, history
):
    nodes = (Node(node_id="big", free=900.0), Node(node_id="fit", free=60.0))
    now = Deployment(size=5.0, host_free=0.5, nodes=nodes, memory_gb=8.0, link_mbps=1000.0)

    found = engine.decide(history, step_s=300, deployment=now)

    assert (found.action, found.target_node_id) == ("migrate", "fit")
    assert found.migration.expected_s == pytest.approx(1.3 * 64)
    assert found.cost.one_off == engine._config.prices.migration


def test_what_limits_do_not_allow_is_named(engine, history):
    now = Deployment(size=2.0, max_size=2.0, instances=1, max_instances=2)

    found = engine.decide(history, step_s=300, deployment=now)

    assert (found.action, found.target_instances) == ("scale_out", 2)
    assert found.shortfall > 0
    assert found.performance.under_risk_after > 0.9


@pytest.mark.learn
def test_the_six_policies_really_differ():
    fitted = tiny_scaling.tiny_model().fitted
    demand = to_demand(tiny_scaling.working_days(9, seed=6), 300)
    outlook = fitted.outlook(demand, begin=6 * DAY)
    capacities = {
        name: replay(outlook, policy, fitted.config, delay=2, start=6 * DAY)[7 * DAY :]
        for name, policy in fitted.config.policies.items()
    }

    for one in POLICIES:
        for other in POLICIES:
            if one < other:
                apart = np.mean(np.abs(capacities[one] / capacities[other] - 1) > 0.01)
                assert apart > 0.01, (one, other)

    before_the_job = slice(20, 24)
    assert (capacities["proactive"] > 1.4 * capacities["predictive"])[before_the_job].any()
    assert capacities["performance_optimized"].mean() > capacities["cost_optimized"].mean()


def test_policies_give_different_decisions_about_the_same_moment(engine):
    values = tiny_scaling.working_days(6, seed=9)[: 5 * DAY + 20]  # 20 min before the job

    targets = {
        name: engine.decide(values, step_s=300, deployment=values[-1], policy=name).target_capacity
        for name in POLICIES
    }

    assert targets["proactive"] > 1.3 * targets["predictive"]
    assert targets["reactive"] == pytest.approx(1.2 * values[-1])
    assert len({round(target, 6) for target in targets.values()}) >= 4


def test_an_unknown_policy_names_the_nearest(engine, history):
    with pytest.raises(UnknownNameError, match="hybrid"):
        engine.decide(history, step_s=300, deployment=5.0, policy="hybrids")


def test_less_than_a_day_is_answered_by_a_named_rule_that_takes_nothing_away(engine):
    values = tiny_scaling.working_days(1)[:40]

    found = engine.decide(values, step_s=300, deployment=1000.0)

    assert found.fallback == found.forecast.fallback == "ewma_band"
    assert found.action == "no_action"


def test_a_constant_series_is_answered_by_definition_and_flagged(engine):
    found = engine.forecast(np.full(600, 4.0), step_s=300)

    assert found.fallback == "constant_window"
    assert set(found.value) == {4.0}


def test_filled_gaps_are_counted_in_the_answer(engine, history):
    values = history.copy()
    values[100:103] = np.nan

    assert engine.forecast(values, step_s=300).filled == 3


def test_demand_without_a_known_capacity_needs_a_deployment(engine, history):
    with pytest.raises(SchemaError, match="deployment"):
        engine.decide(history, step_s=300)


def test_a_ratio_needs_no_deployment_and_refuses_percent(engine, history):
    ratio = history / 20

    found = engine.decide(frame_of(ratio, "cpu_ratio"))

    assert found.current_capacity == 1.0
    with pytest.raises(OutOfRangeError, match="divide by 100"):
        engine.decide(frame_of(100 * ratio, "cpu_ratio"))


def test_a_frame_with_several_resources_asks_which(engine, history):
    frame = frame_of(history / 20, "cpu_ratio").assign(mem_ratio=0.5)

    with pytest.raises(SchemaError, match="cpu_ratio, mem_ratio"):
        engine.forecast(frame)
    assert engine.forecast(frame, resource="cpu_ratio").target == "cpu_ratio"


def test_a_clock_without_a_zone_is_refused(history):
    engine = PredictiveScalingEngine(
        tiny_scaling.tiny_model(),
        clock=lambda: datetime(2025, 1, 1),  # noqa: DTZ001 - the fault under test
    )

    with pytest.raises(InvalidInputError, match="zone"):
        engine.forecast(history, step_s=300)


def test_a_replay_scores_a_policy_over_a_history(engine, history):
    found = engine.replay(history, step_s=300, policy="performance_optimized")

    assert found.score.under_ratio < 0.05
    assert found.score.days == pytest.approx(len(history) / DAY - 1)
    assert np.isnan(found.capacity[0])


def test_a_saved_engine_decides_the_same(engine, history, tmp_path):
    engine.save(tmp_path / "bundle")

    again = PredictiveScalingEngine.load(tmp_path / "bundle", version="7")

    mine, theirs = (one.decide(frame_of(history), deployment=5.0) for one in (engine, again))
    assert mine == theirs
