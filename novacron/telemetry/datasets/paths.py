"""From a frame of path measurements to traces and to the link table: the one way for all sources.

The frame has `trace`, `t_s` (seconds from the trace's start), `bandwidth_mbps`, where measured
`rtt_ms`, `loss_ratio` and `jitter_ms`, where known `ts` (UTC), and any source-only columns.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.telemetry.datasets.adapted import Sieve, sample_table
from novacron.telemetry.traces import MEASURED, Trace

NOMINAL_START: Final = datetime(2001, 1, 1, tzinfo=UTC)
"""Start given to samples of a source that publishes no clock: a Monday, and late enough to pass for
a clock that was set. Traces keep `start=None`; hours and weekdays of such samples mean nothing."""

_OWN: Final = ("trace", "t_s", "ts", "bandwidth_mbps", *MEASURED)


def sift_paths(sieve: Sieve) -> None:
    """Reject what no trace may hold: unknown or impossible rates and times that do not increase."""
    sieve.require_finite("t_s", "bandwidth_mbps")
    for name in ("bandwidth_mbps", *MEASURED):
        if name in sieve.kept:
            spec = LINK_SCHEMA[name]
            sieve.require_between(name, spec.low or 0.0, spec.high or float("inf"))
    t_s = sieve.kept.t_s
    latest = sieve.kept.groupby("trace", sort=False).t_s.cummax()
    before = latest.groupby(sieve.kept.trace, sort=False).shift()
    sieve.reject(t_s == before, "duplicate time within the trace")
    sieve.reject(t_s < before, "time runs backwards within the trace")


def traces_of(frame: pd.DataFrame, path_class: str) -> tuple[Trace, ...]:
    """Return one trace per `trace` value, in order of appearance."""
    extras = [name for name in frame.columns if name not in _OWN]
    numeric = [name for name in extras if pd.api.types.is_numeric_dtype(frame[name])]
    traces = []
    for trace_id, rows in frame.groupby("trace", sort=False):
        start = rows["ts"].iloc[0].to_pydatetime() if "ts" in rows else None
        measured = {name: rows[name].to_numpy() for name in MEASURED if name in rows}
        traces.append(
            Trace(
                trace_id=str(trace_id),
                path_class=path_class,
                t_s=(rows.t_s - rows.t_s.iloc[0]).to_numpy(),
                bandwidth_mbps=rows.bandwidth_mbps.to_numpy(),
                start=start,
                extras={name: rows[name].to_numpy() for name in numeric},
                **measured,
            )
        )
    return tuple(traces)


def link_table_of(frame: pd.DataFrame) -> pa.Table:
    """Return the rows as link samples; `link_id` is the trace, `ts` its clock or a nominal one."""
    if "ts" in frame:
        ts = frame["ts"]
    else:
        ts = pd.to_timedelta(frame.t_s, unit="s").dt.round("us") + NOMINAL_START
    measured = {name: frame[name] for name in (*MEASURED, "src", "dst") if name in frame}
    columns = {"ts": ts, "link_id": frame.trace, "bandwidth_mbps": frame.bandwidth_mbps}
    return sample_table(LINK_SCHEMA, columns | measured)


def link_table_of_traces(traces: Iterable[Trace]) -> pa.Table:
    """Return traces as link samples, one link each; one without a clock starts at the nominal."""
    frames = []
    for trace in traces:
        t_us = np.round(trace.t_s * 1e6).astype("timedelta64[us]")
        measured = {name: getattr(trace, name) for name in MEASURED}
        columns = {
            "trace": trace.trace_id,
            "t_s": trace.t_s,
            "ts": pd.to_timedelta(t_us) + pd.Timestamp(trace.start or NOMINAL_START),
            "bandwidth_mbps": trace.bandwidth_mbps,
        }
        known = {name: values for name, values in measured.items() if values is not None}
        frames.append(pd.DataFrame(columns | known))
    return link_table_of(pd.concat(frames, ignore_index=True))
