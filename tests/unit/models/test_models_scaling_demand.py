import numpy as np
import pandas as pd
import pytest

from novacron.errors import OutOfRangeError, SchemaError
from novacron.models.scaling.demand import to_demand
from novacron.models.scaling.frames import resource_series


def clocked(values, freq="5min"):
    return pd.Series(values, index=pd.date_range("2025-03-03", periods=len(values), freq=freq))


def test_finer_samples_are_joined_by_their_maximum():
    demand = to_demand(np.arange(60.0), 60)

    assert demand.step_s == 300
    assert demand.joined == 5
    assert demand.value_T.tolist() == [4 + 5 * k for k in range(12)]


def test_short_gaps_are_held_and_counted_and_long_ones_stay_missing():
    values = np.full(60, 3.0)
    values[10:14] = np.nan
    values[30:45] = np.nan

    demand = to_demand(values, 300)

    assert demand.filled == 4 + 6
    assert np.isnan(demand.value_T[36:45]).all()


def test_rows_that_are_not_there_count_as_missing():
    series = clocked(np.arange(50.0)).drop(pd.Timestamp("2025-03-03 01:00"))

    demand = to_demand(series)

    assert len(demand) == 50
    assert demand.filled == 1


def test_the_time_of_day_of_the_first_sample_is_known_from_the_clock():
    demand = to_demand(clocked(np.ones(300)))

    assert demand.start_s == 0
    assert demand.part(24, 300).start_s == 2 * 3600


@pytest.mark.parametrize("order", [[0, 1, 1, 2], [0, 2, 1, 3]])
def test_a_clock_that_repeats_or_runs_backwards_is_refused(order):
    index = pd.Timestamp("2025-01-01") + pd.to_timedelta(np.array(order) * 300, unit="s")

    with pytest.raises(SchemaError, match="repeat or run backwards"):
        to_demand(pd.Series(np.ones(4), index=index))


def test_an_irregular_clock_is_refused_with_the_remedy():
    rng = np.random.default_rng(0)
    index = pd.Timestamp("2025-01-01") + pd.to_timedelta(
        np.cumsum(rng.uniform(100, 700, 200)), unit="s"
    )

    with pytest.raises(OutOfRangeError, match="resample"):
        to_demand(pd.Series(np.ones(200), index=index))


def test_percent_in_a_ratio_column_is_refused_with_the_remedy():
    with pytest.raises(OutOfRangeError, match="divide by 100"):
        to_demand(np.full(20, 35.0), 300, name="cpu_ratio")


@pytest.mark.parametrize(
    ("values", "step_s", "error"),
    [
        ([1.0] * 11, 300, SchemaError),
        ([np.nan] * 40, 300, SchemaError),
        ([1.0] * 40 + [np.nan] * 7, 300, SchemaError),
        ([1.0] * 20 + [-1.0], 300, OutOfRangeError),
        ([1.0] * 20 + [np.inf], 300, OutOfRangeError),
        ([1.0] * 20, 7200, OutOfRangeError),
        ([1.0] * 20, 7 * 61, OutOfRangeError),
        ([1.0] * 20, 0, OutOfRangeError),
        (["a"] * 20, 300, SchemaError),
        ([[1.0, 2.0]] * 20, 300, SchemaError),
        ([1.0] * 20, None, SchemaError),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_typed_error(values, step_s, error):
    with pytest.raises(error):
        to_demand(values, step_s)


def test_a_frame_gives_its_columns_on_its_own_clock():
    times = pd.date_range("2025-03-03", periods=30, freq="5min")
    frame = pd.DataFrame({"timestamp": times, "cpu_ratio": 0.5, "net_mbps": 80.0, "vm_id": "a"})

    found = resource_series(frame)

    assert set(found) == {"cpu_ratio", "net_mbps"}
    assert to_demand(found["cpu_ratio"], name="cpu_ratio").step_s == 300


def test_the_documented_usage_columns_are_refused_because_their_unit_is_unclear():
    frame = pd.DataFrame({"cpu_usage": np.ones(20)})

    with pytest.raises(SchemaError, match="Rename it 'cpu_ratio'"):
        resource_series(frame)


def test_an_unknown_column_names_the_nearest():
    with pytest.raises(SchemaError, match="cpu_ratio"):
        resource_series(pd.DataFrame({"cpu_ratioo": np.ones(20)}))


def test_samples_of_several_workloads_are_refused():
    frame = pd.DataFrame({"vm_id": ["a", "b"] * 10, "cpu_ratio": np.ones(20)})

    with pytest.raises(SchemaError, match="one workload"):
        resource_series(frame)
