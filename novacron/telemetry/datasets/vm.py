"""VM and fleet load: Bitbrains VMs, three published data centres, benchmark scores of Azure VMs.

Sources: Shen, van Beek, Iosup, CCGrid 2015 (GWA-T-12 Bitbrains); DataCenter-Traces-Datasets
(Azure 2019, Google 2019, Alibaba 2018); AzurePublicDataset, VM noise (CC-BY-4.0).
"""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from novacron.contracts.telemetry import NODE_SCHEMA
from novacron.telemetry.datasets.adapted import Adapted, Sieve, own_table, sample_table
from novacron.telemetry.datasets.files import read_native
from novacron.telemetry.datasets.paths import NOMINAL_START

BITBRAINS_VM_FILE: Final = "vm_bitbrains/vm_5min.parquet"
BITBRAINS_FLEET_FILE: Final = "vm_bitbrains/fleet_5min.parquet"
BITBRAINS_CAPACITY_FILE: Final = "vm_bitbrains/vm_summary_julaug.parquet"
NOISE_FILE: Final = "vm_azure_noise/long_lived.parquet"
CENTRES_FOLDER: Final = "vm_dc_aggregate"

CENTRE_STEP_S: Final = {
    "alibaba2018_300s": 300,
    "alibaba2018_30s": 30,
    "azure_v2_300s": 300,
    "google2019_300s": 300,
}

EARLIEST_CLOCK: Final = pd.Timestamp("2000-01-01", tz="UTC")
"""Bitbrains publishes seconds under the heading `Timestamp [ms]`: read as ms they fall in 1970."""

FULL_FLEET_SHARE: Final = 0.5
"""A fleet sum over fewer of its VMs than this is an outage of the collector, not of the load."""

_BENCHMARK_UNITS: Final = {
    "IOPS": "io_per_s",
    "MiB_s": "mib_per_s",
    "MiB_sec": "mib_per_s",
    "TPS": "transactions_per_s",
    "Requests Per Second": "requests_per_s",
    "Events Per Second": "events_per_s",
}


def _sift_bitbrains(data_dir: Path) -> Sieve:
    rates = ["disk_r_kbs", "disk_w_kbs", "net_rx_kbs", "net_tx_kbs"]
    frame = read_native(data_dir, BITBRAINS_VM_FILE, ["vm", "ts", "cpu_pct", "mem_mb", *rates])
    sieve = Sieve(frame.assign(ts=frame.ts.dt.tz_localize("UTC")))
    sieve.require_finite("ts", "cpu_pct")
    sieve.reject(sieve.kept.ts < EARLIEST_CLOCK, "clock read in the wrong unit")
    sieve.require_unique("vm", "ts")
    sieve.require_between("cpu_pct", 0, 100 * (NODE_SCHEMA["cpu_ratio"].high or 1))
    return sieve


def adapt_bitbrains(data_dir: Path) -> Adapted:
    """Return the VMs as node samples: `bitbrains-<vm>`, every 5 minutes.

    CPU is a share of what is provisioned and may exceed 1. Memory is what the guest touched
    (active), over what is provisioned; where a VM's memory grew during the two months, the summed
    up capacity can be too small: such ratios above 1 are masked.
    """
    sieve = _sift_bitbrains(data_dir)
    capacity = read_native(data_dir, BITBRAINS_CAPACITY_FILE, ["vm", "mem_cap_mb"])
    cap_mb = sieve.kept.vm.map(capacity.set_index("vm").mem_cap_mb)
    sieve.kept = sieve.kept.assign(mem_ratio=sieve.kept.mem_mb.astype(np.float64) / cap_mb)
    sieve.mask("mem_ratio", sieve.kept.mem_ratio.isna(), "memory capacity of the VM is unknown")
    sieve.mask("mem_ratio", sieve.kept.mem_ratio > 1, "active memory above the VM's capacity")
    kept = sieve.kept
    columns = {
        "ts": kept.ts,
        "node_id": "bitbrains-" + kept.vm.astype(str).str.zfill(3),
        "cpu_ratio": kept.cpu_pct.astype(np.float64) / 100,
        "mem_ratio": kept.mem_ratio,
    }
    return sieve.finish(sample_table(NODE_SCHEMA, columns))


def adapt_bitbrains_io(data_dir: Path) -> Adapted:
    """Return disk and network rates of the VMs, in kB/s; no line rate is known, so no ratio."""
    sieve = _sift_bitbrains(data_dir)
    kept = sieve.kept
    columns = {
        "ts": kept.ts,
        "node_id": "bitbrains-" + kept.vm.astype(str).str.zfill(3),
        "disk_read_kb_s": kept.disk_r_kbs,
        "disk_write_kb_s": kept.disk_w_kbs,
        "net_rx_kb_s": kept.net_rx_kbs,
        "net_tx_kb_s": kept.net_tx_kbs,
    }
    return sieve.finish(own_table(columns))


def adapt_bitbrains_fleet(data_dir: Path) -> Adapted:
    """Return the fleet per reporting VM: the number of VMs grows from 425 to 500 over the months.

    Slots in which fewer than half as many VMs reported as in the fullest slot are rejected.
    """
    sums = ["cpu_mhz", "mem_kb", "disk_r", "disk_w", "net_rx", "net_tx"]
    frame = read_native(data_dir, BITBRAINS_FLEET_FILE, ["ts", *sums, "n_vm"])
    sieve = Sieve(frame.assign(ts=frame.ts.dt.tz_localize("UTC")))
    sieve.require_finite("ts", "cpu_mhz")
    sieve.reject(sieve.kept.ts < EARLIEST_CLOCK, "clock read in the wrong unit")
    sieve.require_unique("ts")
    enough = FULL_FLEET_SHARE * frame.n_vm.max()
    sieve.reject(sieve.kept.n_vm < enough, "fewer than half of the VMs reported")
    kept = sieve.kept
    mean = kept[sums].astype(np.float64).div(kept.n_vm, axis=0)
    columns = {
        "ts": kept.ts,
        "reporting_vms": kept.n_vm.astype(np.int64),
        "cpu_mhz_per_vm": mean.cpu_mhz,
        "active_mem_mb_per_vm": mean.mem_kb / 1024,
        "disk_read_kb_s_per_vm": mean.disk_r,
        "disk_write_kb_s_per_vm": mean.disk_w,
        "net_rx_kb_s_per_vm": mean.net_rx,
        "net_tx_kb_s_per_vm": mean.net_tx,
    }
    return sieve.finish(own_table(columns))


def adapt_bitbrains_capacity(data_dir: Path) -> Adapted:
    """Return what each VM was given and used in July and August 2013 (not later: it may change)."""
    native = ["vm", "slots", "cores", "cpu_cap_mhz", "mem_cap_mb", "cpu_mean", "cpu_p95"]
    frame = read_native(data_dir, BITBRAINS_CAPACITY_FILE, native)
    sieve = Sieve(frame)
    sieve.require_finite("cores", "cpu_cap_mhz", "mem_cap_mb")
    sieve.require_unique("vm")
    kept = sieve.kept
    columns = {
        "node_id": "bitbrains-" + kept.vm.astype(str).str.zfill(3),
        "samples": kept.slots.astype(np.int64),
        "cores": kept.cores,
        "cpu_capacity_mhz": kept.cpu_cap_mhz,
        "mem_capacity_mb": kept.mem_cap_mb,
        "cpu_mean_ratio": kept.cpu_mean.astype(np.float64) / 100,
        "cpu_p95_ratio": kept.cpu_p95.astype(np.float64) / 100,
    }
    return sieve.finish(own_table(columns))


def _sift_centre(data_dir: Path, centre: str, columns: list[str]) -> Sieve:
    frame = read_native(data_dir, f"{CENTRES_FOLDER}/{centre}.parquet", ["step", *columns])
    sieve = Sieve(frame.astype(dict.fromkeys(columns, np.float64)))
    sieve.require_finite(*columns)
    sieve.require_unique("step")
    return sieve


def _centre_clock(sieve: Sieve, centre: str) -> "pd.Series[pd.Timestamp]":
    # The publishers give step numbers only: the start is nominal.
    seconds = sieve.kept.step.astype(np.int64) * CENTRE_STEP_S[centre]
    return pd.to_timedelta(seconds, unit="s") + NOMINAL_START


def adapt_alibaba_centre(data_dir: Path, centre: str) -> Adapted:
    """Return `alibaba2018_300s` or `alibaba2018_30s` as one node: means over the whole fleet.

    The network columns are normalised to an unknown rate: see `adapt_alibaba_network`.
    """
    percents = ["cpu_util_percent", "mem_util_percent", "disk_io_percent"]
    sieve = _sift_centre(data_dir, centre, percents)
    for column in percents:
        sieve.require_between(column, 0, 100)
    columns = {
        "ts": _centre_clock(sieve, centre),
        "node_id": [centre] * len(sieve.kept),
        "cpu_ratio": sieve.kept.cpu_util_percent / 100,
        "mem_ratio": sieve.kept.mem_util_percent / 100,
        "disk_ratio": sieve.kept.disk_io_percent / 100,
    }
    return sieve.finish(sample_table(NODE_SCHEMA, columns))


def adapt_alibaba_network(data_dir: Path, centre: str) -> Adapted:
    """Return the network columns of an Alibaba centre, 0..100 of a rate nobody published."""
    sieve = _sift_centre(data_dir, centre, ["net_in", "net_out"])
    columns = {
        "ts": _centre_clock(sieve, centre),
        "net_in_of_100": sieve.kept.net_in,
        "net_out_of_100": sieve.kept.net_out,
    }
    return sieve.finish(own_table(columns))


def adapt_google_centre(data_dir: Path) -> Adapted:
    """Return Google 2019 as one node: means over the whole fleet, already ratios."""
    sieve = _sift_centre(data_dir, "google2019_300s", ["avg_cpu", "avg_mem"])
    for column in ("avg_cpu", "avg_mem"):
        sieve.require_between(column, 0, 1)
    columns = {
        "ts": _centre_clock(sieve, "google2019_300s"),
        "node_id": ["google2019_300s"] * len(sieve.kept),
        "cpu_ratio": sieve.kept.avg_cpu,
        "mem_ratio": sieve.kept.avg_mem,
    }
    return sieve.finish(sample_table(NODE_SCHEMA, columns))


def adapt_azure_centre(data_dir: Path) -> Adapted:
    """Return Azure 2019 as sums over its VMs: not percent, and no capacity to divide them by."""
    sieve = _sift_centre(data_dir, "azure_v2_300s", ["cpu_usage", "assigned_mem"])
    columns = {
        "ts": _centre_clock(sieve, "azure_v2_300s"),
        "cpu_usage_sum": sieve.kept.cpu_usage,
        "assigned_mem_sum": sieve.kept.assigned_mem,
    }
    return sieve.finish(own_table(columns))


def adapt_azure_noise(data_dir: Path) -> Adapted:
    """Return benchmark scores of long-lived VMs, in the unit named beside each.

    A VM number is unique only within test, region and size, so `series_id` joins all four.
    """
    native = ["test", "unit", "region", "sku", "vm", "ts", "value"]
    frame = read_native(data_dir, NOISE_FILE, native)
    text = frame[["test", "unit", "region", "sku"]].astype(str)
    series = text.test + "|" + text.region + "|" + text.sku + "|" + frame.vm.astype(str)
    sieve = Sieve(frame.assign(series_id=series, unit=text.unit.map(_BENCHMARK_UNITS)))
    sieve.reject(sieve.kept.unit.isna(), "unknown unit of the score")
    sieve.require_finite("value", "ts")
    sieve.reject(sieve.kept.value <= 0, "score is not positive")
    sieve.require_unique("series_id", "ts")
    kept = sieve.kept
    columns = {
        "series_id": kept.series_id,
        "test": text.test.loc[kept.index],
        "region": text.region.loc[kept.index],
        "vm_size": text.sku.loc[kept.index],
        "ts": kept.ts.dt.tz_localize("UTC"),
        "score": kept.value,
        "score_unit": kept.unit,
    }
    return sieve.finish(own_table(columns))
