"""Forecasts of round trip, loss and jitter, and of bandwidth a quarter of an hour ahead.

A channel gets the point forecaster that did best on held-back paths - last value, EWMA, ridge on
lags, rolling median - and an interval from the residuals there, in groups of equal volatility, which
the outcomes on the path itself then adapt (adaptive conformal inference).

Legend: T samples, N rows, H steps ahead, G groups, Q = 3 levels (.1, .5, .9).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError, SchemaError
from novacron.models.baseline_files import dump_baseline, load_baseline
from novacron.models.baselines import (
    LEVELS,
    Forecaster,
    LastValue,
    ewma_level,
    fit_ewma,
    fit_ridge,
    future,
    volatility,
)
from novacron.models.conformal import CalibrationTable, replay
from novacron.models.metrics import wape
from novacron.models.rolling_median import RollingMedian
from novacron.telemetry.traces import Trace

Floats = NDArray[np.float64]

WARM: Final = 8
GROUPS: Final = 5
MEDIANS: Final = (5, 12, 24, 48)
"""Lengths of the rolling medians that are tried."""
GAMMA: Final = 0.02
"""Step of the online calibration on a path."""
HELD_RATIO: Final = 0.3
"""Newest share of the paths on which members are compared and residuals measured."""
LONG_S: Final = 900.0
LONG_BIN_S: Final = 60.0
RELATIVE: Final = {"rtt_ms": True, "jitter_ms": True, "loss_ratio": False, "bandwidth_mbps": True}
"""Whether residuals grow with the level; loss is mostly zero, so its do not."""
_LEAST: Final = 1e-9
_HALF_LIFE: Final = 6.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelForecaster:
    """A causal forecaster of one channel; `residual_GHQ` are quantiles by volatility group."""

    channel: str
    point: Forecaster
    edge_G: Floats
    residual_GHQ: Floats
    calibration: CalibrationTable

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.channel} by {self.point.name}"

    @property
    def horizon(self) -> int:
        """Steps ahead."""
        return self.point.horizon

    def forecast(self, value_T: Floats) -> Floats:
        """Return the quantiles q_THQ of every origin: row t reads samples 0..t only.

        Raises:
            OutOfRangeError: A sample is negative or not finite.
        """
        q_THQ = self.offline(value_T)
        # Sample t + 1 judges what was said for it; the newest has no outcome yet.
        following_T = np.append(np.asarray(value_T, dtype=np.float64)[1:], np.nan)
        adapted_THQ = replay(self.calibration, [(q_THQ, following_T)], gamma=GAMMA)[0]
        highest = 1.0 if self.channel == "loss_ratio" else np.inf
        return np.sort(np.clip(adapted_THQ, 0.0, highest), axis=2)

    def offline(self, value_T: Floats) -> Floats:
        """Return the quantiles before the path's own outcomes adapt them."""
        value_TH = self.point.forecast(value_T)[:, :, 1]
        group_T = np.searchsorted(self.edge_G, _spread(value_T, self.channel))
        scale_TH = np.maximum(value_TH, _LEAST) if RELATIVE[self.channel] else 1.0
        residual_THQ = self.residual_GHQ[group_T]
        moved_THQ = value_TH[:, :, None] + residual_THQ * np.asarray(scale_TH)[..., None]
        highest = 1.0 if self.channel == "loss_ratio" else np.inf
        moved_THQ[:, :, 1] = value_TH
        return np.sort(np.clip(moved_THQ, 0.0, highest), axis=2)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "channel": self.channel,
            "point": json.loads(dump_baseline(self.point)),
            "edges": self.edge_G.tolist(),
            "residuals": self.residual_GHQ.tolist(),
            "scores": self.calibration.score_HSR.tolist(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """Read what `to_dict` returned.

        Raises:
            ArtifactError: A part is missing or does not fit.
        """
        try:
            made = cls(
                channel=str(stored["channel"]),
                point=load_baseline(json.dumps(stored["point"])),
                edge_G=np.asarray(stored["edges"], dtype=np.float64),
                residual_GHQ=np.asarray(stored["residuals"], dtype=np.float64),
                calibration=CalibrationTable(
                    score_HSR=np.asarray(stored["scores"], dtype=np.float64)
                ),
            )
            shape = (len(made.edge_G) + 1, made.horizon, len(LEVELS))
            if made.channel not in RELATIVE or made.residual_GHQ.shape != shape:
                raise KeyError(made.channel)
        except (KeyError, TypeError, ValueError) as cause:
            raise ArtifactError(
                f"This is no stored channel forecaster: {cause}.", remedy="Fit it again."
            ) from cause
        return made


def _spread(value_T: Floats, channel: str) -> Floats:
    level_T = ewma_level(np.asarray(value_T, dtype=np.float64), _HALF_LIFE)
    return volatility(np.asarray(value_T, dtype=np.float64), level_T, RELATIVE[channel])


def fit_channel(
    paths: Sequence[Floats], channel: str, *, horizon: int, warm: int = WARM
) -> ChannelForecaster:
    """Fit on the older paths, choose and calibrate on the newer ones; one path is cut in time.

    Args:
        paths: The channel on each path, without missing samples, in the order of their time.
        channel: One of `RELATIVE`.
        horizon: Steps ahead.
        warm: Samples an origin must have to be counted.

    Raises:
        SchemaError: No path is long enough.
    """
    held = [path for path in paths if len(path) >= warm + horizon + 1]
    if len(held) == 1:
        cut = round(len(held[0]) * (1 - HELD_RATIO))
        held = [held[0][: cut - horizon], held[0][cut:]]
        held = [path for path in held if len(path) >= warm + horizon + 1]
    if len(held) < 2:
        raise SchemaError(
            field=channel,
            got=f"{len(held)} paths or parts of at least {warm + horizon + 1} samples",
            expected="at least 2",
        )
    first = max(1, min(len(held) - 1, round(len(held) * (1 - HELD_RATIO))))
    train = [_trace(path) for path in held[:first]]
    check = held[first:]
    actual_NH = np.concatenate([future(path, horizon)[warm - 1 :] for path in check])
    if not actual_NH.sum() > 0 or not sum(float(path.sum()) for path in held[:first]) > 0:
        # Nothing ever happens on this channel: the last value, with the residuals that were seen.
        return _banded(channel, LastValue(horizon=horizon), check, horizon, warm)
    members: list[Forecaster] = [
        LastValue(horizon=horizon),
        *(RollingMedian(horizon=horizon, samples=samples) for samples in MEDIANS),
        fit_ewma(train, horizon=horizon, warm=warm),
        fit_ridge(train, horizon=horizon, warm=warm),
    ]

    def error(member: Forecaster) -> float:
        rows = [member.forecast(path)[warm - 1 : len(path) - horizon, :, 1] for path in check]
        return wape(actual_NH, np.concatenate(rows))

    return _banded(channel, min(members, key=error), check, horizon, warm)


def _trace(value_T: Floats) -> Trace:
    return Trace(
        trace_id="channel",
        path_class="channel",
        t_s=np.arange(len(value_T), dtype=np.float64),
        bandwidth_mbps=value_T,
    )


def _banded(
    channel: str, point: Forecaster, check: Sequence[Floats], horizon: int, warm: int
) -> ChannelForecaster:
    spreads, residuals = [], []
    for path in check:
        at = slice(warm - 1, len(path) - horizon)
        value_NH = point.forecast(path)[at, :, 1]
        scale_NH = np.maximum(value_NH, _LEAST) if RELATIVE[channel] else np.ones_like(value_NH)
        residuals.append((future(path, horizon)[warm - 1 :] - value_NH) / scale_NH)
        spreads.append(_spread(path, channel)[at])
    spread_N, residual_NH = np.concatenate(spreads), np.concatenate(residuals)
    edge_G = np.quantile(spread_N, np.arange(1, GROUPS) / GROUPS)
    group_N = np.searchsorted(edge_G, spread_N)
    parts = []
    for group in range(GROUPS):
        own_NH = residual_NH[group_N == group]
        parts.append(np.quantile(own_NH if len(own_NH) else residual_NH, LEVELS, axis=0).T)
    draft = ChannelForecaster(
        channel=channel,
        point=point,
        edge_G=edge_G,
        residual_GHQ=np.stack(parts),
        calibration=CalibrationTable.neutral(horizon),
    )
    rows = [(future(path, horizon), draft.offline(path)) for path in check]
    actual_NH = np.concatenate([actual[warm - 1 :] for actual, _ in rows])
    q_NHQ = np.concatenate([q_THQ[warm - 1 : len(actual)] for actual, q_THQ in rows])
    return replace(draft, calibration=CalibrationTable.fit(actual_NH, q_NHQ))


def coarse(t_s: Floats, value_T: Floats, bin_s: float = LONG_BIN_S) -> Floats:
    """Return means over bins of `bin_s` counted back from the newest sample; empty ones hold.

    Only whole bins are returned: of the oldest one a part may be missing.
    """
    back_T = np.floor((t_s[-1] - t_s) / bin_s + 1e-9).astype(np.int64)
    bins = int((t_s[-1] - t_s[0] + 1e-9) // bin_s)
    kept = back_T < bins
    if bins == 0:
        return np.empty(0)
    total = np.bincount(back_T[kept], weights=value_T[kept], minlength=bins)[::-1]
    count = np.bincount(back_T[kept], minlength=bins)[::-1]
    place = np.maximum.accumulate(np.where(count > 0, np.arange(bins), 0))
    mean = np.divide(total, count, out=np.zeros(bins), where=count > 0)
    return np.asarray(mean[place])
