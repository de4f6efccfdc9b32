"""Weeks and days on a grid: profiles, repaired gaps, and where the level changed for good.

Legend: T grid steps, W steps of a week, H steps ahead. All series are on the link scale.
"""

from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY_S: Final = 86_400
PROFILE_WEEKS: Final = 4
_SHIFT_SCORE: Final = 6.0
_LEAST_WEEKS: Final = 4
_MOST_WEEKS: Final = 26
_LONG_WEEKS: Final = 52


def steps_per_week(step_s: int) -> int:
    """Return how many steps make a week."""
    return 7 * DAY_S // step_s


def steps_per_day(step_s: int) -> int:
    """Return how many steps make a day."""
    return DAY_S // step_s


def phase_mean(value_T: Floats, week: int, horizon: int, weeks: int = PROFILE_WEEKS) -> Floats:
    """Return the mean at each phase of the week over the last `weeks`, repeated over the horizon.

    On days this is the weekday mean, the baseline that fleets are hard to beat on. A phase without
    any value takes the mean of all phases, a window without any that of the last week of values.
    """
    window = value_T[-weeks * week :]
    if np.isnan(window).all():
        window = value_T[~np.isnan(value_T)][-week:]
        return np.full(horizon, float(window.mean()))
    padded = np.concatenate([np.full(-len(window) % week, np.nan), window]).reshape(-1, week)
    profile_W = mean_of_present(padded, axis=0)
    profile_W = np.where(np.isnan(profile_W), np.nanmean(window), profile_W)
    return np.resize(profile_W, horizon)


def mean_of_present(values: Floats, axis: int) -> Floats:
    """Mean over the values that are present; NaN where there is none, without a warning."""
    present = ~np.isnan(values)
    total = np.where(present, values, 0.0).sum(axis=axis)
    count = present.sum(axis=axis)
    return cast(Floats, np.where(count > 0, total / np.maximum(count, 1), np.nan))


def fill_gaps(z_T: Floats, week: int) -> Floats:
    """Return the series with gaps filled: straight lines between weekly profiles.

    Only members that cannot do with gaps see these values; scores never do.
    """
    gap_T = np.isnan(z_T)
    if not gap_T.any():
        return z_T
    place = np.arange(z_T.size)
    profile_T = _profile_of_all(z_T, week)
    rest_T = z_T - profile_T
    rest_T[gap_T] = np.interp(place[gap_T], place[~gap_T], rest_T[~gap_T])
    return cast(Floats, np.where(gap_T, rest_T + profile_T, z_T))


def _profile_of_all(z_T: Floats, week: int) -> Floats:
    padded = np.concatenate([z_T, np.full(-z_T.size % week, np.nan)]).reshape(-1, week)
    centred = padded - mean_of_present(padded, axis=1)[:, None]
    profile_W = np.nan_to_num(mean_of_present(centred, axis=0))
    return np.resize(profile_W, z_T.size)


def typical_change(z_T: Floats, week: int) -> float:
    """Mean absolute change from one week to the same phase of the next, over half a year at most.

    The unit in which features and errors of different series are compared. Never 0.
    """
    recent = z_T[-(_MOST_WEEKS + 1) * week :]
    change = np.abs(recent[week:] - recent[:-week])
    change = change[~np.isnan(change)]
    if change.size == 0:
        change = np.abs(np.diff(recent[~np.isnan(recent)]))
    return max(float(change.mean()) if change.size else 0.0, 1e-4)


def shift_start(z_T: Floats, week: int) -> int:
    """Return the step after the last lasting change of level, 0 where there is none.

    Weekly means are cut where the difference of the medians before and after is largest, again and
    again in what follows, as long as it exceeds 6 robust standard errors and at least 4 weeks
    remain. A step of the level in a short history pulls every average. A history of a year and more
    is left whole: its yearly cycle would look like steps, and its members follow real ones.

    Source: binary segmentation, Scott and Knott 1974, on medians.
    """
    weeks = z_T.size // week
    if weeks < 2 * _LEAST_WEEKS or weeks >= _LONG_WEEKS:
        return 0
    whole = fill_gaps(z_T, week)[z_T.size - weeks * week :]
    mean_K = whole.reshape(weeks, week).mean(axis=1)
    start = 0
    while True:
        cut = _best_cut(mean_K[start:])
        if cut is None:
            break
        start += cut
    return 0 if start == 0 else int(z_T.size - (weeks - start) * week)


def _best_cut(mean_K: Floats) -> int | None:
    if mean_K.size < 2 * _LEAST_WEEKS:
        return None
    best, found = 0.0, None
    for cut in range(_LEAST_WEEKS, mean_K.size - _LEAST_WEEKS + 1):
        before, after = mean_K[:cut], mean_K[cut:]
        rest = np.concatenate([before - np.median(before), after - np.median(after)])
        spread = 1.4826 * float(np.median(np.abs(rest))) + 1e-6
        error = spread * np.sqrt(1 / before.size + 1 / after.size)
        score = abs(float(np.median(after) - np.median(before))) / error
        if score > best:
            best, found = score, cut
    return found if best > _SHIFT_SCORE else None
