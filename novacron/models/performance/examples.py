"""Brings contexts to what the members read: everything relative to level and spread.

A member never sees how a VM stands to its peers: with few VMs to learn from it would only learn
those VMs by heart. What the peers do over time (their drift) it does see.

Legend: N rows, T steps, C sequence channels, F features, E extra channels.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.models.performance.config import PerformanceConfig
from novacron.models.performance.context import Context, Floats, Ints, blank
from novacron.models.performance.level import Levels, count_group
from novacron.models.performance.medians import mean_distance, row_ewma, row_median, row_quantile

Floats32 = NDArray[np.float32]

FEATURES_VERSION: Final = 1
_CLIP: Final = 8.0
_HALF_LIVES: Final = (1.0, 3.0, 12.0)
_WINDOWS: Final = (3, 10, 64)
_QUANTILES: Final = (0.1, 0.25, 0.75, 0.9)
_LAGS: Final = 8
_DAY_S: Final = 86_400.0
_GOLDEN_DECIMALS: Final = 5

CATEGORIES: Final = ("benchmark", "size", "region", "previous")
"""The first columns of the features: places in the names of the model, -1 for any other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """Rows as the members read them, with the level and spread that bring answers back."""

    x_NTC: Floats32
    x_NF: Floats32
    level_N: Floats
    spread_N: Floats
    count_group_N: Ints

    def __len__(self) -> int:
        return len(self.level_N)

    def take(self, rows: NDArray[np.generic]) -> Self:
        """Return the rows at these positions, or where a mask is true."""
        return type(self)(
            x_NTC=self.x_NTC[rows],
            x_NF=self.x_NF[rows],
            level_N=self.level_N[rows],
            spread_N=self.spread_N[rows],
            count_group_N=self.count_group_N[rows],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Encoded rows with the residual to forecast, z_N = (actual - level) / spread, and weights."""

    inputs: Encoded
    z_N: Floats32
    weight_N: Floats32

    def __len__(self) -> int:
        return len(self.z_N)

    def take(self, rows: NDArray[np.generic]) -> Self:
        """Return the rows at these positions, or where a mask is true."""
        return type(self)(
            inputs=self.inputs.take(rows), z_N=self.z_N[rows], weight_N=self.weight_N[rows]
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtraScale:
    """Means and deviations of the extra channels, of the training part."""

    mean_E: Floats
    scale_E: Floats

    @classmethod
    def fit(cls, extra_NTE: Floats) -> Self:
        """Measure channels; one without a finite value or without variation is left as it is."""
        flat = extra_NTE.reshape(extra_NTE.shape[0] * extra_NTE.shape[1], extra_NTE.shape[2])
        mean_E, scale_E = np.zeros(flat.shape[1]), np.ones(flat.shape[1])
        for place, values in enumerate(flat.T):
            kept = values[np.isfinite(values)]
            if kept.size and kept.std() > 0:
                mean_E[place], scale_E[place] = kept.mean(), kept.std()
        return cls(mean_E=mean_E, scale_E=scale_E)

    def apply(self, extra_NTE: Floats) -> Floats32:
        """Standardise, cut far outliers, and put 0 where a value is missing."""
        scaled = np.clip((extra_NTE - self.mean_E) / self.scale_E, -_CLIP, _CLIP)
        return np.nan_to_num(scaled).astype(np.float32)


def feature_names(extras: int = 0) -> tuple[str, ...]:
    """Return the names of the features in order."""
    names = [*CATEGORIES, "log_idle", "log_own_gap", "hour_sin", "hour_cos", "weekday"]
    names += ["log_count", "log_spread_ratio", "fleet_drift", "log_peer_age"]
    names += [f"lag_{k}" for k in range(1, _LAGS + 1)]
    names += [f"ewma_{h:g}" for h in _HALF_LIVES] + [f"median_{w}" for w in _WINDOWS]
    names += [f"quantile_{q:g}" for q in _QUANTILES] + ["distance_8", "newest_share"]
    return (*names, *(f"extra_{e}_{what}" for e in range(extras) for what in ("last", "mean")))


def encode(
    context: Context, levels: Levels, config: PerformanceConfig, extra: ExtraScale
) -> Encoded:
    """Relate the own samples to level and spread, and gather the covariates."""
    level_N, spread_N = levels.level_N, levels.spread_N
    with np.errstate(invalid="ignore"):
        z_NT = np.clip((context.own_NT - level_N[:, None]) / spread_N[:, None], -_CLIP, _CLIP)
    extra_NTE = extra.apply(context.extra_NTE)
    columns = [*_covariates(context, levels), *_shapes(z_NT)]
    for place in range(extra_NTE.shape[2]):
        channel_NT = extra_NTE[:, :, place].astype(np.float64)
        columns += [channel_NT[:, -1], np.asarray(channel_NT.mean(axis=1))]
    return Encoded(
        x_NTC=_sequence(context, z_NT, extra_NTE, config.lstm.steps),
        x_NF=np.stack(columns, axis=1).astype(np.float32),
        level_N=level_N,
        spread_N=spread_N,
        count_group_N=count_group(context.counts),
    )


def _sequence(context: Context, z_NT: Floats, extra_NTE: Floats32, steps: int) -> Floats32:
    """Return the newest steps: residual, logarithm of the age in days, presence, extras."""
    z_NT, age_NT = z_NT[:, -steps:], context.own_age_NT[:, -steps:]
    present_NT = np.isfinite(z_NT)
    age = np.nan_to_num(np.log1p(np.maximum(age_NT, 0) / _DAY_S))
    channels = [np.nan_to_num(z_NT), np.where(present_NT, age, 0.0), present_NT.astype(float)]
    rows, extras = len(z_NT), extra_NTE.shape[2]
    padded = np.zeros((rows, steps, extras), dtype=np.float32)
    kept = extra_NTE[:, -steps:]
    padded[:, steps - kept.shape[1] :] = kept
    return np.concatenate([np.stack(channels, axis=2), padded], axis=2).astype(np.float32)


def _covariates(context: Context, levels: Levels) -> list[Floats]:
    hour_N = (context.asked_N % _DAY_S) / _DAY_S * 2 * np.pi
    weekday_N = np.floor(context.asked_N / _DAY_S) % 7
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = [
            np.log(np.maximum(context.idle_N, 1.0)),
            np.log(np.maximum(context.own_age_NT[:, -1], 1.0)),
            np.sin(hour_N),
            np.cos(hour_N),
            weekday_N,
            np.log1p(context.counts),
            np.log(levels.spread_N / np.maximum(np.abs(levels.level_N), 1e-12)),
            np.clip(levels.fleet.drift_N / levels.spread_N, -_CLIP, _CLIP),
            np.log(np.maximum(levels.fleet.newest_age_N, 1.0)),
        ]
    places = [context.benchmark_N, context.size_N, context.region_N, context.previous_N]
    return [np.asarray(values, dtype=np.float64) for values in (*places, *columns)]


def _shapes(z_NT: Floats) -> list[Floats]:
    steps = z_NT.shape[1]
    lags = [z_NT[:, -k] if k <= steps else np.full(len(z_NT), np.nan) for k in range(1, _LAGS + 1)]
    averages = [row_ewma(z_NT, half_life) for half_life in _HALF_LIVES]
    medians = [row_median(z_NT, newest) for newest in _WINDOWS]
    quantiles = [row_quantile(z_NT[:, -20:], level) for level in _QUANTILES]
    near_N = mean_distance(z_NT[:, -8:], medians[1])
    count_N = np.maximum(np.isfinite(z_NT).sum(axis=1), 1)
    above_N = (z_NT > z_NT[:, -1:]).sum(axis=1) / count_N
    return [*lags, *averages, *medians, *quantiles, near_N, np.where(count_N > 1, above_N, 0.5)]


@lru_cache(maxsize=8)
def features_hash(history: int, steps: int, extras: int) -> str:
    """Return the fingerprint of the features: names, version, and values of fixed contexts."""
    config = PerformanceConfig().model_copy(
        update={
            "history": history,
            "lstm": PerformanceConfig().lstm.model_copy(update={"steps": steps}),
        }
    )
    context, levels = _golden(history, extras)
    scale = ExtraScale(mean_E=np.zeros(extras), scale_E=np.ones(extras))
    encoded = encode(context, levels, config, scale)
    digest = hashlib.sha256()
    content = {
        "names": feature_names(extras), "version": FEATURES_VERSION, "history": history,
        "steps": steps,
    }  # fmt: skip
    digest.update(json.dumps(content, sort_keys=True).encode())
    for values in (encoded.x_NF, encoded.x_NTC):
        rounded = np.round(values.astype(np.float64), _GOLDEN_DECIMALS) + 0.0
        digest.update(np.where(np.isnan(rounded), 1e300, rounded).astype("<f8").tobytes())
    return digest.hexdigest()


def _golden(history: int, extras: int) -> tuple[Context, Levels]:
    """Make fixed contexts by integer arithmetic: waves, gaps, short histories."""
    from dataclasses import replace

    from novacron.models.performance.level import Fleet

    rows = 6
    place_NT = np.arange(rows)[:, None] * 7 + np.arange(history)[None, :] * 3
    own_NT = np.asarray(100.0 + (place_NT * 37 % 23), dtype=np.float64)
    own_NT[1, : history // 2] = np.nan
    own_NT[2, :-1] = np.nan
    own_NT[3] = np.nan
    age_NT = np.where(np.isfinite(own_NT), 3600.0 * np.arange(history, 0, -1)[None, :], np.nan)
    context = replace(
        blank(rows, history=history, peers=4, extras=extras, steps=history),
        own_NT=own_NT,
        own_age_NT=age_NT,
        asked_N=np.asarray(1.7e9 + 40_000.0 * np.arange(rows), dtype=np.float64),
        idle_N=np.asarray(60.0 * (1 + np.arange(rows)), dtype=np.float64),
        extra_NTE=np.repeat((place_NT % 5).astype(float)[:, :, None], extras, axis=2),
    )
    few_N = np.arange(rows) / 10.0
    fleet = Fleet(
        average_NK=np.full((rows, 1), 100.0), distance_N=few_N, drift_N=few_N, newest_age_N=few_N
    )
    return context, Levels(
        level_N=110.0 + few_N, spread_N=5.0 + few_N, fleet_N=few_N, ewma_N=few_N, fleet=fleet
    )
