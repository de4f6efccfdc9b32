"""Fits what the planner knows before it sees a series: booster, weights, calibration; per grid.

Everything is judged at origins inside the training part, with what follows them. The booster that
takes part in those trials never saw the series it is tried on. Legend: N trajectories, H steps
ahead, M members, K steps of trials.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from novacron.errors import SchemaError
from novacron.models.capacity.boosted import Booster, origin_of
from novacron.models.capacity.calibration import Calibration
from novacron.models.capacity.config import MEMBERS
from novacron.models.capacity.ensemble import (
    SHORT_DAYS,
    GridPrior,
    Trials,
    own_scale,
    run_trials,
    weigh,
)
from novacron.models.capacity.history import DAY_S, History
from novacron.models.capacity.link import Link, choose_link
from novacron.models.capacity.members import Asked, Members
from novacron.models.capacity.prophet_member import Holidays
from novacron.models.capacity.remembered import RememberedMembers
from novacron.models.capacity.seasons import fill_gaps, steps_per_week, typical_change

Floats = NDArray[np.float64]
Listener = Callable[[str, int, int, float], None]
"""Gets the name of a stage, how much of it is done, of how much, and the loss (NaN: none yet)."""

_LEAST_START_DAYS: Final = {DAY_S: 30, 3_600: 8}
_TRUSTS: Final = (0.0, 1.0, 2.0, 4.0, 8.0)
_SHORT_CUTS_DAYS: Final = (35, 60, 90)


class FitConfig(BaseModel):
    """How the prior knowledge is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0)
    rounds: int = Field(default=150, ge=1, le=5000)
    """Trees of each booster."""
    folds: int = Field(default=2, ge=2, le=20)
    """Parts of the series; the booster tried on one learnt from the others."""
    places: int = Field(default=16, ge=2, le=1000)
    """Most origins per series at which the ensemble is tried, spread over it."""
    trials: int = Field(default=4, ge=1, le=6)
    """Trials before each of those origins."""
    members: tuple[str, ...] = MEMBERS
    """Who takes part; the trainer puts those of the planner here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A training series: only steps that training may see."""

    history: History
    group: str
    high: float | None = None
    holidays: Holidays = field(default_factory=Holidays)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """The result for one grid, and how it did on its own training part."""

    prior: GridPrior
    booster: Booster
    loss_ratio: float
    """Absolute error over that of the weekday mean, at the origins it was fitted on."""
    trajectories: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trajectory:
    group: int
    history: History
    link: Link
    said: dict[str, Floats]
    trials: Trials
    actual_H: Floats
    change: float


def fit_grid(
    series: Sequence[Series], horizon: int, config: FitConfig, folder: Path, listen: Listener
) -> Fitted:
    """Fit one grid.

    Args:
        series: All on the same grid.
        horizon: Steps ahead that are calibrated.
        config: How.
        folder: Keeps the members' answers; a killed fit goes on from them.
        listen: Told of progress.

    Raises:
        SchemaError: No series is long enough to have an origin with the horizon after it.
    """
    usable = [one for one in series if _places(one.history, horizon, config.places)]
    if len(usable) < config.folds:
        raise SchemaError(
            field="series",
            got=f"{len(usable)} series with an origin {horizon} steps before their end",
            expected=f"at least {config.folds}",
            remedy="Give longer or more series.",
        )
    names = sorted({one.group for one in usable})
    fold_of = {name: place % config.folds for place, name in enumerate(names)}
    boosters = [
        _boost([one for one in usable if fold_of[one.group] != fold], horizon, config)
        for fold in range(config.folds)
    ]
    listen("boosters", 1, 1, float("nan"))
    found: list[_Trajectory] = []
    for done, one in enumerate(usable, start=1):
        asked = _asked(one, boosters[fold_of[one.group]], config, folder)
        found += _trajectories(one, names.index(one.group), horizon, asked, config)
        listen("trials", done, len(usable), float("nan"))
    prior, ratio = _weights(found, horizon, config)
    prior = _calibrated(prior, found)
    listen("weights", 1, 1, ratio)
    return Fitted(
        prior=prior,
        booster=_boost(usable, horizon, config),
        loss_ratio=ratio,
        trajectories=len(found),
    )


def _asked(one: Series, booster: Booster, config: FitConfig, folder: Path) -> Asked:
    members = Members(
        names=config.members, boosters={one.history.step_s: booster}, holidays=one.holidays
    )
    return RememberedMembers(members, folder)


def _places(history: History, horizon: int, most: int) -> list[int]:
    """Return origins half a horizon apart with a whole horizon after each; `most`, spread."""
    day = DAY_S // history.step_s
    apart = max(horizon // 2 // day, 1) * day
    least = _LEAST_START_DAYS[history.step_s] * day
    places = list(range(len(history) - horizon, least - 1, -apart))
    if len(places) <= most:
        return places
    # Neighbours share their trials: blocks of the newest and of the oldest cost least.
    return places[: most - most // 3] + places[-(most // 3) :]


def _boost(series: Sequence[Series], horizon: int, config: FitConfig) -> Booster:
    x, target, weight = [], [], []
    for one in series:
        rows_x, rows_y = _rows(one, horizon)
        x.append(rows_x)
        target.append(rows_y)
        weight.append(np.full(len(rows_y), 1.0 / max(len(rows_y), 1)))
    joined_w = np.concatenate(weight)
    return Booster.fit(
        np.concatenate(x),
        np.concatenate(target),
        joined_w * (joined_w.size / joined_w.sum()),
        rounds=config.rounds,
        seed=config.seed,
    )


def _rows(one: Series, horizon: int) -> tuple[Floats, Floats]:
    """Return features and targets at an origin every week; also of histories cut short."""
    history = one.history
    link = choose_link(history.value_T, one.high)
    raw_T = link.forward(history.value_T)
    whole_T = fill_gaps(raw_T, steps_per_week(history.step_s))
    day = DAY_S // history.step_s
    every = max(1, horizon // (30 * day) or 1) * day
    x, target = [], []
    first = _LEAST_START_DAYS[history.step_s] * day
    for turn, place in enumerate(range(first, len(history) - horizon + 1, 7 * day)):
        cut = _SHORT_CUTS_DAYS[turn % len(_SHORT_CUTS_DAYS)] * day if turn % 2 else place
        origin = origin_of(whole_T[max(place - cut, 0) : place], history.step_s, horizon)
        actual_H = raw_T[place : place + horizon]
        known = np.flatnonzero(~np.isnan(actual_H))
        # Neighbouring hours say the same: every fifth is enough.
        known = known[turn % 5 :: 5] if day > 1 else known[::every]
        x.append(origin.x_HF[known])
        target.append(origin.to_target(actual_H)[known])
    return np.concatenate(x), np.concatenate(target)


def _trajectories(
    one: Series, group: int, horizon: int, asked: Asked, config: FitConfig
) -> list[_Trajectory]:
    made = []
    for place in _places(one.history, horizon, config.places):
        past = one.history.until(place)
        ahead_H = one.history.value_T[place : place + horizon]
        if np.isnan(ahead_H).mean() > 0.5:
            continue
        if np.isnan(past.value_T).mean() > 0.5 or np.nanmin(past.value_T) == np.nanmax(
            past.value_T
        ):
            continue
        link = choose_link(past.value_T, one.high)
        z_T = link.forward(past.value_T)
        said = asked.forecast(past, link, horizon).by_member
        made.append(
            _Trajectory(
                group=group,
                history=past,
                link=link,
                said={name: forecast.z_H for name, forecast in said.items()},
                trials=run_trials(past, link, horizon, asked, config.trials),
                actual_H=link.forward(ahead_H),
                change=typical_change(z_T, steps_per_week(past.step_s)),
            )
        )
    return made


def _weights(
    found: Sequence[_Trajectory], horizon: int, config: FitConfig
) -> tuple[GridPrior, float]:
    """Choose prior weights and trust of least mean loss ratio, every series weighing the same."""
    neutral = Calibration(growth_H=np.ones(horizon), score_R=np.zeros(0), lasting=0, fading=0)

    def prior(weights: tuple[float, ...], trust: float) -> GridPrior:
        return GridPrior(
            horizon=horizon,
            weights=dict(zip(config.members, weights, strict=True)),
            trust=trust,
            error_per_change=1.0,
            short=neutral,
            long=neutral,
        )

    shares = [
        tuple(part / 10 for part in parts)
        for parts in product(range(1, 11), repeat=len(config.members))
        if sum(parts) == 10
    ]
    even = min(shares, key=lambda share: float(np.std(share)))
    best_trust = min(_TRUSTS, key=lambda trust: _loss(prior(even, trust), found))
    best = min(shares, key=lambda share: _loss(prior(share, best_trust), found))
    best_trust = min(_TRUSTS, key=lambda trust: _loss(prior(best, trust), found))
    # Halfway to even weights: the optimum of a few series is not that of the next ones.
    mild = tuple((a + b) / 2 for a, b in zip(best, even, strict=True))
    chosen = prior(mild, best_trust)
    return chosen, _loss(chosen, found)


def _loss(prior: GridPrior, found: Sequence[_Trajectory]) -> float:
    own, plain = _errors(prior, found), _errors(prior, found, alone="weekday_mean")
    group_N = np.array([one.group for one in found])
    ratios = [
        float(np.sum(own[group_N == group]) / np.sum(plain[group_N == group]))
        for group in np.unique(group_N)
    ]
    return float(np.exp(np.mean(np.log(ratios))))


def _errors(prior: GridPrior, found: Sequence[_Trajectory], alone: str | None = None) -> Floats:
    """Mean absolute error of each trajectory, in units of the series' weekly change."""
    errors = []
    for one in found:
        z_H = one.said[alone] if alone is not None else _combined(prior, one)
        errors.append(float(np.nanmean(np.abs(one.actual_H - z_H))) / one.change)
    return np.array(errors)


def _combined(prior: GridPrior, one: _Trajectory) -> Floats:
    weights = weigh(prior, one.trials, tuple(one.said))
    return np.asarray(np.sum([w * one.said[name] for name, w in weights.items()], axis=0))


def _calibrated(prior: GridPrior, found: Sequence[_Trajectory]) -> GridPrior:
    group_N = np.array([one.group for one in found])
    per_change = [
        float(np.median(_errors(prior, [one for one in found if one.group == group])))
        for group in np.unique(group_N)
    ]
    prior = GridPrior(
        horizon=prior.horizon,
        weights=prior.weights,
        trust=prior.trust,
        error_per_change=float(np.median(per_change)),
        short=prior.short,
        long=prior.long,
    )
    error_NH = np.stack([_score(prior, one) for one in found])
    short_N = np.array([one.history.days < SHORT_DAYS for one in found])
    if short_N.all() or not short_N.any():
        both = Calibration.fit(error_NH, _numbered(group_N))
        parts = (both, both)
    else:
        parts = (
            Calibration.fit(error_NH[short_N], _numbered(group_N[short_N])),
            Calibration.fit(error_NH[~short_N], _numbered(group_N[~short_N])),
        )
    return GridPrior(
        horizon=prior.horizon,
        weights=prior.weights,
        trust=prior.trust,
        error_per_change=prior.error_per_change,
        short=parts[0],
        long=parts[1],
    )


def _score(prior: GridPrior, one: _Trajectory) -> Floats:
    weights = weigh(prior, one.trials, tuple(one.said))
    scale = own_scale(one.history, one.link, one.trials, weights, prior)
    return (one.actual_H - _combined(prior, one)) / scale


def _numbered(group_N: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(group_N, return_inverse=True)[1]
