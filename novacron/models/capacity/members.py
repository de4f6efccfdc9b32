"""The forecasters of the ensemble, all on the link scale, all from the end of a history.

A member that cannot be fitted answers nothing: it is named, its weight goes to the others, and the
answer says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from novacron.models.capacity.boosted import Booster
from novacron.models.capacity.decomposed import forecast_decomposed
from novacron.models.capacity.history import History
from novacron.models.capacity.link import Link
from novacron.models.capacity.prophet_member import Holidays, forecast_prophet
from novacron.models.capacity.seasons import fill_gaps, phase_mean, shift_start, steps_per_week

Floats = NDArray[np.float64]

_LEAST_DAYS: Final = {"prophet": 14, "decomposed": 14}
TOO_SHORT: Final = "needs two weeks of history"
# What a numerical fit may raise on a hostile series; anything else is a fault of ours.
_FIT_ERRORS: Final = (ValueError, ArithmeticError, RuntimeError, np.linalg.LinAlgError)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberForecast:
    """What one member says: z_H on the link scale, and the terms that add up to it."""

    z_H: Floats
    terms: Mapping[str, Floats]
    """`trend`, `seasonal`, and `holiday` where the member knows holidays; each of H steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecasts:
    """What all members say of one history, and why some say nothing."""

    by_member: Mapping[str, MemberForecast]
    failed: Mapping[str, str]
    used_from: int
    """First step that was used: what lies before a lasting change of level is left out."""


class Asked(Protocol):
    """Who can be asked for forecasts: the members, or what remembers their answers."""

    @property
    def names(self) -> tuple[str, ...]:
        """Who takes part."""
        ...

    def forecast(self, history: History, link: Link, horizon: int) -> Forecasts:
        """See `Members.forecast`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Members:
    """Which members there are, and what they need besides a history."""

    names: tuple[str, ...]
    boosters: Mapping[int, Booster]
    """By step of the grid in seconds; without one for a grid, `boosted` is absent on it."""
    holidays: Holidays

    def forecast(self, history: History, link: Link, horizon: int) -> Forecasts:
        """Ask every member for the `horizon` steps after a history.

        A part before a lasting change of level is left out where the rest covers four weeks. Below
        two weeks nothing is known of the week but its one course: who fits trends does not answer.
        """
        z_T = link.forward(history.value_T)
        week = steps_per_week(history.step_s)
        used_from = shift_start(z_T, week)
        kept, kept_z_T = history.since(used_from), z_T[used_from:]
        whole_T = fill_gaps(kept_z_T, week)
        asked = [name for name in self.names if kept.days >= _LEAST_DAYS.get(name, 0)]
        found: dict[str, MemberForecast] = {}
        failed = {name: TOO_SHORT for name in self.names if name not in asked}
        for name in asked:
            try:
                said = self._ask(name, kept, kept_z_T, whole_T, link, horizon)
            except _FIT_ERRORS as error:
                failed[name] = f"{type(error).__name__}: {error}"[:200]
                continue
            if said is None:
                continue
            if np.isfinite(said.z_H).all():
                found[name] = said
            else:
                failed[name] = "not a finite forecast"
        return Forecasts(by_member=found, failed=failed, used_from=used_from)

    def _ask(
        self, name: str, kept: History, z_T: Floats, whole_T: Floats, link: Link, horizon: int
    ) -> MemberForecast | None:
        if name == "weekday_mean":
            mean_H = phase_mean(kept.value_T, steps_per_week(kept.step_s), horizon)
            return _profile(link.forward(mean_H))
        if name == "prophet":
            told = forecast_prophet(z_T, kept.index(horizon), horizon, self.holidays)
            terms = {
                "trend": told.trend_H, "seasonal": told.seasonal_H, "holiday": told.holiday_H
            }  # fmt: skip
            return MemberForecast(z_H=told.z_H, terms=terms)
        if name == "decomposed":
            parts = forecast_decomposed(whole_T, kept.step_s, horizon)
            return MemberForecast(
                z_H=parts.z_H, terms={"trend": parts.level_H, "seasonal": parts.seasonal_H}
            )
        booster = self.boosters.get(kept.step_s)
        return (
            None if booster is None else _profile(booster.forecast(whole_T, kept.step_s, horizon))
        )


def _profile(z_H: Floats) -> MemberForecast:
    """Split a forecast without parts of its own into its mean and the rest."""
    level_H = np.full(z_H.size, float(z_H.mean()))
    return MemberForecast(z_H=z_H, terms={"trend": level_H, "seasonal": z_H - level_H})
