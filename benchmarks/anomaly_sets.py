"""The labelled series of the anomaly benchmark: NAB, Nezha, and injections into normal series."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.models.anomaly.injections import INJECTION_KINDS, InjectionKind, inject
from novacron.models.anomaly.measures import Span
from novacron.models.anomaly.nab_score import Window, probation
from novacron.models.anomaly.stream import day_samples
from novacron.telemetry.datasets.anomaly import (
    adapt_nab,
    adapt_nab_windows,
    adapt_nezha,
    adapt_nezha_faults,
    adapt_nezha_pods,
)
from novacron.telemetry.datasets.vm import (
    adapt_alibaba_centre,
    adapt_azure_centre,
    adapt_bitbrains_fleet,
    adapt_google_centre,
)

Floats = NDArray[np.float64]

STEP_S: Final = 300.0
DAY: Final = 288
_LONGEST_REAL: Final = 6000
NEZHA_POD_METRICS: Final = (
    *("server_latency_p95_s", "mem_mib", "read_syscalls", "write_syscalls"),
    *("net_rx_bytes_s", "net_tx_bytes_s"),
)
"""Of what Nezha's pods measured beyond the node table; the host's are the same for all its pods."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """One univariate series with what is known of it; spans in seconds."""

    name: str
    ts_s: Floats
    value_T: Floats
    day: int
    judged: Span
    events: tuple[Span, ...] = ()
    windows: tuple[Window, ...] = ()
    kind: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pod:
    """One pod of Nezha: a frame of metrics, faults to find and faults to mask."""

    name: str
    day: str
    ts_s: Floats
    frame: pd.DataFrame
    events: tuple[Span, ...]
    kinds: tuple[str, ...]
    """Of the events."""
    masked: tuple[Span, ...]


def load_nab(data_dir: Path) -> list[Labelled]:
    """Return the NAB series, judged after the probation of the NAB score."""
    series = adapt_nab(data_dir).table.to_pandas()
    windows = adapt_nab_windows(data_dir).table.to_pandas()
    found = []
    for name, group in series.groupby("series", sort=True):
        ts_s = _seconds(group.local_ts)
        own = windows[windows.series == name].sort_values("local_start")
        events = tuple(zip(_seconds(own.local_start), _seconds(own.local_end), strict=True))
        rows = tuple(
            (int(np.searchsorted(ts_s, a)), int(np.searchsorted(ts_s, b, "right")) - 1)
            for a, b in events
        )
        found.append(
            Labelled(
                name=str(name),
                ts_s=ts_s,
                value_T=group.value.to_numpy(np.float64),
                day=day_samples(float(np.median(np.diff(ts_s)))),
                judged=(float(ts_s[probation(len(ts_s))]), float(ts_s[-1])),
                events=events,
                windows=rows,
            )
        )
    return found


def _seconds(stamps: "pd.Series[pd.Timestamp]") -> Floats:
    return np.asarray(pd.DatetimeIndex(stamps).as_unit("us").asi8 / 1e6)


def load_nezha(data_dir: Path) -> list[Pod]:
    """Return the pods of both days; code faults and half an hour after them are masked."""
    metrics = adapt_nezha(data_dir).table.to_pandas()
    more = adapt_nezha_pods(data_dir).table.to_pandas()[["ts", "node_id", *NEZHA_POD_METRICS]]
    metrics = metrics.merge(more, on=["ts", "node_id"], how="left")
    metrics["server_latency_p95_ms"] = metrics.pop("server_latency_p95_s").astype(np.float64) * 1e3
    faults = adapt_nezha_faults(data_dir).table.to_pandas()
    pods = []
    for name, frame in metrics.groupby("node_id", sort=True):
        own = faults[faults.node_id == name]
        spans = list(
            zip(
                *(_seconds(own.start), _seconds(own.end), own.kind, own.shows_in_metrics),
                strict=True,
            )
        )
        pods.append(
            Pod(
                name=str(name),
                day=str(frame.ts.dt.date.iloc[0]),
                ts_s=_seconds(frame.ts.sort_values()),
                frame=frame.sort_values("ts").drop(columns="node_id"),
                # A sample stands for the minute before it, so a fault shows until one later.
                events=tuple((a, b + 60) for a, b, _, shows in spans if shows),
                kinds=tuple(str(kind) for _, _, kind, shows in spans if shows),
                masked=tuple((a, b + 1800) for a, b, _, shows in spans if not shows),
            )
        )
    return pods


def real_normal(data_dir: Path) -> dict[str, Floats]:
    """Return series of real fleets without labels, taken as normal, every 300 s."""
    tables = {
        "google": adapt_google_centre(data_dir).table,
        "azure": adapt_azure_centre(data_dir).table,
        "alibaba": adapt_alibaba_centre(data_dir, "alibaba2018_300s").table,
        "bitbrains": adapt_bitbrains_fleet(data_dir).table,
    }
    found = {}
    for name, table in tables.items():
        frame = table.to_pandas().select_dtypes("floating").ffill().bfill()
        for column in frame.columns[frame.notna().all()]:
            found[f"{name}/{column}"] = frame[column].to_numpy(np.float64)[:_LONGEST_REAL]
    return found


def injected(series: Mapping[str, Floats], seed: int, *, quiet_share: float) -> list[Labelled]:
    """Return five copies of each series, each with one anomaly of one kind.

    The anomaly lies after the first `quiet_share` of the series, the only part that is judged.
    """
    copies = []
    for number, (name, value_T) in enumerate(sorted(series.items())):
        for place, kind in enumerate(INJECTION_KINDS):
            rng = np.random.default_rng([seed, number, place])
            copies.append(_copy(name, value_T, kind, rng, quiet_share))
    return copies


def _copy(
    name: str, value_T: Floats, kind: InjectionKind, rng: np.random.Generator, quiet_share: float
) -> Labelled:
    quiet = int(quiet_share * len(value_T))
    changed_T, (made,) = inject(
        value_T, rng, day_samples=DAY, quiet_samples=quiet, kinds=(kind,), size=6.0
    )
    ts_s = STEP_S * np.arange(len(value_T), dtype=np.float64)
    # The sample that returns to normal is part of the anomaly: it is a jump as well.
    end = min(made.end + 1, len(value_T) - 1)
    return Labelled(
        name=name,
        ts_s=ts_s,
        value_T=changed_T,
        day=DAY,
        judged=(float(ts_s[quiet]), float(ts_s[-1])),
        events=((float(ts_s[made.start]), float(ts_s[end])),),
        kind=kind,
    )
