"""What a fitted class scores on its validation part, with intervals over whole traces.

Legend: N rows, H steps ahead, Q = 3 served levels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from novacron.models.bandwidth.blend import ClassModel, ewma_of_windows
from novacron.models.bandwidth.config import SERVED_LEVELS, BandwidthConfig
from novacron.models.bandwidth.windows import Floats, WindowSet, encode_in_parts
from novacron.models.baselines import VOLATILITY_SAMPLES, EwmaBand
from novacron.models.metrics import Interval, group_ratio, wql_terms

_SEED: Final = 11


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationMetric:
    """One validation figure of one class: `value` in [lo, hi] over `n` traces."""

    name: str
    set: str
    value: float
    lo: float
    hi: float
    n: int
    baseline: str


def validation_metrics(
    path_class: str, windows: WindowSet, part: ClassModel, config: BandwidthConfig
) -> list[ValidationMetric]:
    """Score the members and the calibrated blend beside EWMA and its band.

    Only origins with enough history count. The figures are optimistic: weights and calibration
    were chosen on this part. A test part that was held back says more.
    """
    warm = windows.take(windows.origin_N >= config.cold_start_samples - 1)
    if len(warm) == 0 or warm.future_NH.sum() <= 0:
        return []
    actual_NH = warm.future_NH
    level_N = ewma_of_windows(warm.channels["bandwidth_mbps"], part.band.half_life)
    band_NHQ = band_of_windows(part.band, warm.channels["bandwidth_mbps"])
    forecasts = _forecasts(warm, part, config, level_N)
    naive_N = np.abs(actual_NH - level_N[:, None]).sum(axis=1)
    band_N = wql_terms(actual_NH, band_NHQ, SERVED_LEVELS).sum(axis=1)
    metrics = []
    for name, q_NHQ in forecasts.items():
        error_N = np.abs(actual_NH - q_NHQ[..., 1]).sum(axis=1)
        loss_N = wql_terms(actual_NH, q_NHQ, SERVED_LEVELS).sum(axis=1)
        rows: Iterable[tuple[str, Floats, Floats, str]] = (
            ("wape_ratio_to_ewma", error_N, naive_N, "EWMA"),
            ("wql_ratio_to_ewma_band", loss_N, band_N, "EWMA band"),
            ("wape", error_N, actual_NH.sum(axis=1), "EWMA"),
        )
        for metric, upper_N, lower_N, baseline in rows:
            metrics.append(
                _metric(f"{metric}/{name}", path_class, _ratio(upper_N, lower_N, warm), baseline)
            )
    q_NHQ = forecasts["blend"]
    inside_N = ((actual_NH >= q_NHQ[..., 0]) & (actual_NH <= q_NHQ[..., 2])).mean(axis=1)
    share = _ratio(inside_N, np.ones(len(warm)), warm)
    return [*metrics, _metric("coverage_80/blend", path_class, share, "0.8 nominal")]


def _metric(name: str, path_class: str, found: Interval, baseline: str) -> ValidationMetric:
    return ValidationMetric(
        name=name,
        set=path_class,
        value=found.value,
        lo=found.lo,
        hi=found.hi,
        n=found.n,
        baseline=baseline,
    )


def _ratio(upper_N: Floats, lower_N: Floats, windows: WindowSet) -> Interval:
    rng = np.random.default_rng(_SEED)
    return group_ratio(upper_N, np.maximum(lower_N, 1e-12), windows.trace_N, rng)


def band_of_windows(band: EwmaBand, bandwidth_NW: Floats) -> Floats:
    """Return the quantiles of the EWMA band after each window, q_NHQ in Mbit/s."""
    level_N = ewma_of_windows(bandwidth_NW, band.half_life)
    spread_N = np.nanstd(bandwidth_NW[:, -VOLATILITY_SAMPLES:], axis=1)
    group_N = np.searchsorted(band.edges_G, spread_N)
    return np.asarray(np.maximum(level_N[:, None, None] + band.residual_GHQ[group_N], 0))


def _forecasts(
    windows: WindowSet, part: ClassModel, config: BandwidthConfig, level_N: Floats
) -> dict[str, Floats]:
    raw, twin, lstm, done = [], [], [], 0
    for encoded in encode_in_parts(config, windows):
        inputs = part.attached(encoded)
        own, done = slice(done, done + len(inputs)), done + len(inputs)
        twin.append(part.twin_mbps(inputs))
        lstm.append(part.lstm_mbps(inputs))
        anchors = part.anchors_mbps(inputs, level_N[own])
        raw.append(part.mixture.combine(twin[-1], lstm[-1], anchors))
    return {
        "twin": np.concatenate(twin),
        "lstm": np.concatenate(lstm),
        "blend": part.calibration.apply(np.concatenate(raw)),
    }
