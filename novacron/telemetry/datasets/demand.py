"""Long demand series from the public sets, on hours or days, with the part that is only for tests.

Sets: `vic` (electricity), `wikipedia` (page views), `bitbrains` (a fleet, per reporting VM), `azure`
and `google` (data centres). See the adapters for sources and licences.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from novacron.telemetry.datasets.capacity import adapt_energy, adapt_requests, adapt_wikipedia
from novacron.telemetry.datasets.vm import (
    adapt_azure_centre,
    adapt_bitbrains_fleet,
    adapt_google_centre,
)

DEMAND_FILES: Final = (
    "cap_energy/vic_electricity_hourly.parquet",
    "cap_wikipedia/daily_views.parquet",
    "vm_bitbrains/fleet_5min.parquet",
    "vm_dc_aggregate/azure_v2_300s.parquet",
    "vm_dc_aggregate/google2019_300s.parquet",
    "scale_genai2026/requests_10min.parquet",
)
"""What `load_demand` reads, below the folder of the public traces."""

DAILY_HORIZON: Final = 30
HOURLY_HORIZON: Final = 168
_ORIGINS: Final = 5
_BITBRAINS: Final[Mapping[str, str]] = {
    "cpu": "cpu_mhz_per_vm",
    "memory": "active_mem_mb_per_vm",
    "net_in": "net_rx_kb_s_per_vm",
    "net_out": "net_tx_kb_s_per_vm",
}
_NO_ZONE: Final = "UTC"


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """One series: a pandas series on UTC times, NaN where missing.

    The steps from `test_from` on are for tests only; `origins` are the steps at which forecasts of
    `horizon` steps are tested, all of them >= `test_from`.
    """

    name: str
    set: str
    series: "pd.Series[Any]"
    horizon: int
    origins: tuple[int, ...]
    """Empty: the whole series is for training."""
    country: str | None = None
    subdivision: str | None = None

    @property
    def test_from(self) -> int:
        """First step that training never sees."""
        return min(self.origins, default=len(self.series))

    @property
    def group(self) -> str:
        """What is resampled together: every grid and column of one source and name."""
        return f"{self.set}/{self.name}"


def load_demand(data_dir: Path) -> tuple[Demand, ...]:
    """Read the public sets.

    Raises:
        DatasetNotFoundError: A file is not there.
    """
    return (
        *_vic(data_dir),
        *_wikipedia(data_dir),
        *_bitbrains(data_dir),
        *_centres(data_dir),
        *_requests(data_dir),
    )


def _daily(name: str, set_name: str, series: "pd.Series[Any]", **more: Any) -> Demand:
    last = len(series) - DAILY_HORIZON
    origins = tuple(last - DAILY_HORIZON * back for back in reversed(range(_ORIGINS)))
    # A history must be no shorter than the horizon.
    kept = tuple(origin for origin in origins if origin >= DAILY_HORIZON)
    return Demand(
        name=name, set=set_name, series=series, horizon=DAILY_HORIZON, origins=kept, **more
    )


def _hourly(name: str, set_name: str, series: "pd.Series[Any]") -> Demand:
    last = len(series) - HOURLY_HORIZON
    # Three weeks hold no five separate weeks with a history before each: origins a day apart there.
    apart = HOURLY_HORIZON if last >= (_ORIGINS + 2) * HOURLY_HORIZON else 24
    origins = tuple(last - apart * back for back in reversed(range(_ORIGINS)))
    return Demand(name=name, set=set_name, series=series, horizon=HOURLY_HORIZON, origins=origins)


def _only_training(name: str, set_name: str, series: "pd.Series[Any]", **more: Any) -> Demand:
    return Demand(
        name=name, set=set_name, series=series, horizon=HOURLY_HORIZON, origins=(), **more
    )


def _vic(data_dir: Path) -> list[Demand]:
    frame = adapt_energy(data_dir).table.to_pandas().set_index("ts")
    half_hours = frame["demand_mwh_per_half_hour"]
    place = {"country": "AU", "subdivision": "VIC"}
    whole = half_hours.loc["2012-01-01":]
    mean = _daily("mean", "vic", whole.resample("1D").mean(), **place)
    before = half_hours.resample("1h").mean().loc[: mean.series.index[mean.test_from]].iloc[:-1]
    return [
        mean,
        _daily("busy_hour", "vic", whole.resample("1D").max(), **place),
        _only_training("hours", "vic", before, **place),
    ]


def _wikipedia(data_dir: Path) -> list[Demand]:
    frame = adapt_wikipedia(data_dir).table.to_pandas()
    return [
        _daily(str(page).removeprefix("tk:"), "wikipedia", rows.set_index("ts")["views"])
        for page, rows in frame.groupby("page", sort=True)
    ]


def _bitbrains(data_dir: Path) -> list[Demand]:
    frame = adapt_bitbrains_fleet(data_dir).table.to_pandas().set_index("ts")
    made = []
    for name, column in _BITBRAINS.items():
        days = frame[column].resample("1D")
        daily = days.mean().where(days.count() >= 72).iloc[1:-1]
        made.append(_daily(name, "bitbrains", daily))
        made.append(_hourly(name, "bitbrains_hours", frame[column].resample("1h").mean()))
    return made


def _centres(data_dir: Path) -> list[Demand]:
    google = adapt_google_centre(data_dir).table.to_pandas().set_index("ts").resample("1h")
    azure = adapt_azure_centre(data_dir).table.to_pandas().set_index("ts").resample("1h")
    return [
        _hourly("cpu", "azure", azure["cpu_usage_sum"].mean()),
        _hourly("memory", "azure", azure["assigned_mem_sum"].mean()),
        _hourly("cpu", "google", google["cpu_ratio"].mean()),
        _hourly("memory", "google", google["mem_ratio"].mean()),
    ]


def _requests(data_dir: Path) -> list[Demand]:
    frame = adapt_requests(data_dir).table.to_pandas().set_index("local_ts")
    # The place is unnamed: hours of the day count from an unknown midnight, which does no harm.
    hours = frame["requests_per_10min"].tz_localize(_NO_ZONE).resample("1h").mean()
    return [_only_training("requests", "genai", hours)]
