from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from novacron.telemetry.datasets.broadband import TELSTRA_FILE, adapt_telstra
from novacron.telemetry.datasets.cellular import (
    FIVE_G_FILE,
    LTE_FILE,
    RADIO_COLUMNS,
    adapt_five_g,
    adapt_lte,
)
from novacron.telemetry.datasets.throughput import load_traces


def slots(numbers, mbps, trace="drive.down"):
    return {"trace": [trace] * len(numbers), "slot": np.array(numbers, np.int32), "mbps": mbps}


def test_ten_slots_become_the_mean_of_one_second(publish):
    folder = publish(LTE_FILE, slots(range(20), [1.0] * 10 + [0.0, 4.0] * 5))

    (trace,) = load_traces(folder, "lte")

    assert trace.trace_id == "drive.down"
    assert trace.t_s.tolist() == [0.0, 1.0]
    assert trace.bandwidth_mbps.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("numbers", [list(range(13)), [*range(10), 11, 12, 13]])
def test_a_second_with_missing_slots_is_set_aside(publish, numbers):
    folder = publish(LTE_FILE, slots(numbers, [1.0] * len(numbers)))

    result = adapt_lte(folder)

    assert result.table.num_rows == 1
    assert result.rejected_counts == {"second with fewer than ten slots": 3}


def test_a_repeated_slot_counts_once(publish):
    folder = publish(LTE_FILE, slots([*range(10), 9], [1.0] * 10 + [99.0]))

    result = adapt_lte(folder)

    assert result.table["bandwidth_mbps"].to_pylist() == [1.0]
    assert sum(result.rejected_counts.values()) == 1


def phone(**changes):
    n = 4
    columns = {
        "trace": ["s"] * n,
        "ts": pd.date_range("2019-12-16 07:00:00", periods=n, freq="s"),
        "dl_kbps": np.array([1000, 2500, 0, 500], np.float32),
        "ul_kbps": np.array([10] * n, np.float32),
        "ping_avg_ms": [np.nan, 70.0, np.nan, np.nan],
        "ping_std_ms": [np.nan, 3.0, np.nan, np.nan],
        "ping_loss_pct": [np.nan, 20.0, np.nan, 100.0],
        "mode": ["5G"] * n,
        "app": ["Download"] * n,
        "mobility": ["Driving"] * n,
        "state": ["D"] * n,
    }
    columns |= {name: np.full(n, -5.0, np.float32) for name in RADIO_COLUMNS}
    return columns | changes


def test_kilobits_percent_and_ping_become_the_units_of_a_trace(publish):
    folder = publish(FIVE_G_FILE, phone())

    (trace,) = load_traces(folder, "5g")

    assert trace.bandwidth_mbps.tolist() == [1.0, 2.5, 0.0, 0.5]
    assert trace.rtt_ms[1] == 70.0
    assert trace.jitter_ms[1] == 3.0
    assert trace.loss_ratio[1] == pytest.approx(0.2)
    assert trace.extras["uplink_mbps"].tolist() == pytest.approx([0.01] * 4)


def test_a_second_without_ping_has_no_round_trip_rather_than_a_guessed_one(publish):
    folder = publish(FIVE_G_FILE, phone())

    (trace,) = load_traces(folder, "5g")

    assert np.isnan(trace.rtt_ms).tolist() == [True, False, True, True]


def test_when_every_ping_is_lost_the_loss_is_known_and_the_round_trip_is_not(publish):
    folder = publish(FIVE_G_FILE, phone())

    (trace,) = load_traces(folder, "5g")

    assert trace.loss_ratio[3] == 1.0
    assert np.isnan(trace.rtt_ms[3])


def test_traces_of_video_players_are_set_aside(publish):
    folder = publish(FIVE_G_FILE, phone(app=["Download", "Netflix", "Download", "Netflix"]))

    result = adapt_five_g(folder)

    assert result.table.num_rows == 2
    assert list(result.rejected_counts.values()) == [2]
    assert "player" in next(iter(result.rejected_counts))


def test_radio_sentinels_are_masked_and_counted(publish):
    folder = publish(
        FIVE_G_FILE,
        phone(rsrp_dbm=[-90.0, -200.0, -153.5, -140.0], rsrq_db=[-9.0, 7.0, -9.0, -9.0]),
    )

    (trace,) = load_traces(folder, "5g")
    result = adapt_five_g(folder)

    assert np.isnan(trace.extras["rsrp_dbm"]).tolist() == [False, True, True, False]
    assert result.masked == {"rsrp_dbm below -140": 2, "rsrq_db above 2.5": 1}


def test_a_summer_clock_in_ireland_is_an_hour_ahead_of_utc(publish):
    winter = publish(FIVE_G_FILE, phone())
    winter_start = load_traces(winter, "5g")[0].start
    summer = publish(
        FIVE_G_FILE, phone(ts=pd.date_range("2019-07-16 07:00:00", periods=4, freq="s"))
    )

    summer_start = load_traces(summer, "5g")[0].start

    assert winter_start == datetime(2019, 12, 16, 7, tzinfo=UTC)
    assert summer_start == datetime(2019, 7, 16, 6, tzinfo=UTC)


def test_two_rows_of_one_second_keep_the_first(publish):
    ts = pd.date_range("2019-12-16 07:00:00", periods=4, freq="s").to_list()
    ts[1] = ts[0]
    folder = publish(FIVE_G_FILE, phone(ts=ts))

    result = adapt_five_g(folder)

    assert result.rejected_counts == {"duplicate time within the trace": 1}


def speed_tests(**changes):
    n = 4
    columns = {
        "ts_aest": pd.date_range("2018-03-01 09:00", periods=n, freq="30min"),
        "server": ["A", "A", "B", "B"],
        "distance_km": np.array([5.3, 5.3, 0.4, 0.4], np.float32),
        "ping_ms": np.array([15, 16, 17, 18], np.float32),
        "down_mbps": np.array([33, 34, 35, 36], np.float32),
        "up_mbps": np.array([1, 1, 1, 1], np.float32),
        "valid": [True] * n,
    }
    return columns | changes


def test_queensland_time_is_ten_hours_ahead_of_utc(publish):
    folder = publish(TELSTRA_FILE, speed_tests())

    (trace,) = load_traces(folder, "telstra")

    assert trace.start == datetime(2018, 2, 28, 23, tzinfo=UTC)
    assert trace.step_s == 1800


def test_a_failed_speed_test_is_set_aside_with_its_reason(publish):
    folder = publish(
        TELSTRA_FILE,
        speed_tests(
            ping_ms=[1.8e6, 16, 17, 18], up_mbps=[1, 0, 1, 1], valid=[False, False, False, True]
        ),
    )

    result = adapt_telstra(folder)

    assert result.rejected_counts == {
        "ping sentinel: no answer": 1,
        "a direction moved nothing": 1,
        "published as not valid": 1,
    }
    assert result.table["bandwidth_mbps"].to_pylist() == [36.0]


def test_a_gap_of_two_weeks_stays_a_gap(publish):
    ts = pd.to_datetime(
        ["2018-03-01 09:00", "2018-03-01 09:30", "2018-03-16 00:00", "2018-03-16 00:30"]
    )
    folder = publish(TELSTRA_FILE, speed_tests(ts_aest=ts))

    (trace,) = load_traces(folder, "telstra")

    assert len(trace) == 4
    assert np.diff(trace.t_s).max() == 14.604166666666666 * 86400


def test_the_changing_test_server_is_the_far_end_of_the_link(publish):
    folder = publish(TELSTRA_FILE, speed_tests())

    table = adapt_telstra(folder).table

    assert table["dst"].to_pylist() == ["A", "A", "B", "B"]
