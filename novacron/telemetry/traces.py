"""A bandwidth trace: one path over time, the unit on which forecasts are trained and scored.

Shape legend: T samples of the trace.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.errors import OutOfRangeError, SchemaError

Series = NDArray[np.float64]

MEASURED: Final = ("rtt_ms", "loss_ratio", "jitter_ms")
"""The optional channels of a trace, named and bounded as in the link table."""


def _frozen_series(name: str, values: object, length: int | None) -> Series:
    """Return `values` as a read-only float64 vector of `length` samples."""
    series = np.array(values, dtype=np.float64)
    if series.ndim != 1 or (length is not None and series.size != length):
        wanted = "[T]" if length is None else f"[T] with T = {length}"
        raise SchemaError(field=name, got=series.shape, expected=f"a vector {wanted}")
    series.flags.writeable = False
    return series


def _require_bounds(name: str, series: Series, *, may_be_nan: bool) -> None:
    spec = LINK_SCHEMA[name]
    low, high = spec.low or 0.0, spec.high or np.inf
    bad = (series < low) | (series > high)
    bad |= np.isinf(series) if may_be_nan else ~np.isfinite(series)
    if bad.any():
        at = int(np.argmax(bad))
        raise OutOfRangeError(field=f"{name}[{at}]", got=float(series[at]), expected=spec.expected)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trace:
    """One path measured over time.

    All arrays are read-only float64 [T], T >= 1. `t_s` is seconds from the start of the trace and
    strictly increasing, not necessarily even. `bandwidth_mbps` is always known; the other channels
    are None where never measured and NaN where a sample lacks them. Bounds are those of the link
    table. `start` is the UTC time of `t_s == 0` where known. `extras` holds channels of one source
    only (radio indicators, upload rate), unit in the name.

    Raises:
        SchemaError: An array is not a vector, differs in length, or time does not increase.
        OutOfRangeError: A value is outside its unit's range, or `start` is not UTC.
    """

    trace_id: str
    path_class: str
    t_s: Series
    bandwidth_mbps: Series
    rtt_ms: Series | None = None
    loss_ratio: Series | None = None
    jitter_ms: Series | None = None
    start: datetime | None = None
    extras: Mapping[str, Series] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Freeze the arrays and check every one of them."""
        t_s = _frozen_series("t_s", self.t_s, None)
        if t_s.size == 0:
            raise SchemaError(field="t_s", got="no samples", expected="at least one sample")
        if not np.isfinite(t_s).all() or (np.diff(t_s) <= 0).any():
            raise SchemaError(
                field="t_s",
                got=f"trace {self.trace_id} with a step <= 0 or a non-finite time",
                expected="strictly increasing seconds",
                remedy="Sort by time and quarantine duplicates first.",
            )
        object.__setattr__(self, "t_s", t_s)
        bandwidth_mbps = _frozen_series("bandwidth_mbps", self.bandwidth_mbps, t_s.size)
        _require_bounds("bandwidth_mbps", bandwidth_mbps, may_be_nan=False)
        object.__setattr__(self, "bandwidth_mbps", bandwidth_mbps)
        for name in MEASURED:
            if getattr(self, name) is not None:
                series = _frozen_series(name, getattr(self, name), t_s.size)
                _require_bounds(name, series, may_be_nan=True)
                object.__setattr__(self, name, series)
        extras = {
            name: _frozen_series(f"extras[{name!r}]", values, t_s.size)
            for name, values in self.extras.items()
        }
        object.__setattr__(self, "extras", MappingProxyType(extras))
        if self.start is not None and self.start.utcoffset() != timedelta(0):
            raise OutOfRangeError(field="start", got=self.start, expected="a UTC timestamp")

    def __len__(self) -> int:
        return int(self.t_s.size)

    def __reduce__(self) -> tuple[object, ...]:
        # A mapping proxy does not pickle; workers get traces by pickling them.
        return (_rebuild, (self.to_dict(),))

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name; `extras` as a plain dict."""
        names = ("trace_id", "path_class", "t_s", "bandwidth_mbps", *MEASURED, "start")
        return {name: getattr(self, name) for name in names} | {"extras": dict(self.extras)}

    @property
    def duration_s(self) -> float:
        """Seconds between the first and the last sample."""
        return float(self.t_s[-1] - self.t_s[0])

    @property
    def step_s(self) -> float:
        """Median seconds between samples; NaN for a single sample."""
        return float(np.median(np.diff(self.t_s))) if len(self) > 1 else float("nan")

    def part(self, first: int, stop: int) -> Self:
        """Return samples `first` <= i < `stop` as a trace of the same id, its clock set back to 0.

        `start` moves with the first sample kept, so absolute times do not change.
        """
        cut = slice(first, stop)
        offset_s = float(self.t_s[cut][0]) if len(self.t_s[cut]) else 0.0
        start = None if self.start is None else self.start + timedelta(seconds=offset_s)
        channels = {
            name: None if getattr(self, name) is None else getattr(self, name)[cut]
            for name in MEASURED
        }
        return type(self)(
            trace_id=self.trace_id,
            path_class=self.path_class,
            t_s=self.t_s[cut] - offset_s,
            bandwidth_mbps=self.bandwidth_mbps[cut],
            start=start,
            extras={name: values[cut] for name, values in self.extras.items()},
            **channels,
        )


def _rebuild(fields: dict[str, object]) -> Trace:
    return Trace(**fields)  # type: ignore[arg-type]


def by_class(traces: Iterable[Trace]) -> dict[str, tuple[Trace, ...]]:
    """Group traces by path class, classes and traces in the order in which they came."""
    groups: dict[str, list[Trace]] = {}
    for trace in traces:
        groups.setdefault(trace.path_class, []).append(trace)
    return {name: tuple(members) for name, members in groups.items()}
