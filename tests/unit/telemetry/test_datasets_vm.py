import numpy as np
import pandas as pd
import pytest

from novacron.contracts.telemetry import NODE_SCHEMA
from novacron.telemetry.datasets import vm

JULY = pd.date_range("2013-07-01", periods=4, freq="5min")


def publish_bitbrains(publish, **changes):
    n = 4
    columns = {"vm": np.array([7] * n, np.int16), "ts": JULY, "cpu_pct": [1.0, 50.0, 154.0, 0.0]}
    columns |= {"mem_mb": [100.0, 200.0, 400.0, 0.0]}
    columns |= {
        name: np.array([1.5] * n, np.float32)
        for name in ("disk_r_kbs", "disk_w_kbs", "net_rx_kbs", "net_tx_kbs")
    }
    publish(
        vm.BITBRAINS_CAPACITY_FILE,
        {
            "vm": [7, 8],
            "slots": [4, 4],
            "cores": [1.0, 2.0],
            "cpu_cap_mhz": [2600.0, 5200.0],
            "mem_cap_mb": [400.0, 800.0],
            "cpu_mean": [50.0, 1.0],
            "cpu_p95": [105.0, 2.0],
        },
    )
    return publish(vm.BITBRAINS_VM_FILE, columns | changes)


def test_bitbrains_percent_becomes_a_ratio_that_may_exceed_one(publish):
    folder = publish_bitbrains(publish)

    table = vm.adapt_bitbrains(folder).table

    assert tuple(table.schema.names) == NODE_SCHEMA.names
    assert table["cpu_ratio"].to_pylist() == pytest.approx([0.01, 0.5, 1.54, 0.0])
    assert table["node_id"][0].as_py() == "bitbrains-007"


def test_bitbrains_active_memory_is_a_share_of_what_the_vm_was_given(publish):
    folder = publish_bitbrains(publish)

    table = vm.adapt_bitbrains(folder).table

    assert table["mem_ratio"].to_pylist() == [0.25, 0.5, 1.0, 0.0]


def test_bitbrains_memory_above_the_capacity_is_masked_and_the_row_kept(publish):
    folder = publish_bitbrains(publish, mem_mb=[100.0, 200.0, 401.0, 0.0])

    result = vm.adapt_bitbrains(folder)

    assert result.table["mem_ratio"].to_pylist() == [0.25, 0.5, None, 0.0]
    assert result.masked == {"active memory above the VM's capacity": 1}
    assert result.rejected_counts == {}


def test_bitbrains_vm_of_unknown_capacity_has_no_memory_ratio(publish):
    folder = publish_bitbrains(publish, vm=[7, 7, 9, 9])

    result = vm.adapt_bitbrains(folder)

    assert result.table["mem_ratio"].null_count == 2
    assert result.masked == {"memory capacity of the VM is unknown": 2}


def test_bitbrains_seconds_read_as_milliseconds_are_set_aside(publish):
    ts = pd.to_datetime([1372636800, 1372637100, 1372637400, 1372637700], unit="ms")
    folder = publish_bitbrains(publish, ts=ts)

    result = vm.adapt_bitbrains(folder)

    assert result.rejected_counts == {"clock read in the wrong unit": 4}


def test_bitbrains_duplicates_keep_the_first_row(publish):
    folder = publish_bitbrains(publish, ts=JULY[[0, 0, 1, 2]])

    result = vm.adapt_bitbrains(folder)

    assert result.rejected_counts == {"duplicate of an earlier row by vm and ts": 1}
    assert result.table["cpu_ratio"].to_pylist() == pytest.approx([0.01, 1.54, 0.0])


def test_bitbrains_day_between_the_months_stays_a_hole(publish):
    ts = pd.to_datetime(
        ["2013-07-30 21:50", "2013-07-30 21:55", "2013-07-31 22:00", "2013-07-31 22:05"]
    )
    folder = publish_bitbrains(publish, ts=ts)

    table = vm.adapt_bitbrains(folder).table

    assert table.num_rows == 4
    assert np.diff(table["ts"].to_numpy()).max() > np.timedelta64(24, "h")


def test_bitbrains_rates_carry_their_unit_in_the_name(publish):
    folder = publish_bitbrains(publish)

    table = vm.adapt_bitbrains_io(folder).table

    assert table["disk_read_kb_s"].to_pylist() == [1.5] * 4


def test_bitbrains_capacity_turns_percent_into_ratios(publish):
    folder = publish_bitbrains(publish)

    table = vm.adapt_bitbrains_capacity(folder).table

    assert table["cpu_p95_ratio"].to_pylist() == pytest.approx([1.05, 0.02])


def test_bitbrains_fleet_is_divided_by_the_vms_that_reported(publish):
    sums = {name: [400.0, 500.0, 3.0, 500.0] for name in ("cpu_mhz", "mem_kb", "disk_r", "disk_w")}
    sums |= {name: [100.0, 100.0, 1.0, 100.0] for name in ("net_rx", "net_tx")}
    folder = publish(vm.BITBRAINS_FLEET_FILE, {"ts": JULY, "n_vm": [400, 500, 1, 500]} | sums)

    result = vm.adapt_bitbrains_fleet(folder)

    assert result.table["cpu_mhz_per_vm"].to_pylist() == [1.0, 1.0, 1.0]
    assert result.rejected_counts == {"fewer than half of the VMs reported": 1}


def test_alibaba_percent_becomes_ratios_and_its_steps_a_nominal_clock(publish):
    folder = publish(
        "vm_dc_aggregate/alibaba2018_30s.parquet",
        {
            "step": [0, 1, 1, 2],
            "cpu_util_percent": [16.0, 20.0, 20.0, 120.0],
            "mem_util_percent": [87.0] * 4,
            "disk_io_percent": [4.0] * 4,
            "net_in": [34.0] * 4,
            "net_out": [27.0] * 4,
        },
    )

    result = vm.adapt_alibaba_centre(folder, "alibaba2018_30s")
    network = vm.adapt_alibaba_network(folder, "alibaba2018_30s").table

    assert result.table["cpu_ratio"].to_pylist() == [0.16, 0.2]
    assert [t.second for t in result.table["ts"].to_pylist()] == [0, 30]
    assert set(result.rejected_counts.values()) == {1}
    assert len(result.rejected) == 2
    assert network["net_in_of_100"].to_pylist() == [34.0] * 3


def test_google_shares_are_taken_as_ratios(publish):
    folder = publish(
        "vm_dc_aggregate/google2019_300s.parquet",
        {"step": [0, 1], "avg_cpu": [0.44, 44.0], "avg_mem": [0.33, 0.33]},
    )

    result = vm.adapt_google_centre(folder)

    assert result.table["cpu_ratio"].to_pylist() == [0.44]
    assert result.rejected_counts == {"avg_cpu outside [0, 1]": 1}


def test_azure_sums_are_not_called_ratios(publish):
    folder = publish(
        "vm_dc_aggregate/azure_v2_300s.parquet",
        {"step": [0, 1], "cpu_usage": [6.1e6, 6.2e6], "assigned_mem": [2e6, 2e6]},
    )

    table = vm.adapt_azure_centre(folder).table

    assert table.schema.names == ["ts", "cpu_usage_sum", "assigned_mem_sum"]


def noise(**changes):
    columns = {
        "test": ["Redis", "Redis", "Redis", "Sysbench"],
        "unit": ["Requests Per Second", "Requests Per Second", "Requests Per Second", "MiB_sec"],
        "region": ["eastus", "westus2", "eastus", "eastus"],
        "sku": ["B8ms", "B8ms", "D8s_v5", "B8ms"],
        "vm": np.zeros(4, np.int16),
        "ts": pd.date_range("2023-09-01", periods=4, freq="h"),
        "value": np.array([1e6, 1.1e6, 2e6, 5e3], np.float32),
    }
    return columns | changes


def test_a_noise_vm_is_told_apart_by_test_region_and_size(publish):
    folder = publish(vm.NOISE_FILE, noise())

    table = vm.adapt_azure_noise(folder).table

    assert len(set(table["series_id"].to_pylist())) == 4
    assert table["score_unit"].to_pylist() == ["requests_per_s"] * 3 + ["mib_per_s"]


def test_a_noise_score_in_an_unknown_unit_is_set_aside(publish):
    folder = publish(vm.NOISE_FILE, noise(unit=["furlongs"] + ["TPS"] * 3))

    result = vm.adapt_azure_noise(folder)

    assert result.rejected_counts == {"unknown unit of the score": 1}
