"""Direct gradient boosting: one global model per grid corrects the weekly profile at every horizon.

Everything is relative to the level of the last four weeks and in units of the series' own weekly
change, so that series of any size learn from each other, and a zero correction is the (geometric)
weekday mean. Legend: T steps, H steps ahead, F features, N rows.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError
from novacron.models.capacity.seasons import (
    PROFILE_WEEKS,
    phase_mean,
    steps_per_day,
    steps_per_week,
    typical_change,
)

Floats = NDArray[np.float64]

FEATURES: Final = (
    "days_ahead",
    "horizon_ratio",
    "last_week",
    "week_before",
    "last_day",
    "last_steps",
    "slope_8_weeks",
    "level_13_weeks",
    "level_52_weeks",
    "spread_4_weeks",
    "spread_ratio",
    "phase_4_weeks",
    "phase_last_week",
    "phase_8_weeks",
    "year_ago_change",
    "year_ago_phase",
    "history_weeks",
)
_CLIP: Final = 8.0
_YEAR_DAYS: Final = 364
_FEATURE_VERSION: Final = 1


@cache
def features_hash() -> str:
    """Return 64 hex digits that change with the names, their order, or what is computed here."""
    step_T = np.arange(60.0 * 7)
    golden_T = np.sin(step_T / 3) + 0.3 * (step_T % 7) + 0.01 * step_T
    rounded = np.round(origin_of(golden_T, 86_400, 10).x_HF, 6) + 0.0
    digest = hashlib.sha256(json.dumps([_FEATURE_VERSION, *FEATURES]).encode())
    digest.update(rounded.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What a forecast starts from: features x_HF, the profile it corrects, and the unit."""

    x_HF: Floats
    profile_H: Floats
    unit: float

    def to_target(self, z_H: Floats) -> Floats:
        """Return values on the link scale as what the model learns."""
        return np.clip((z_H - self.profile_H) / self.unit, -_CLIP, _CLIP)

    def from_target(self, target_H: Floats) -> Floats:
        """Return what the model says on the link scale."""
        return np.asarray(self.profile_H + self.unit * target_H)


def origin_of(z_T: Floats, step_s: int, horizon: int) -> Origin:
    """Compute the features of all H steps after the end of a series.

    Args:
        z_T: On the link scale, without gaps; nothing after its end is read.
        step_s: 3600 or 86400.
        horizon: Steps ahead.
    """
    week, day = steps_per_week(step_s), steps_per_day(step_s)
    unit = typical_change(z_T, week)
    profile_H = phase_mean(z_T, week, horizon)
    level = float(np.mean(z_T[-PROFILE_WEEKS * week :]))
    recent_K = z_T[-PROFILE_WEEKS * week :]
    rest_K = recent_K - np.tile(phase_mean(z_T, week, week), PROFILE_WEEKS)[-recent_K.size :]
    ahead_H = np.arange(1, horizon + 1)
    per_series = (
        _mean(z_T, week, 0) - level,
        _mean(z_T, week, 1) - level,
        float(np.mean(rest_K[-day:])) if day > 1 else float(rest_K[-1]),
        float(np.mean(rest_K[-3 * day :])),
        _slope(z_T, week),
        _mean(z_T, 13 * week, 0) - level,
        _mean(z_T, 52 * week, 0) - level,
    )
    spread = float(np.std(rest_K)) / unit
    wide = np.array([*(value / unit for value in per_series), spread])
    columns = [
        ahead_H / day,
        ahead_H / horizon,
        *np.broadcast_to(wide[:, None], (len(wide), horizon)),
        np.full(horizon, float(np.std(rest_K[-week:])) / max(float(np.std(rest_K)), 1e-9)),
        (profile_H - level) / unit,
        (phase_mean(z_T, week, horizon, weeks=1) - profile_H) / unit,
        (phase_mean(z_T, week, horizon, weeks=8) - profile_H) / unit,
        *(column / unit for column in _year_ago(z_T, week, horizon)),
        np.full(horizon, min(z_T.size / week, 110.0)),
    ]
    return Origin(x_HF=np.stack(columns, axis=1), profile_H=profile_H, unit=unit)


def _mean(z_T: Floats, steps: int, back: int) -> float:
    """Mean of `steps` values that end `back` times as many before the end; NaN if they are not."""
    end = z_T.size - back * steps
    return float(np.mean(z_T[end - steps : end])) if end >= steps else float("nan")


def _slope(z_T: Floats, week: int) -> float:
    """Slope of the last 8 weekly means, per week."""
    weeks = min(z_T.size // week, 8)
    if weeks < 3:
        return float("nan")
    mean_K = z_T[z_T.size - weeks * week :].reshape(weeks, week).mean(axis=1)
    return float(np.polyfit(np.arange(weeks), mean_K, 1)[0])


def _year_ago(z_T: Floats, week: int, horizon: int) -> tuple[Floats, Floats]:
    """How the level, and each step, moved at this time of the last year; NaN below a year."""
    year = _YEAR_DAYS * week // 7
    missing = np.full(horizon, np.nan)
    then = z_T.size - year
    if then < PROFILE_WEEKS * week or horizon + week // 2 > year:
        return missing, missing
    level = float(np.mean(z_T[then - PROFILE_WEEKS * week : then]))
    place_H = then + np.arange(horizon)
    total = np.concatenate([[0.0], np.cumsum(z_T)])
    half = week // 2
    low_H, high_H = place_H - half, np.minimum(place_H + half + 1, z_T.size)
    smooth_H = (total[high_H] - total[low_H]) / (high_H - low_H)
    before_H = phase_mean(z_T[:then], week, horizon)
    return smooth_H - level, z_T[place_H] - before_H


class Booster:
    """A fitted LightGBM model; kept as its own text format."""

    def __init__(self, text: str) -> None:
        import lightgbm

        try:
            self._booster: Any = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as cause:
            raise ArtifactError(
                f"The boosted member is unreadable: {cause}.",
                remedy="Register the model again from its training run.",
            ) from cause
        self.text = text

    @classmethod
    def fit(
        cls, x_NF: Floats, target_N: Floats, weight_N: Floats, *, rounds: int, seed: int
    ) -> Self:
        """Fit by absolute error, so that the answer is a median.

        Args:
            x_NF: Features of all rows.
            target_N: See `Origin.to_target`.
            weight_N: Weight of each row; must not depend on the target.
            rounds: Trees.
            seed: Decides which rows and features each tree sees.
        """
        import lightgbm

        params = {
            "objective": "l1", "learning_rate": 0.05, "num_leaves": 8, "min_data_in_leaf": 300,
            "feature_fraction": 0.6, "bagging_fraction": 0.5, "bagging_freq": 1, "lambda_l2": 10.0,
            "seed": seed, "deterministic": True, "num_threads": 1, "verbosity": -1,
        }  # fmt: skip
        data = lightgbm.Dataset(x_NF, label=target_N, weight=weight_N, feature_name=list(FEATURES))
        return cls(lightgbm.train(params, data, num_boost_round=rounds).model_to_string())

    def forecast(self, z_T: Floats, step_s: int, horizon: int) -> Floats:
        """Return the forecast on the link scale."""
        origin = origin_of(z_T, step_s, horizon)
        return origin.from_target(np.asarray(self._booster.predict(origin.x_HF, num_threads=1)))
