"""Causal features of demand: recent ratios, what the same time of earlier days did, volatility.

Every feature is a log ratio to the level now, over the typical step-to-step change: the same
numbers for a fleet of CPU seconds and for requests. Row t reads samples 0..t only.

Legend: T origins, F features, a span (first, width) is the steps t + first .. t + first + width - 1.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.models.scaling.config import DAY_S
from novacron.models.scaling.demand import Demand

Floats = NDArray[np.float64]

VERSION: Final = 1
"""Raised when a feature changes its meaning."""
LEVEL_HALF_LIFE_STEPS: Final = 1.0
_LAGS: Final = (1, 2, 3, 4, 6, 9, 12, 24, 36)
_DAYS_BACK: Final = (1, 2, 3, 7)
_OFFSET_RATIO: Final = 0.01
"""Added to demand before logarithms, as a share of the week's maximum: zeros stay finite."""
_LEAST_SCALE: Final = 0.003


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """Features that do not depend on the span, and what turns scores back into demand.

    Demand = exp(score * scale + log_level) - offset.
    """

    x_TF: Floats
    value_T: Floats
    offset_T: Floats
    log_level_T: Floats
    scale_T: Floats
    day_steps: int

    def score(self, demand_T: Floats) -> Floats:
        """Return demand as a score at each origin."""
        safe_T = np.log(np.maximum(demand_T, 0.0) + self.offset_T)
        return np.asarray((safe_T - self.log_level_T) / self.scale_T)

    def demand(self, score_TK: Floats, rows: slice | NDArray[np.intp] = slice(None)) -> Floats:
        """Return scores of the given origins as demand, not below 0."""
        log_TK = score_TK * self.scale_T[rows, None] + self.log_level_T[rows, None]
        return np.maximum(np.exp(np.minimum(log_TK, 700.0)) - self.offset_T[rows, None], 0.0)


def rolling(value_T: Floats, steps: int, kind: str) -> Floats:
    """Return the maximum, minimum or mean of the newest `steps` samples that are there."""
    window = pd.Series(value_T).rolling(steps, min_periods=1)
    return np.asarray(getattr(window, kind)().to_numpy(), dtype=np.float64)


def shifted(value_T: Floats, steps: int) -> Floats:
    """Return the series `steps` later (earlier if negative), NaN where there is none."""
    moved_T = np.full(len(value_T), np.nan)
    if steps == 0:
        moved_T[:] = value_T
    elif 0 < steps < len(value_T):
        moved_T[steps:] = value_T[:-steps]
    elif -len(value_T) < steps < 0:
        moved_T[:steps] = value_T[-steps:]
    return moved_T


def ahead_max(value_T: Floats, first: int, width: int) -> Floats:
    """Return the highest demand of the span after each origin, NaN where it is not over yet."""
    return shifted(rolling(value_T, width, "max"), -(first + width - 1))


def base_frame(demand: Demand) -> Frame:
    """Compute what all spans share."""
    x_T, day = demand.value_T, demand.day_steps
    hour = max(2, 3600 // demand.step_s)
    offset_T = _OFFSET_RATIO * rolling(x_T, 7 * day, "max") + 1e-9
    level_T = pd.Series(x_T).ewm(halflife=LEVEL_HALF_LIFE_STEPS, ignore_na=True).mean().to_numpy()
    log_level_T = np.log(level_T + offset_T)
    log_T = np.log(x_T + offset_T)
    change_T = np.diff(log_T, prepend=log_T[:1])
    scale_T = np.maximum(np.nan_to_num(rolling(np.abs(change_T), day, "mean")), _LEAST_SCALE)
    frame = Frame(
        x_TF=np.empty((0, 0)),
        value_T=x_T,
        offset_T=offset_T,
        log_level_T=log_level_T,
        scale_T=scale_T,
        day_steps=day,
    )
    columns = _levels(frame, hour) | _volatility(frame, change_T, hour)
    clock_T = (demand.start_s + demand.step_s * np.arange(len(x_T))) % DAY_S / DAY_S
    columns |= {
        "time_of_day": clock_T,
        "day_sine": np.sin(2 * np.pi * clock_T),
        "day_cosine": np.cos(2 * np.pi * clock_T),
        "time_of_hour": (clock_T * 24) % 1,
    }
    return Frame(
        x_TF=np.stack(list(columns.values()), axis=1),
        value_T=x_T,
        offset_T=offset_T,
        log_level_T=log_level_T,
        scale_T=scale_T,
        day_steps=day,
    )


def _levels(frame: Frame, hour: int) -> dict[str, Floats]:
    x_T, day = frame.value_T, frame.day_steps
    columns = {"newest": frame.score(x_T)}
    columns |= {f"lag_{lag}": frame.score(shifted(x_T, lag)) for lag in _LAGS}
    spans = {
        "3_steps": 3, "6_steps": 6, "1_h": hour, "2_h": 2 * hour, "3_h": 3 * hour,
        "6_h": 6 * hour, "12_h": day // 2, "1_d": day, "3_d": 3 * day, "7_d": 7 * day,
    }  # fmt: skip
    for name, steps in spans.items():
        columns[f"max_{name}"] = frame.score(rolling(x_T, steps, "max"))
        columns[f"mean_{name}"] = frame.score(rolling(x_T, steps, "mean"))
        if not name.endswith("steps"):
            columns[f"min_{name}"] = frame.score(rolling(x_T, steps, "min"))
    return columns


def _volatility(frame: Frame, change_T: Floats, hour: int) -> dict[str, Floats]:
    day, size_T = frame.day_steps, np.abs(change_T)
    rise_T = np.maximum(change_T, 0.0)
    columns = {
        f"volatility_{name}": rolling(size_T, steps, "mean") / frame.scale_T
        for name, steps in {"6_steps": 6, "1_h": hour, "3_h": 3 * hour, "12_h": day // 2}.items()
    }
    columns |= {
        f"largest_rise_{name}": rolling(rise_T, steps, "max") / frame.scale_T
        for name, steps in {"1_h": hour, "3_h": 3 * hour, "1_d": day}.items()
    }
    columns["volatility_7_d"] = rolling(size_T, 7 * day, "mean") / frame.scale_T
    columns["log_volatility"] = np.log(frame.scale_T)
    columns["log_level_over_offset"] = np.log((frame.value_T + frame.offset_T) / frame.offset_T)
    return columns


def span_features(frame: Frame, first: int, width: int) -> Floats:
    """Return all features for one span, x_TF: those of the frame and those of the same span before.

    The same span of an earlier day lies wholly in the past as long as it is shorter than a day.
    """
    x_T, day = frame.value_T, frame.day_steps
    near = max(1, day // 48)
    own_T = shifted(rolling(x_T, width, "max"), -(width - 1))
    wide_T = shifted(rolling(x_T, width + 2 * near, "max"), -(width - 1 + near))
    columns, rises = [], []
    for days in _DAYS_BACK:
        lag = days * day - first
        then_T = frame.score(shifted(x_T, days * day))
        columns += [frame.score(shifted(own_T, lag)), frame.score(shifted(own_T, lag)) - then_T]
        rises.append(frame.score(shifted(wide_T, lag)) - then_T)
    highest_T = np.max(np.nan_to_num(rises, nan=-99.0), axis=0)
    columns += [highest_T, rises[0], rises[-1]]
    columns += [np.full(len(x_T), float(first)), np.full(len(x_T), float(width))]
    return np.column_stack([frame.x_TF, *columns])


SPAN: Final = ("first_step", "width_steps")
"""The last features: which span is asked about."""
CLOCK: Final = ("time_of_day", "day_sine", "day_cosine", "time_of_hour")
"""Features that are missing where a series has no clock."""


def feature_names() -> tuple[str, ...]:
    """Return the names of the columns of `span_features`, in order."""
    names = [f"lag_{lag}" for lag in _LAGS]
    spans = ("3_steps", "6_steps", "1_h", "2_h", "3_h", "6_h", "12_h", "1_d", "3_d", "7_d")
    levels = []
    for place, name in enumerate(spans):
        levels += [f"max_{name}", f"mean_{name}", *([f"min_{name}"] if place > 1 else [])]
    rest = [f"volatility_{name}" for name in ("6_steps", "1_h", "3_h", "12_h")]
    rest += [f"largest_rise_{name}" for name in ("1_h", "3_h", "1_d")]
    rest += ["volatility_7_d", "log_volatility", "log_level_over_offset"]
    rest += CLOCK
    for days in _DAYS_BACK:
        rest += [f"same_span_{days}_d_ago", f"rise_{days}_d_ago"]
    rest += ["highest_rise_of_days", "wide_rise_1_d_ago", "wide_rise_7_d_ago"]
    return ("newest", *names, *levels, *rest, *SPAN)


@lru_cache(maxsize=1)
def features_hash() -> str:
    """Return 64 hex digits that change with the names, `VERSION` or what the code computes."""
    golden_T = np.array([10 + (7 * t * t + 3 * t) % 23 + 5 * (t % 48) for t in range(400)], float)
    golden_T[50:55] = np.nan
    demand = Demand(value_T=golden_T, step_s=1800, start_s=0.0, end=None, filled=0, joined=1)
    x_TF = span_features(base_frame(demand), 1, 2)
    digest = hashlib.sha256()
    digest.update(json.dumps({"version": VERSION, "names": feature_names()}).encode())
    rounded = np.round(np.nan_to_num(x_TF[360:], nan=1e6), 6) + 0.0
    digest.update(rounded.astype("<f8").tobytes())
    return digest.hexdigest()
