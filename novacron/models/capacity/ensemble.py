"""The ensemble: members weighted by how they did at the end of this very history, with intervals.

Legend: T history steps, H steps ahead, M members. All on the link scale unless said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.capacity.calibration import Calibration
from novacron.models.capacity.history import DAY_S, History
from novacron.models.capacity.link import Link
from novacron.models.capacity.members import Asked, MemberForecast
from novacron.models.capacity.seasons import steps_per_week, typical_change

Floats = NDArray[np.float64]

LEAST_TRIAL_DAYS: Final = 10
"""A member is tried only where at least so many days lie before the trial."""
SHORT_DAYS: Final = 75.0
"""Below this length a history is short, and has intervals of its own."""
_TRIAL_SHARES: Final = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
_PRIOR_TRIALS: Final = 2.0
_UNTRIED: Final = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class GridPrior:
    """What training learnt for one grid."""

    horizon: int
    """Steps ahead for which the intervals are calibrated."""
    weights: Mapping[str, float]
    """Weight of each member before it was tried on the series at hand."""
    trust: float
    """Power with which the errors in the trials change those weights."""
    error_per_change: float
    """Typical error of the ensemble over the typical weekly change of the series."""
    short: Calibration
    """Of histories below `SHORT_DAYS`."""
    long: Calibration

    def calibration(self, days: float) -> Calibration:
        """Return the calibration for a history of that length."""
        return self.short if days < SHORT_DAYS else self.long


@dataclass(frozen=True, kw_only=True, slots=True)
class Trials:
    """Errors of every member at the end of the history, each step of each trial a column.

    `error_MK` is NaN where a member said nothing or the actual value is missing.
    """

    names: tuple[str, ...]
    error_MK: Floats
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What the ensemble says of the H steps after a history."""

    link: Link
    z_H: Floats
    scale: float
    """Typical error of this series, the unit of its intervals."""
    weights: Mapping[str, float]
    members: Mapping[str, MemberForecast]
    failed: Mapping[str, str]
    calibration: Calibration
    trials: int
    used_from: int

    def value(self) -> Floats:
        """Return the forecast in the unit of the history."""
        return self.link.inverse(self.z_H)

    def quantile(self, probability: float) -> Floats:
        """Return a quantile of the forecast in the unit of the history."""
        offset_H = self.calibration.offsets(self.scale, self.z_H.size, probability)
        return self.link.inverse(self.z_H + offset_H)

    def interval(self, coverage: float) -> tuple[Floats, Floats]:
        """Return lower and upper; the value always lies between them."""
        miss = (1 - coverage) / 2
        value_H = self.value()
        return (
            np.minimum(self.quantile(miss), value_H),
            np.maximum(self.quantile(1 - miss), value_H),
        )

    def paths(self, paths: int, rng: np.random.Generator) -> Floats:
        """Draw possible courses y_PH in the unit of the history."""
        moved_PH = self.calibration.paths(self.scale, self.z_H.size, paths, rng)
        return self.link.inverse(self.z_H + moved_PH)

    def terms(self) -> dict[str, Floats]:
        """Return the weighted terms, on the link scale, that add up to the forecast."""
        total: dict[str, Floats] = {}
        for name, weight in self.weights.items():
            for term, z_H in self.members[name].terms.items():
                total[term] = total.get(term, np.zeros(self.z_H.size)) + weight * z_H
        return total


def look_ahead(
    history: History, link: Link, horizon: int, members: Asked, prior: GridPrior, origins: int
) -> Outlook:
    """Forecast by the ensemble.

    Args:
        history: Checked, not constant.
        link: The scale to work on.
        horizon: Steps ahead.
        members: Who takes part.
        prior: What training learnt for this grid.
        origins: Most trials at the end of the history.
    """
    reach = max(horizon, prior.horizon)
    trials = run_trials(history, link, prior.horizon, members, origins)
    forecasts = members.forecast(history, link, reach)
    weights = weigh(prior, trials, tuple(forecasts.by_member))
    z_H = np.sum(
        [weight * forecasts.by_member[name].z_H for name, weight in weights.items()], axis=0
    )
    return Outlook(
        link=link,
        z_H=z_H[:horizon],
        scale=own_scale(history, link, trials, weights, prior),
        weights=weights,
        members={name: _cut(forecasts.by_member[name], horizon) for name in weights},
        failed=forecasts.failed,
        calibration=prior.calibration(history.days),
        trials=trials.count,
        used_from=forecasts.used_from,
    )


def trial_places(steps: int, step_s: int, horizon: int, most: int) -> list[int]:
    """Return the steps at which a history of `steps` is cut for trials, the latest first."""
    day = DAY_S // step_s
    places = []
    for share in _TRIAL_SHARES[:most]:
        back = int(np.ceil(share * horizon / day)) * day
        if steps - back >= LEAST_TRIAL_DAYS * day:
            places.append(steps - back)
    return places


def run_trials(history: History, link: Link, horizon: int, members: Asked, origins: int) -> Trials:
    """Ask every member at earlier times, and compare with what followed."""
    z_T = link.forward(history.value_T)
    names = members.names
    blocks = []
    for place in trial_places(len(history), history.step_s, horizon, origins):
        actual_H = z_T[place : place + horizon]
        said = members.forecast(history.until(place), link, horizon).by_member
        block_MH = np.full((len(names), actual_H.size), np.nan)
        for row, name in enumerate(names):
            if name in said:
                block_MH[row] = actual_H - said[name].z_H[: actual_H.size]
        blocks.append(block_MH)
    joined = np.concatenate(blocks, axis=1) if blocks else np.empty((len(names), 0))
    return Trials(names=names, error_MK=joined, count=len(blocks))


def weigh(prior: GridPrior, trials: Trials, present: tuple[str, ...]) -> dict[str, float]:
    """Return weights that sum to 1 over the members that answered.

    w_m ~ prior_m * (error_m / error of weekday_mean) ** -(trust * n / (n + 2)) after n trials: with
    none the prior alone, with many mostly the trials. Where there were trials, a member that could
    not be tried counts half.
    """
    weights = {name: prior.weights.get(name, 0.0) for name in present}
    known = {name: np.abs(row) for name, row in zip(trials.names, trials.error_MK, strict=True)}
    if trials.count and "weekday_mean" in known:
        power = prior.trust * trials.count / (trials.count + _PRIOR_TRIALS)
        floor = 0.02 * float(np.nanmean(known["weekday_mean"])) + 1e-9
        for name in present:
            both = ~np.isnan(known[name]) & ~np.isnan(known["weekday_mean"])
            if both.any():
                own, plain = (float(known[k][both].mean()) for k in (name, "weekday_mean"))
                weights[name] *= ((own + floor) / (plain + floor)) ** -power
            else:
                weights[name] *= _UNTRIED
    total = sum(weights.values())
    if total <= 0:
        return {"weekday_mean": 1.0}
    return {name: weight / total for name, weight in weights.items() if weight / total > 1e-3}


def own_scale(
    history: History, link: Link, trials: Trials, weights: Mapping[str, float], prior: GridPrior
) -> float:
    """Return the typical error of the ensemble on this series.

    Its mean error in the trials, pulled with the force of 2 trials towards what series that change
    as much from week to week usually show.
    """
    z_T = link.forward(history.value_T)
    usual = prior.error_per_change * typical_change(z_T, steps_per_week(history.step_s))
    if trials.count == 0:
        return usual
    weight_M = np.array([weights.get(name, 0.0) for name in trials.names])
    used_MK = np.where(np.isnan(trials.error_MK), 0.0, trials.error_MK)
    present_K = weight_M @ ~np.isnan(trials.error_MK)
    whole_K = present_K > 0.5
    if not whole_K.any():
        return usual
    error_K = np.abs(weight_M @ used_MK)[whole_K] / present_K[whole_K]
    count = trials.count
    return float((count * error_K.mean() + _PRIOR_TRIALS * usual) / (count + _PRIOR_TRIALS))


def _cut(said: MemberForecast, horizon: int) -> MemberForecast:
    return MemberForecast(
        z_H=said.z_H[:horizon], terms={term: z_H[:horizon] for term, z_H in said.terms.items()}
    )
