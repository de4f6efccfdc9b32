import math

import numpy as np
import pandas as pd
import pytest

from novacron.errors import OutOfRangeError
from novacron.telemetry.datasets import capacity, compression, wan_priors

HOURS = pd.date_range("2012-01-01", periods=4, freq="h")


def test_energy_demand_keeps_its_odd_unit_in_its_name(publish):
    folder = publish(
        capacity.ENERGY_FILE,
        {"ts": HOURS, "Demand": [4300.0, np.nan, -1.0, 4000.0], "Temperature": [20.0] * 4},
    )

    result = capacity.adapt_energy(folder)

    assert result.table["demand_mwh_per_half_hour"].to_pylist() == [4300.0, 4000.0]
    assert result.rejected_counts == {
        "Demand is not a finite number": 1,
        "demand is not positive": 1,
    }


def views(publish, counts, days=(1, 2, 5)):
    ts = [pd.Timestamp(2015, 1, day) for day in days]
    return publish(capacity.WIKIPEDIA_FILE, {"page": ["p"] * 3, "ts": ts, "views": counts})


def test_days_nobody_published_are_null_rows_not_zeros(publish):
    result = capacity.adapt_wikipedia(views(publish, [100.0, 200.0, 0.0]))

    assert result.table["views"].to_pylist() == [100.0, 200.0, None, None, 0.0]
    assert result.masked == {"day not published": 2}


def test_page_views_still_in_logarithms_are_refused(publish):
    with pytest.raises(OutOfRangeError, match="exp"):
        capacity.adapt_wikipedia(views(publish, [math.log(100), math.log(200), math.log(300)]))


def test_a_bin_without_requests_has_no_work_and_no_mean_time(publish):
    folder = publish(
        capacity.REQUESTS_FILE,
        {
            "ts": pd.date_range("2024-11-15", periods=4, freq="10min"),
            "requests": np.array([1, 0, 2, 3], np.int32),
            "exec_mean_s": [32.0, np.nan, 10.0, np.nan],
            "exec_sum_s": [32.0, np.nan, 20.0, np.nan],
        },
    )

    result = capacity.adapt_requests(folder)

    assert result.table["gpu_work_s"].to_pylist() == [32.0, 0.0, 20.0]
    assert result.table["exec_mean_s"].to_pylist() == [32.0, None, 10.0]
    assert result.rejected_counts == {"requests without their execution time": 1}


def curve(**changes):
    columns = {
        "corpus": ["random", "memory"],
        "codec": ["lz4", "xor+zstd"],
        "level": [0, 3],
        "chunk_kib": [64, 64],
        "bytes_in": [1000, 1000],
        "bytes_out": [1001, 100],
        "ratio": [1000 / 1001, 10.0],
        "ratio_p10": [0.99, 8.0],
        "ratio_p50": [0.99, 10.0],
        "ratio_p90": [0.99, 12.0],
        "comp_mb_s": [5000.0, 300.0],
        "decomp_mb_s": [9000.0, 900.0],
        "delta_dt_s": [np.nan, 5.0],
        "dirty_frac": [np.nan, 0.3],
        "changed_byte_frac": [np.nan, 0.15],
    }
    return columns | changes


def test_data_that_grows_under_compression_keeps_its_ratio_below_one(publish):
    table = compression.adapt_curves(publish(compression.CURVES_FILE, curve())).table

    assert table["ratio_x"].to_pylist() == pytest.approx([1000 / 1001, 10.0])
    assert table["dirty_page_ratio"].to_pylist() == [None, 0.3]


def test_a_ratio_that_its_bytes_contradict_is_set_aside(publish):
    folder = publish(compression.CURVES_FILE, curve(ratio=[1.0, 20.0]))

    result = compression.adapt_curves(folder)

    assert result.rejected_counts == {"ratio contradicts its byte counts": 1}


def regions(publish, **changes):
    n = 4
    columns = {
        "run_time_utc": pd.to_datetime(["2022-01-24 21:42", "2022-01-29 22:19"] * 2),
        "src_region": ["aws:a", "aws:a", "gcp:b", "aws:a"],
        "src_tier": ["PREMIUM", "PREMIUM", "STANDARD", None],
        "dst_region": ["gcp:b", "gcp:b", "aws:a", "gcp:b"],
        "dst_tier": ["STANDARD", "STANDARD", "PREMIUM", None],
        "connections": np.array([64] * n, np.int16),
        "runtime_s": np.array([5] * n, np.int16),
        "sent_mbps": [5000.0, 6000.0, 3000.0, 900.0],
        "recv_mbps": [4000.0, 5000.0, 2000.0, 800.0],
    }
    publish(
        wan_priors.LATENCY_FILE,
        {
            "snapshot": ["one", "two", "one"],
            "src_region": ["aws:a", "aws:a", "aws:a"],
            "src_tier": ["PREMIUM"] * 3,
            "dst_region": ["gcp:b", "gcp:b", "gcp:c"],
            "dst_tier": ["STANDARD"] * 3,
            "min_rtt_ms": [99.0, 119.0, 9.0],
            "avg_rtt_ms": [100.0, 120.0, 10.0],
            "max_rtt_ms": [101.0, 121.0, 11.0],
            "mdev_rtt_ms": [np.nan, 0.3, 0.3],
        },
    )
    return publish(wan_priors.THROUGHPUT_FILE, columns | changes)


def test_a_region_test_is_a_link_sample_of_what_was_received_over_64_streams(publish):
    table = wan_priors.adapt_region_throughput(regions(publish)).table

    assert table["link_id"][0].as_py() == "aws:a/PREMIUM>gcp:b/STANDARD"
    assert table["bandwidth_mbps"][0].as_py() == 4000.0
    assert table["streams"][0].as_py() == 64


def test_the_run_without_tiers_names_bare_regions(publish):
    table = wan_priors.adapt_region_throughput(regions(publish)).table

    assert table["link_id"][3].as_py() == "aws:a>gcp:b"


def test_a_pair_tested_twice_in_one_run_is_one_sample_and_two_repeats(publish):
    folder = regions(publish, run_time_utc=pd.to_datetime(["2022-01-24 21:42"] * 4))

    samples = wan_priors.adapt_region_throughput(folder)
    pairs = wan_priors.adapt_region_pairs(folder).table

    assert samples.rejected_counts == {"second test of a pair in one run": 1}
    assert pairs["throughput_tests"].to_pylist() == [2]


def test_a_region_pair_joins_both_medians_and_the_spread_of_repeats(publish):
    result = wan_priors.adapt_region_pairs(regions(publish))

    (pair,) = result.table.to_pylist()
    assert pair["rtt_median_ms"] == 110.0
    assert pair["throughput_median_mbps"] == 4500.0
    assert pair["throughput_cv_ratio"] == pytest.approx(math.sqrt(5e5) / 4500)
    assert result.rejected_counts == {
        "pair without a throughput test": 1,
        "pair without a round trip": 2,
    }


def test_more_received_than_sent_is_set_aside(publish):
    folder = regions(publish, recv_mbps=[6000.0, 5000.0, 2000.0, 800.0])

    result = wan_priors.adapt_region_throughput(folder)

    assert result.rejected_counts == {"more received than sent": 1}


def test_a_missing_deviation_stays_missing(publish):
    table = wan_priors.adapt_region_latency(regions(publish)).table

    assert table["rtt_mdev_ms"].to_pylist()[0] is None
