"""Labelled series for anomaly detection: server series, the NAB corpus, faults in microservices.

Sources: Xu et al., WWW 2018 (Donut); Lavin and Ahmad, ICMLA 2015 (NAB, MIT); Yu et al.,
FSE 2023 (Nezha, MIT). All timestamps of Donut and NAB are as published: no zone is stated, so the
column is `local_ts` and carries none.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from novacron.contracts.telemetry import NODE_SCHEMA
from novacron.telemetry.datasets.adapted import Adapted, Sieve, own_table, sample_table
from novacron.telemetry.datasets.files import read_native

DONUT_FILE: Final = "anom_donut/series.parquet"
NAB_SERIES_FILE: Final = "anom_nab/series.parquet"
NAB_WINDOWS_FILE: Final = "anom_nab/windows.parquet"
NEZHA_METRICS_FILE: Final = "anom_nezha/metrics.parquet"
NEZHA_FAULTS_FILE: Final = "anom_nezha/faults.parquet"

FAULT_SPAN: Final = pd.Timedelta(minutes=5)
"""Injected CPU faults last about four minutes and metrics come every one: label that and one."""

LATENCY_CEILING_S: Final = 3600.0
"""The Nezha collector caps its latency quantiles at one hour: a value at the cap is not measured."""


def adapt_donut(data_dir: Path) -> Adapted:
    """Return the server series: `series`, `local_ts`, `value` (normalised), `is_anomaly`.

    Each series is normalised in its own way: values of two series do not compare.
    """
    frame = read_native(data_dir, DONUT_FILE, ["series", "ts", "value", "label"])
    sieve = Sieve(frame)
    sieve.require_finite("ts", "value")
    sieve.require_unique("series", "ts")
    sieve.reject(~sieve.kept.label.isin([0, 1]), "label is neither 0 nor 1")
    columns = {
        "series": sieve.kept.series,
        "local_ts": sieve.kept.ts,
        "value": sieve.kept.value,
        "is_anomaly": sieve.kept.label == 1,
    }
    return sieve.finish(own_table(columns))


def adapt_nab(data_dir: Path) -> Adapted:
    """Return the NAB series: `series`, `local_ts`, `value` (native unit), `in_window`.

    A window covers about a tenth of its series by design, and some are disputed: count detected
    windows and false alarms a day, not points. Repeated timestamps (a summer-time hour, a stuck
    collector) keep their first row.
    """
    frame = read_native(data_dir, NAB_SERIES_FILE, ["series", "ts", "value", "in_window"])
    sieve = Sieve(frame.assign(series=frame.series.astype(str)))
    sieve.require_finite("ts", "value")
    sieve.require_unique("series", "ts")
    latest = sieve.kept.groupby("series", sort=False).ts.cummax()
    sieve.reject(sieve.kept.ts < latest, "time runs backwards within the series")
    columns = {
        "series": sieve.kept.series,
        "local_ts": sieve.kept.ts,
        "value": sieve.kept.value,
        "in_window": sieve.kept.in_window,
    }
    return sieve.finish(own_table(columns))


def adapt_nab_windows(data_dir: Path) -> Adapted:
    """Return the labelled windows: `series`, `local_start`, `local_end`, both inclusive."""
    frame = read_native(data_dir, NAB_WINDOWS_FILE, ["series", "start", "end"])
    sieve = Sieve(frame)
    sieve.require_finite("start", "end")
    sieve.reject(sieve.kept.end < sieve.kept.start, "window ends before it starts")
    columns = {
        "series": sieve.kept.series.astype(str),
        "local_start": sieve.kept.start,
        "local_end": sieve.kept.end,
    }
    return sieve.finish(own_table(columns))


def adapt_nezha(data_dir: Path) -> Adapted:
    """Return the pods as node samples, one a minute.

    Latencies are those of the calls that a pod makes as a client: a delay behind one service shows
    in the pods that call it. The published success rate is 0 in every row, also of
    pods that serve: it was not measured, and `error_ratio` stays null.
    """
    latencies = ["PodClientLatencyP95", "PodClientLatencyP99"]
    shares = ["CpuUsageRate", "MemoryUsageRate"]
    frame = read_native(
        data_dir, NEZHA_METRICS_FILE, ["ts", "pod", *shares, *latencies, "PodWorkload"]
    )
    numbers = frame[[*shares, *latencies, "PodWorkload"]].astype(np.float64)
    ts = frame.ts.dt.tz_localize("UTC")
    sieve = Sieve(numbers.assign(ts=ts, pod=frame.pod.astype(str)))
    sieve.require_finite("ts", "CpuUsageRate")
    sieve.require_unique("pod", "ts")
    sieve.require_between("CpuUsageRate", 0, 100 * (NODE_SCHEMA["cpu_ratio"].high or 1))
    sieve.mask("MemoryUsageRate", sieve.kept.MemoryUsageRate > 100, "memory above 100 %")
    limit_s = (NODE_SCHEMA["latency_p99_ms"].high or 0) / 1e3
    for column in latencies:
        at_cap = sieve.kept[column] >= LATENCY_CEILING_S
        sieve.mask(column, at_cap, f"{column} at the collector's ceiling")
        sieve.mask(column, sieve.kept[column] > limit_s, f"{column} above {limit_s:g} s")
    kept = sieve.kept
    columns = {
        "ts": kept.ts,
        "node_id": kept.pod,
        "cpu_ratio": kept.CpuUsageRate / 100,
        "mem_ratio": kept.MemoryUsageRate / 100,
        "latency_p95_ms": kept.PodClientLatencyP95 * 1e3,
        "latency_p99_ms": kept.PodClientLatencyP99 * 1e3,
        "throughput_rps": kept.PodWorkload,
    }
    return sieve.finish(sample_table(NODE_SCHEMA, columns))


def adapt_nezha_pods(data_dir: Path) -> Adapted:
    """Return what the pods measured beyond the node table, unit in each name."""
    units = {
        "CpuUsage": "cpu_milli",
        "MemoryUsage": "mem_mib",
        "SyscallRead": "read_syscalls",
        "SyscallWrite": "write_syscalls",
        "NetworkReceiveBytes": "net_rx_bytes_s",
        "NetworkTransmitBytes": "net_tx_bytes_s",
        "PodServerLatencyP95": "server_latency_p95_s",
        "NodeCpuUsageRate": "host_cpu_pct",
        "NodeMemoryUsageRate": "host_mem_pct",
        "NodeNetworkReceiveBytes": "host_net_rx_bytes_s",
    }
    frame = read_native(data_dir, NEZHA_METRICS_FILE, ["ts", "pod", *units])
    sieve = Sieve(frame.assign(ts=frame.ts.dt.tz_localize("UTC"), pod=frame.pod.astype(str)))
    sieve.require_finite("ts")
    sieve.require_unique("pod", "ts")
    kept = sieve.kept.rename(columns=units)
    host = {
        "host_cpu_ratio": kept.pop("host_cpu_pct").astype(np.float64) / 100,
        "host_mem_ratio": kept.pop("host_mem_pct").astype(np.float64) / 100,
    }
    measured = {name: kept[name] for name in units.values() if name in kept}
    return sieve.finish(own_table({"ts": kept.ts, "node_id": kept.pod} | measured | host))


def adapt_nezha_faults(data_dir: Path) -> Adapted:
    """Return the injected faults: `node_id`, `kind`, `start`, `end`, `shows_in_metrics`.

    CPU and network faults show; `return` and `exception` change code and hardly do: their span is
    to be masked, neither counted as normal nor asked for. The start is the injection log's own
    time: the published epoch beside it is eight hours off on one day.
    """
    native = ["inject_time", "pod", "fault", "inject_ts", "resource_fault"]
    frame = read_native(data_dir, NEZHA_FAULTS_FILE, native)
    start = pd.to_datetime(frame.inject_time, errors="coerce", utc=True)
    sieve = Sieve(frame.assign(start=start.dt.as_unit("us")))
    sieve.require_finite("start")
    sieve.require_unique("pod", "start", "fault")
    off = sieve.kept.inject_ts.dt.tz_localize("UTC") != sieve.kept.start
    sieve.mask("inject_ts", off, "published epoch differs from the injection log")
    kept = sieve.kept
    columns = {
        "node_id": kept.pod,
        "kind": kept.fault,
        "start": kept.start,
        "end": kept.start + FAULT_SPAN,
        "shows_in_metrics": kept.resource_fault,
    }
    return sieve.finish(own_table(columns))
