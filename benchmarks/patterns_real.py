"""Windows of public series whose period is known, for `benchmarks/patterns.py`.

Each series is cut into windows that do not overlap. Known means: people and machines follow the day
and the week there, as the publishers say; nothing was fitted to find it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from novacron.telemetry.datasets.anomaly import adapt_nab
from novacron.telemetry.datasets.capacity import adapt_energy, adapt_requests, adapt_wikipedia
from novacron.telemetry.datasets.vm import (
    adapt_alibaba_centre,
    adapt_azure_centre,
    adapt_bitbrains_fleet,
    adapt_google_centre,
)

DAY_S: Final = 86_400.0
WEEK_S: Final = 604_800.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RealWindow:
    """One window with its times, and the periods that count as right."""

    set: str
    usage: "pd.Series[Any]"
    known_s: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    set: str
    read: Callable[[Path], Iterator["pd.Series[Any]"]]
    window: str
    known_s: tuple[float, ...]


def _column(adapt: Callable[[Path], Any], column: str, ts: str = "ts") -> Any:
    def read(data_dir: Path) -> Iterator["pd.Series[Any]"]:
        frame = adapt(data_dir).table.to_pandas()
        yield pd.Series(frame[column].to_numpy(float), index=pd.DatetimeIndex(frame[ts]))

    return read


def _taxi(data_dir: Path) -> Iterator["pd.Series[Any]"]:
    frame = adapt_nab(data_dir).table.to_pandas()
    own = frame[frame.series == "realKnownCause/nyc_taxi"]
    yield pd.Series(own.value.to_numpy(float), index=pd.DatetimeIndex(own.local_ts))


def _pages(data_dir: Path) -> Iterator["pd.Series[Any]"]:
    frame = adapt_wikipedia(data_dir).table.to_pandas()
    for _, own in frame.groupby("page", sort=True):
        yield pd.Series(own["views"].to_numpy(float), index=pd.DatetimeIndex(own["ts"]))


_BOTH: Final = (DAY_S, WEEK_S)
_SOURCES: Final = (
    _Source(
        set="vic_electricity_1h_28d",
        read=_column(adapt_energy, "demand_mwh_per_half_hour"),
        window="28D",
        known_s=_BOTH,
    ),
    _Source(set="nyc_taxi_30min_14d", read=_taxi, window="14D", known_s=_BOTH),
    _Source(
        set="genai_requests_10min_7d",
        read=_column(adapt_requests, "requests_per_10min", "local_ts"),
        window="7D",
        known_s=(DAY_S,),
    ),
    _Source(set="wikipedia_1d_26w", read=_pages, window="182D", known_s=(WEEK_S,)),
    _Source(
        set="azure2019_fleet_5min_7d",
        read=_column(adapt_azure_centre, "cpu_usage_sum"),
        window="7D",
        known_s=(DAY_S,),
    ),
    _Source(
        set="google2019_fleet_5min_7d",
        read=_column(adapt_google_centre, "cpu_ratio"),
        window="7D",
        known_s=(DAY_S,),
    ),
    _Source(
        set="alibaba2018_fleet_5min_5d",
        read=_column(lambda path: adapt_alibaba_centre(path, "alibaba2018_300s"), "cpu_ratio"),
        window="5D",
        known_s=(DAY_S,),
    ),
    _Source(
        set="bitbrains_fleet_5min_7d",
        read=_column(adapt_bitbrains_fleet, "cpu_mhz_per_vm"),
        window="7D",
        known_s=(DAY_S,),
    ),
)


def real_windows(data_dir: Path) -> list[RealWindow]:
    """Read every source and cut it; a last piece shorter than a window is dropped."""
    found = []
    for source in _SOURCES:
        span = pd.Timedelta(source.window)
        for series in source.read(data_dir):
            start = series.index[0]
            while start + span <= series.index[-1] + (series.index[1] - series.index[0]):
                piece = series[(series.index >= start) & (series.index < start + span)]
                found.append(RealWindow(set=source.set, usage=piece, known_s=source.known_s))
                start += span
    return found


def is_known(period_s: float | None, known_s: tuple[float, ...], tolerance_ratio: float) -> bool:
    """Tell whether a period is one of the known ones, within a tolerance."""
    if period_s is None:
        return False
    return any(abs(period_s / known - 1) <= tolerance_ratio for known in known_s)
