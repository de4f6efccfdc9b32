"""The quick form of the capacity benchmark, and the measures it rests on."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny_capacity import tiny_capacity

from benchmarks import capacity
from benchmarks.capacity_baselines import auto_theta, seasonal_naive, weekday_mean
from benchmarks.capacity_forecasts import OWN, make_records
from benchmarks.capacity_measures import MIX, all_cases, scores_of
from benchmarks.results_format import BenchmarkResult
from novacron.models.capacity.history import to_history
from novacron.models.capacity.scoring import mase_by_group, mase_ratio


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    model = tiny_capacity("weekday_mean", "boosted", origins=1, paths=200)
    folder = tmp_path_factory.mktemp("runs")
    return capacity.run(capacity.generated_demands(), model, folder, baselines=False)


def test_the_quick_form_measures_every_series_from_every_origin(measured, tmp_path):
    path = capacity.write(measured, command="quick", data="generated:7", directory=tmp_path)

    result = BenchmarkResult.model_validate(json.loads(path.read_text()))
    found = {(one.name, one.set): one for one in result.metrics}
    assert len(measured.records) == 6
    assert 0.5 < found["mase_ratio_to_weekday_mean", MIX].value < 1.5
    assert found["coverage_80", MIX].n == 3
    assert found["crossing_brier_ratio_to_past_share", "days"].value >= 0
    assert found["cpu_seconds_per_series", "two_years_of_days"].value > 0
    assert "data:image/png" in (tmp_path / "capacity.html").read_text()
    assert (tmp_path / "capacity.md").exists()


def test_the_ratio_of_a_forecaster_to_itself_is_one(measured):
    plain = scores_of(measured.records, "weekday_mean")

    ratio = mase_ratio(plain, plain, np.random.default_rng(0))

    assert (ratio.value, ratio.lo, ratio.hi, ratio.n) == (1.0, 1.0, 1.0, 3)


def test_mase_is_the_error_over_the_mean_change_from_week_to_week(measured):
    one = measured.records[0]
    name = one.demand.group
    week = np.abs(one.history.value_T[7:] - one.history.value_T[:-7]).mean()

    alone = mase_by_group(scores_of([one], OWN))[name]

    assert alone == pytest.approx(np.abs(one.said[OWN] - one.actual_H).mean() / week)


def test_thresholds_of_crossings_know_nothing_of_what_follows(measured):
    one = measured.records[0]
    other = type(one)(
        demand=one.demand, history=one.history, actual_H=one.actual_H * 3, said=one.said,
        intervals=one.intervals, outlook=one.outlook,
    )  # fmt: skip

    before, after = (all_cases([each], 1) for each in (one, other))

    assert [case.probability for case in before] == [case.probability for case in after]
    assert all(case.actual_days == 1.0 for case in after)


def test_a_second_run_asks_no_member_again(measured, tmp_path, monkeypatch):
    model = tiny_capacity("weekday_mean", "boosted", origins=1, paths=200)
    demands = capacity.generated_demands(2)
    first = list(make_records(demands, model, tmp_path, baselines=False))

    def never(*_):
        raise AssertionError("asked again")

    monkeypatch.setattr("novacron.models.capacity.members.phase_mean", never)
    second = list(make_records(demands, model, tmp_path, baselines=False))

    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.said[OWN], two.said[OWN])


def test_baselines_continue_a_clean_week():
    index = pd.date_range("2024-01-01", periods=140, freq="D", tz="UTC")
    value = np.tile([5.0, 6.0, 7.0, 8.0, 7.0, 3.0, 2.0], 20)
    noise = 0.02 * np.random.default_rng(0).standard_normal(140)
    history = to_history(pd.Series(value + noise, index=index))

    for ask in (weekday_mean, seasonal_naive, auto_theta):
        np.testing.assert_allclose(ask(history, 14), value[:14], atol=0.1)
