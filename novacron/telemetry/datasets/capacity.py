"""Long demand series for capacity planning and scaling: electricity, page views, GPU requests.

Sources: R tsibbledata vic_elec (AEMO) by skforecast; Wikimedia page views by prophet and timetk;
Alibaba clusterdata GenAI 2026.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from novacron.errors import OutOfRangeError
from novacron.telemetry.datasets.adapted import Adapted, Sieve, own_table
from novacron.telemetry.datasets.files import read_native

ENERGY_FILE: Final = "cap_energy/vic_electricity_hourly.parquet"
WIKIPEDIA_FILE: Final = "cap_wikipedia/daily_views.parquet"
REQUESTS_FILE: Final = "scale_genai2026/requests_10min.parquet"

LARGEST_LOG_VIEWS: Final = 25.0
"""e**25 is 7e10 views a day: a file that stays below is in logs, not in views."""


def adapt_energy(data_dir: Path) -> Adapted:
    """Return hourly electricity demand of Victoria: strong daily, weekly and yearly cycles.

    For checking methods; this is no IT capacity.
    """
    frame = read_native(data_dir, ENERGY_FILE, ["ts", "Demand", "Temperature"])
    sieve = Sieve(frame)
    sieve.require_finite("ts", "Demand")
    sieve.require_unique("ts")
    sieve.reject(sieve.kept.Demand <= 0, "demand is not positive")
    columns = {
        "ts": sieve.kept.ts.dt.tz_localize("UTC"),
        "demand_mwh_per_half_hour": sieve.kept.Demand,
        "temperature_c": sieve.kept.Temperature,
    }
    return sieve.finish(own_table(columns))


def adapt_wikipedia(data_dir: Path) -> Adapted:
    """Return daily page views: `page`, `ts` (UTC midnight), `views`; unpublished days are null.

    Two of the pages miss days, one of them weeks at a time: each page gets a row for every day
    between its first and last, so that a gap is seen.

    Raises:
        OutOfRangeError: The file is still in logarithms, as one publisher writes it.
    """
    frame = read_native(data_dir, WIKIPEDIA_FILE, ["page", "ts", "views"])
    if frame.views.max() < LARGEST_LOG_VIEWS:
        raise OutOfRangeError(
            field=f"{WIKIPEDIA_FILE}: views",
            got=f"a maximum of {frame.views.max():.2f}",
            expected="page views a day",
            remedy="These are logarithms: apply exp() to the column.",
        )
    sieve = Sieve(frame.assign(page=frame.page.astype(str)))
    sieve.require_finite("ts", "views")
    sieve.reject(sieve.kept.views < 0, "negative views")
    sieve.require_unique("page", "ts")
    published = len(sieve.kept)
    sieve.kept = _every_day(sieve.kept)
    if len(sieve.kept) > published:
        sieve.masked["day not published"] = len(sieve.kept) - published
    columns = {
        "page": sieve.kept.page,
        "ts": sieve.kept.ts.dt.tz_localize("UTC"),
        "views": sieve.kept.views,
    }
    return sieve.finish(own_table(columns))


def _every_day(views: pd.DataFrame) -> pd.DataFrame:
    pages = [views.iloc[:0][["ts", "views", "page"]]]
    for page, rows in views.groupby("page", sort=False):
        days = pd.date_range(rows.ts.min(), rows.ts.max(), freq="D", name="ts")
        series = rows.set_index("ts").views.reindex(days)
        pages.append(series.reset_index().assign(page=str(page)))
    return pd.concat(pages, ignore_index=True)


def adapt_requests(data_dir: Path) -> Adapted:
    """Return requests to a generative service in 10-minute bins.

    The clock is local time of an unnamed place, hence `local_ts`. In a bin without requests the
    work is 0 and the mean execution time unknown.
    """
    native = ["ts", "requests", "exec_mean_s", "exec_sum_s"]
    frame = read_native(data_dir, REQUESTS_FILE, native)
    sieve = Sieve(frame)
    sieve.require_finite("ts", "requests")
    sieve.reject(sieve.kept.requests < 0, "negative requests")
    sieve.require_unique("ts")
    unknown = (sieve.kept.requests > 0) & sieve.kept.exec_sum_s.isna()
    sieve.reject(unknown, "requests without their execution time")
    kept = sieve.kept
    columns = {
        "local_ts": kept.ts,
        "requests_per_10min": kept.requests.astype(np.int64),
        "exec_mean_s": kept.exec_mean_s,
        "gpu_work_s": kept.exec_sum_s.mask(kept.requests == 0, 0.0),
    }
    return sieve.finish(own_table(columns))
