"""One window in, one row of named evidence out; and the fingerprint of what this code computes."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError
from novacron.features.evidence.cycles import Cycle, find_cycle
from novacron.features.evidence.excursions import find_excursions
from novacron.features.evidence.levels import find_levels, to_bins
from novacron.features.evidence.memory import autocorrelation, describe_memory
from novacron.features.evidence.trend import fit_exponential, fit_line, lag1
from novacron.features.spec import FLAT_RATIO, FeatureSpec
from novacron.features.windows import window_features

Floats = NDArray[np.float64]

LEAST_PRESENT: Final = 48
"""Present samples below which nothing of this is told from chance."""
MOST_SAMPLES: Final = 4096
LARGEST_MISSING_RATIO: Final = 0.5

EVIDENCE_VERSION: Final = 1
_CHANNEL: Final = "cpu_ratio"  # a name is needed; the evidence has no unit
_GENERAL: Final = ("skewness", "kurtosis", "dominant_power_share", "spectral_entropy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What a window shows: its row of `names()`, and the best period found in it."""

    row_F: Floats
    cycle: Cycle


def is_flat(usage_T: Floats) -> bool:
    """Tell whether the present samples are equal but for rounding."""
    own_T = usage_T[~np.isnan(usage_T)]
    return bool(np.ptp(own_T) <= FLAT_RATIO * np.abs(own_T).max()) if own_T.size else False


def check_window(usage_T: Floats) -> None:
    """Make sure that a window can be judged.

    Raises:
        SchemaError: Not one-dimensional, shorter than `LEAST_PRESENT` present samples, longer than
            `MOST_SAMPLES`, or more than half of it missing.
        OutOfRangeError: A sample is infinite.
    """
    if usage_T.ndim != 1 or usage_T.size > MOST_SAMPLES:
        raise SchemaError(
            field="usage",
            got=f"shape {list(usage_T.shape)}",
            expected=f"one series of at most {MOST_SAMPLES} samples",
            remedy="Send the newest ones, or means over longer steps.",
        )
    if np.isinf(usage_T).any():
        raise OutOfRangeError(field="usage", got=float("inf"), expected="finite numbers or NaN")
    present = int((~np.isnan(usage_T)).sum())
    if present < LEAST_PRESENT:
        raise SchemaError(
            field="usage",
            got=f"{present} present samples",
            expected=f"at least {LEAST_PRESENT}",
            remedy="Too few to tell a pattern from chance: send a longer window.",
        )
    if present < (1 - LARGEST_MISSING_RATIO) * usage_T.size:
        raise SchemaError(
            field="usage",
            got=f"{present} of {usage_T.size} samples present",
            expected="at least half",
            remedy="Send a window with fewer gaps, or means over longer steps.",
        )


def gather(usage_T: Floats) -> Evidence:
    """Compute the evidence of a window that is not flat.

    Args:
        usage_T: Evenly spaced samples, oldest first, NaN where missing; any unit.

    Raises:
        SchemaError: See `check_window`; or the window is flat.
        OutOfRangeError: See `check_window`.
    """
    check_window(usage_T)
    if is_flat(usage_T):
        raise SchemaError(field="usage", got="equal samples", expected="samples that vary")
    present_T = ~np.isnan(usage_T)
    own_T = usage_T[present_T]
    own_T = (own_T - own_T.mean()) / own_T.std()
    z_T = np.zeros(usage_T.size)
    z_T[present_T] = own_T
    line = fit_line(z_T, present_T)
    rho_L = autocorrelation(line.residual_T, present_T)
    cycle = find_cycle(line.residual_T, present_T, rho_L)
    named = _general(np.where(present_T, z_T, np.nan))
    named |= {"samples_log2": float(np.log2(own_T.size))}
    named |= _trend(z_T, present_T)
    named |= _levels(z_T, present_T)
    named |= _excursions(own_T)
    named |= _memory(line.residual_T, present_T, rho_L)
    named |= _cycle(cycle, usage_T.size)
    return Evidence(row_F=np.array(list(named.values())), cycle=cycle)


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """Return the names of the evidence, in the order of a row."""
    wave_T = np.sin(np.arange(64.0)) + np.arange(64) % 7
    present_T = np.ones(64, dtype=bool)
    z_T = (wave_T - wave_T.mean()) / wave_T.std()
    rho_L = autocorrelation(z_T, present_T)
    named = _general(z_T) | {"samples_log2": 0.0} | _trend(z_T, present_T)
    named |= _levels(z_T, present_T) | _excursions(z_T)
    named |= _memory(z_T, present_T, rho_L) | _cycle(find_cycle(z_T, present_T, rho_L), 64)
    return tuple(named)


@lru_cache(maxsize=4096)
def _spec(samples: int) -> FeatureSpec:
    return FeatureSpec(
        channels=(_CHANNEL,),
        history=samples,
        rolling=(samples,),
        shape=True,
        frequency=True,
        counts=False,
        level_half_life=10,  # not used here; the spec wants one that suits its history
    )


def _general(z_T: Floats) -> dict[str, float]:
    """Take what the feature library already computes of a whole window."""
    spec = _spec(z_T.size)
    row_F = window_features(spec, {_CHANNEL: z_T[None, :]})[0]
    by_name = dict(zip(spec.names, row_F.tolist(), strict=True))
    found = {}
    for name in _GENERAL:
        full = f"{_CHANNEL}__{name}"
        found[name] = by_name.get(full, by_name.get(f"{full}_{z_T.size}", 0.0))
    return found


def _trend(z_T: Floats, present_T: NDArray[np.bool_]) -> dict[str, float]:
    line = fit_line(z_T, present_T)
    curve = fit_exponential(z_T, present_T, line)
    mean_K = to_bins(z_T, present_T, 24).mean_B
    order_KK = np.sign(mean_K[None, :] - mean_K[:, None])
    pairs = mean_K.size * (mean_K.size - 1) / 2
    return {
        "trend_slope": line.slope,
        "trend_r2_ratio": line.r2_ratio,
        "trend_t": line.t_statistic,
        "kendall_tau": float(np.triu(order_KK, 1).sum() / pairs),
        "exponential_rate": curve.rate,
        "exponential_r2_ratio": curve.r2_ratio,
        "exponential_gain_ratio": curve.gain_ratio,
        "detrended_lag1": lag1(line.residual_T, present_T),
    }


def _levels(z_T: Floats, present_T: NDArray[np.bool_]) -> dict[str, float]:
    found = find_levels(z_T, present_T)
    return {
        "step_r2_ratio": found.step_r2_ratio,
        "step_height": found.step_height,
        "step_place_ratio": found.step_place_ratio,
        "box_r2_ratio": found.box_r2_ratio,
        "box_height": found.box_height,
        "box_length_ratio": found.box_length_ratio,
        "box_margin_ratio": found.box_margin_ratio,
        "box_beyond_step_ratio": found.box_r2_ratio - found.step_r2_ratio,
        "box_second_r2_ratio": found.second_r2_ratio,
        "box_left_lag1": found.left_lag1,
    }


def _excursions(own_T: Floats) -> dict[str, float]:
    found: dict[str, float] = {}
    for side, upwards in (("high", True), ("low", False)):
        runs = find_excursions(own_T, upwards=upwards)
        found |= {
            f"{side}_count": float(runs.count),
            f"{side}_share_ratio": runs.share_ratio,
            f"{side}_longest_ratio": runs.longest_ratio,
            f"{side}_peak": runs.peak,
            f"{side}_second_peak": runs.second_peak,
            f"{side}_burstiness": runs.burstiness,
        }
    return found


def _memory(residual_T: Floats, present_T: NDArray[np.bool_], rho_L: Floats) -> dict[str, float]:
    found = describe_memory(residual_T, present_T, rho_L)
    return {
        "decay_ratio": found.decay_ratio,
        "zero_ratio": found.zero_ratio,
        "lowest_rho": found.lowest,
        "coarse_8_ratio": found.coarse_8_ratio,
        "coarse_16_ratio": found.coarse_16_ratio,
        "coarse_32_ratio": found.coarse_32_ratio,
    }


def _cycle(cycle: Cycle, samples: int) -> dict[str, float]:
    return {
        "cycles": samples / cycle.period_steps,
        "cycle_error_ratio": min(cycle.error_ratio, 10.0),
        "cycle_harmonics": float(cycle.harmonics),
        "cycle_r2_ratio": cycle.r2_ratio,
        "cycle_gain": cycle.gain,
        "fisher_log10_p": cycle.log10_p,
        "red_noise_ratio": cycle.red_ratio,
        "period_rho": cycle.near_rho,
        "far_period_rho": cycle.far_rho,
        "phase_coherence_ratio": cycle.coherence_ratio,
        "cycle_left_lag1": cycle.left_lag1,
    }


@lru_cache(maxsize=1)
def evidence_fingerprint() -> str:
    """Return 64 hex digits that change with the names or with what the code computes of them."""
    digest = hashlib.sha256(json.dumps([EVIDENCE_VERSION, *names()]).encode())
    for usage_T in _golden_windows():
        # Five digits: enough to see a changed formula, few enough for platforms to agree.
        digest.update(" ".join(f"{value:.4e}" for value in gather(usage_T).row_F).encode())
    return digest.hexdigest()


def _golden_windows() -> list[Floats]:
    """Make fixed windows by integer arithmetic, the same on every platform."""
    state = 20_261_123
    windows = []
    for kind in range(6):
        usage_T = np.zeros(144)
        for step in range(usage_T.size):
            state = (1_103_515_245 * state + 12_345) % 2**31
            noise = (state >> 16) % 64
            tail = noise**4 // 4096
            shape = (step, 60 * (step % 12), 90 * (step > 70), tail, 300 * (step == 50), step**2)
            usage_T[step] = (noise + shape[kind]) / 64
        usage_T[5::17] = np.nan
        windows.append(usage_T)
    return windows
