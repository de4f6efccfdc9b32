"""`CapacityPlanner` as people use it: plans, costs, urgency, refusals, the served tensors."""

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from tiny_capacity import tiny_capacity

import novacron
from novacron.errors import (
    ArtifactError,
    FeatureMismatchError,
    NotReadyError,
    OutOfRangeError,
    SchemaError,
)
from novacron.models.bundles import load_bundle
from novacron.models.capacity.bundle import load
from novacron.models.capacity.config import RULES, CapacityConfig, MetricRule
from novacron.models.capacity.crossing import crossing_of
from novacron.models.capacity.picture import draw_plan
from novacron.models.capacity.plan import cost_of, urgency_of
from novacron.models.capacity.planner import CapacityPlanner

START = datetime(2024, 1, 1, tzinfo=UTC)


def usage(days=120, start=0.5, end=0.5, seed=0, name="cpu_ratio") -> pd.Series:
    rng = np.random.default_rng(seed)
    index = pd.date_range(START, periods=days, freq="D")
    weekly = np.array([0.02, 0.03, 0.03, 0.02, 0.01, -0.05, -0.06])[np.arange(days) % 7]
    values = np.linspace(start, end, days) + weekly + 0.01 * rng.standard_normal(days)
    return pd.Series(values, index=index, name=name)


@pytest.fixture(scope="module")
def planner() -> CapacityPlanner:
    return CapacityPlanner(model=tiny_capacity(), version="7")


@pytest.fixture(scope="module")
def growing() -> pd.DataFrame:
    return pd.DataFrame({"cpu_ratio": usage(start=0.4, end=0.72), "mem_ratio": usage(seed=1)})


@pytest.fixture(scope="module")
def plan(planner, growing):
    return planner.generate_capacity_plan(growing, capacities={"cpu_ratio": 100, "mem_ratio": 512})


def test_without_a_history_the_planner_says_what_it_needs():
    with pytest.raises(NotReadyError, match="train"):
        CapacityPlanner(model=tiny_capacity()).generate_capacity_plan()


@pytest.mark.learn
def test_it_plans_from_a_cold_start_with_the_model_that_ships(growing):
    planner = CapacityPlanner()

    need = planner.generate_capacity_plan(growing[["cpu_ratio"]]).needs["cpu_ratio"]

    assert set(planner.config.members) == set(need.forecast.member_weights)
    assert need.forecast.model_version == "shipped"
    assert need.forecast.trials == 4
    assert need.crossings[0].probability > 0.5
    assert need.peak_upper > need.peak > growing["cpu_ratio"].iloc[-28:].mean()


def test_what_cannot_be_fitted_on_ten_days_is_named(planner):
    forecast = planner.forecast(usage(days=10), horizon_days=7)

    assert forecast.members_left_out == {"decomposed": "needs two weeks of history"}
    assert forecast.trials == 0


def test_it_is_importable_from_the_top():
    assert novacron.CapacityPlanner is CapacityPlanner


def test_a_forecast_carries_everything_an_answer_must(planner):
    forecast = planner.forecast(usage(), horizon_days=30)

    assert len(forecast.value) == len(forecast.lower_95) == len(forecast.at) == 30
    assert forecast.at[0] == forecast.made_at == datetime(2024, 4, 30, tzinfo=UTC)
    assert forecast.horizon_s[:2] == (86_400.0, 172_800.0)
    assert (forecast.model_name, forecast.model_version) == ("capacity", "7")
    assert (forecast.coverage, forecast.fallback) == (0.8, "")
    assert forecast.valid_until > forecast.made_at
    assert len(forecast.features_hash) == 64
    assert sum(forecast.member_weights.values()) == pytest.approx(1.0)
    json.dumps(forecast.to_dict(), allow_nan=False)


def test_intervals_are_nested_hold_the_value_and_stay_in_the_bounds_of_the_metric(planner):
    told = planner.forecast(usage(start=0.9, end=0.94), horizon_days=30)

    lines = np.array([told.lower_95, told.lower, told.value, told.upper, told.upper_95])
    assert (np.diff(lines, axis=0) >= 0).all()
    assert lines.min() >= 0
    assert lines.max() <= 1


def test_level_season_and_holiday_add_up_to_the_value(planner):
    told = planner.forecast(usage(), horizon_days=14)

    np.testing.assert_allclose(
        np.array(told.level) + np.array(told.seasonal) + np.array(told.holiday), told.value
    )
    by_weekday = [told.seasonal[n] for n, day in enumerate(told.at) if day.weekday() >= 5]
    assert max(by_weekday) < 0


def test_hours_are_forecast_as_hours_and_planned_by_their_busiest_one(planner):
    index = pd.date_range(START, periods=24 * 60, freq="h")
    values = 0.5 + 0.2 * np.sin(2 * np.pi * np.arange(len(index)) / 24)
    series = pd.Series(values, index=index, name="cpu_ratio")
    series += 0.01 * np.random.default_rng(0).standard_normal(len(index))

    forecast = planner.forecast(series, horizon_days=2)
    need = planner.generate_capacity_plan(series).needs["cpu_ratio"]

    assert len(forecast.value) == 48
    np.testing.assert_allclose(forecast.value, values[:48], atol=0.05)
    assert need.forecast.notes["busy_hours_of_days"] == 60
    assert np.mean(need.forecast.value) == pytest.approx(0.71, abs=0.03)


def test_a_growing_metric_gets_a_date_an_urgency_and_a_price(plan):
    need = plan.needs["cpu_ratio"]
    warning = need.crossings[0]

    assert warning.level == "warning"
    assert warning.probability > 0.5
    assert warning.dates[0.1] is not None
    assert need.urgency in ("urgent", "high", "medium")
    assert need.cost.cost == need.cost.add_units * 50.0 > 0
    assert plan.timeline[0].metric == "cpu_ratio"
    assert plan.recommendations[0].startswith("cpu_ratio: [")
    json.dumps(plan.to_dict(), allow_nan=False)


def test_a_calm_metric_costs_nothing_and_needs_nothing(plan):
    need = plan.needs["mem_ratio"]

    assert need.urgency in ("none", "low")
    assert need.cost.cost == 0.0
    assert not any(line.startswith("mem_ratio") for line in plan.recommendations)
    assert plan.cost["total"] == plan.needs["cpu_ratio"].cost.cost


def test_costs_grow_with_the_deficit_and_with_the_capacity(planner):
    def cost(end: float, capacity: float) -> float:
        plan = planner.generate_capacity_plan(
            usage(start=0.5, end=end), capacities={"cpu_ratio": capacity}
        )
        return plan.cost["total"]

    assert 0 < cost(0.72, 100) < cost(0.85, 100) < cost(0.85, 200)


def test_units_to_add_keep_the_peak_under_the_warning_less_the_headroom():
    rule = MetricRule(
        unit="ratio", high=1, warning=0.75, critical=0.85, cost_group="compute", unit_price=50
    )
    over = crossing_of(
        np.ones((2, 3)), level="warning", threshold=0.75, newest=0.5, made_at=START, step_s=86_400
    )

    cost = cost_of(0.9, 0.8, [over], rule, capacity=40, headroom_ratio=0.2)

    # 40 processors at .9; to stay at .75 / 1.2 = .625 it takes 57.6: 18 more, whole ones.
    assert (cost.add_units, cost.cost) == (18, 900)
    assert cost.add_units_expected == 12


def test_an_unknown_capacity_leaves_the_cost_open_and_says_so(planner, growing):
    need = planner.generate_capacity_plan(growing).needs["cpu_ratio"]

    assert need.cost.cost is None
    assert "capacities" in need.cost.why


@pytest.mark.parametrize(
    ("soonest_day", "expected"),
    [(3, "urgent"), (10, "high"), (20, "medium"), (None, "none")],
)
def test_urgency_is_how_soon_the_threshold_may_be_reached(soonest_day, expected):
    path_PH = np.zeros((100, 30))
    if soonest_day is not None:
        path_PH[:, soonest_day - 1 :] = 1.0
    warning = crossing_of(
        path_PH, level="warning", threshold=0.5, newest=0.0, made_at=START, step_s=86_400
    )

    assert urgency_of([warning], CapacityConfig()) == expected


def test_one_metric_that_cannot_be_planned_is_named_and_does_not_stop_the_others(planner):
    frame = pd.DataFrame({"cpu_ratio": usage(), "mem_ratio": 100 * usage(seed=1)})

    plan = planner.generate_capacity_plan(frame)

    assert list(plan.needs) == ["cpu_ratio"]
    assert "dividing by 100" in plan.left_out["mem_ratio"]


def test_when_no_metric_can_be_planned_the_error_of_the_first_is_raised(planner):
    with pytest.raises(OutOfRangeError, match="dividing by 100"):
        planner.generate_capacity_plan(100 * usage())
    with pytest.raises(SchemaError, match="only missing values"):
        planner.generate_capacity_plan(usage() * np.nan)
    with pytest.raises(SchemaError, match="at least 30 days"):
        planner.generate_capacity_plan(usage(days=20))


def test_a_constant_series_is_answered_by_a_named_fallback(planner):
    constant = pd.Series(0.4, index=pd.date_range(START, periods=60, freq="D"), name="cpu_ratio")

    need = planner.generate_capacity_plan(constant).needs["cpu_ratio"]

    assert need.forecast.fallback == "constant_series"
    assert set(need.forecast.value) == {0.4}
    assert need.forecast.member_weights == {}
    assert need.urgency == "none"


def test_documented_names_and_a_time_column_are_understood(planner):
    frame = usage(start=0.4, end=0.72).reset_index(name="cpu_usage")

    plan = planner.generate_capacity_plan(frame.rename(columns={"index": "timestamp"}))

    assert plan.needs["cpu_usage"].crossings[0].threshold == RULES["cpu_ratio"].warning


def test_a_metric_without_a_rule_is_forecast_and_has_no_threshold(planner):
    need = planner.generate_capacity_plan(1000 * usage(name="queue")).needs["queue"]

    assert need.crossings == ()
    assert need.urgency == "none"
    assert "no threshold" in need.cost.why


def test_the_history_taken_by_train_is_planned_later(planner):
    trained = CapacityPlanner(model=planner.model).train(usage())

    assert trained.is_trained
    assert trained.generate_capacity_plan(forecast_horizon_days=7).horizon_days == 7


def test_the_same_history_gets_the_same_plan(planner, growing, plan):
    again = planner.generate_capacity_plan(
        growing, capacities={"cpu_ratio": 100, "mem_ratio": 512}
    )

    assert again.to_dict() == plan.to_dict()


def test_a_plan_is_drawn(plan, growing, tmp_path):
    draw_plan(plan, tmp_path / "plan.png", {"cpu_ratio": growing["cpu_ratio"]})

    assert (tmp_path / "plan.png").read_bytes()[:4] == b"\x89PNG"


def test_served_rows_are_the_planners_answers():
    model = tiny_capacity()
    series = usage(start=0.4, end=0.72)
    tensors = {
        "demand": series.to_numpy()[None, :],
        "step_s": np.array([86_400.0]),
        "start_s": np.array([START.timestamp()]),
        "high": np.array([1.0]),
        "warning": np.array([0.75]),
    }

    out = model.predict(model.prepare(tensors))
    need = CapacityPlanner(model=model).generate_capacity_plan(series).needs["cpu_ratio"]

    np.testing.assert_allclose(out["value"][0], need.forecast.value)
    np.testing.assert_allclose(out["upper_95"][0], need.forecast.upper_95)
    assert out["warning_probability"][0] == need.crossings[0].probability
    assert out["critical_days"][0].tolist() == [-1.0, -1.0, -1.0]
    assert out["first_day_s"][0] == need.forecast.at[0].timestamp()


def test_a_changed_or_foreign_bundle_is_refused(tmp_path):
    tiny_capacity().save(tmp_path)
    manifest = json.loads((tmp_path / "bundle.json").read_text())

    (tmp_path / "boosted_86400.txt").write_text("tree")
    with pytest.raises(ArtifactError, match="was changed"):
        load(tmp_path)

    tiny_capacity().save(tmp_path)
    (tmp_path / "bundle.json").write_text(json.dumps(manifest | {"features_hash": "0" * 64}))
    with pytest.raises(FeatureMismatchError):
        load_bundle(tmp_path)

    manifest["priors"]["86400"]["error_per_change"] = -1
    (tmp_path / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="positive"):
        load(tmp_path)


@pytest.mark.parametrize(
    "setting",
    [
        {"horizon": 3},
        {"members": ("prophet",)},
        {"urgent_days": 20},
        {"subdivision": "VIC"},
        {"rules": {"x": {"unit": "1", "critical": 2.0}}},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(setting):
    with pytest.raises(ValueError, match=r"."):
        CapacityConfig.model_validate(setting)
