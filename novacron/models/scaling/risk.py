"""What every capacity would cost, and how much margin keeps the promised share of time.

The price of a capacity c is E[(c - d)+ / d] + penalty * P(d > c): the area over-provisioned, as the
elasticity metrics count it, plus a penalty on time under-provisioned. A larger penalty means more
margin; where the distribution is tight margin is cheap and is bought first. The penalty is chosen
so that the share of time under-provisioned stays within a budget, over the past days and the same
time of day in them (conformal risk control: Angelopoulos et al. 2024, localised in time).

Legend: T origins, K bins, G penalties.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.scaling.config import ScalingConfig
from novacron.models.scaling.features import Frame, ahead_max, rolling

Floats = NDArray[np.float64]

PENALTIES: Final = np.geomspace(0.25, 256.0, 31)
"""Penalties among which the margin is chosen."""
_SMALLEST_RATIO: Final = 0.1
"""Demand below this share of the week's mean counts as this share when excess is made relative."""
_SHRINK: Final = 40.0
"""Steps of all times of day that stand beside those of the same time of day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Odds:
    """The distribution of the highest demand of a span, per origin, in demand units."""

    edge_TE: Floats
    per_demand_TE: Floats
    """Cumulated p / d up to each edge; so is the next, of p d / d, and the last, of p."""
    share_TE: Floats
    chance_TE: Floats

    def __len__(self) -> int:
        return len(self.edge_TE)

    def at(self, t: int, capacity: float) -> tuple[float, float]:
        """Return the expected relative excess, and the chance that demand is above a capacity."""
        edge_E = self.edge_TE[t]
        place = int(np.searchsorted(edge_E, capacity, side="right"))
        if place >= len(edge_E):
            excess = capacity * self.per_demand_TE[t, -1] - self.share_TE[t, -1]
            return float(excess), 0.0
        if place == 0:
            return 0.0, 1.0
        width = edge_E[place] - edge_E[place - 1]
        part = (capacity - edge_E[place - 1]) / width if width > 0 else 1.0

        def within(row_E: Floats) -> float:
            return float(row_E[place - 1] + part * (row_E[place] - row_E[place - 1]))

        excess = capacity * within(self.per_demand_TE[t]) - within(self.share_TE[t])
        return max(0.0, excess), 1.0 - within(self.chance_TE[t])

    def price(self, t: int, capacity: float, penalty: float) -> float:
        """Return the price of a capacity at one origin."""
        excess, chance = self.at(t, capacity)
        return excess + penalty * chance

    def best(self, penalties_G: Floats) -> Floats:
        """Return the cheapest capacity for every origin and penalty, capacity_TG."""
        cheapest = np.empty((len(self), len(penalties_G)))
        excess_TE = self.edge_TE * self.per_demand_TE - self.share_TE
        row_T = np.arange(len(self))
        for place, penalty in enumerate(penalties_G):
            price_TE = excess_TE + penalty * (1 - self.chance_TE)
            cheapest[:, place] = self.edge_TE[row_T, price_TE.argmin(axis=1)]
        return cheapest


def odds_of(
    frame: Frame, rows: slice | NDArray[np.intp], p_TK: Floats, edge_E: Floats, mean_K: Floats
) -> Odds:
    """Turn bin probabilities of the given origins into odds in demand units."""
    edge_TE = frame.demand(np.broadcast_to(edge_E, (len(p_TK), len(edge_E))), rows)
    mean_TK = frame.demand(np.broadcast_to(mean_K, p_TK.shape), rows)
    week_T = rolling(frame.value_T, 7 * frame.day_steps, "mean")[rows]
    divisor_TK = np.maximum(mean_TK, np.maximum(_SMALLEST_RATIO * week_T, 1e-12)[:, None])

    def cumulated(part_TK: Floats) -> Floats:
        return np.pad(np.cumsum(part_TK, axis=1), ((0, 0), (1, 0)))

    return Odds(
        edge_TE=edge_TE,
        per_demand_TE=cumulated(p_TK / divisor_TK),
        share_TE=cumulated(p_TK * mean_TK / divisor_TK),
        chance_TE=cumulated(p_TK),
    )


def exceeded(value_T: Floats, capacity_TG: Floats, first: int, width: int) -> Floats:
    """Return 1 where demand of the span rose above the capacity, 0 where not, NaN if not over."""
    highest_T = ahead_max(value_T, first, width)[:, None]
    missed_TG = (highest_T > capacity_TG).astype(np.float64)
    return np.where(np.isfinite(highest_T), missed_TG, np.nan)


def risk(missed_TG: Floats, known_after: int, day_steps: int, config: ScalingConfig) -> Floats:
    """Return the estimated share of time under-provisioned per penalty at each origin, r_TG.

    Origin t reads outcomes of origins up to t - `known_after`, the newest that are over by then.
    One more miss is added to those seen, as split conformal prediction asks.
    """
    reach = max(1, round(config.risk_days * day_steps))
    missed = np.nan_to_num(missed_TG, nan=0.0)
    known = np.isfinite(missed_TG[:, 0]).astype(np.float64)
    miss_sum = np.vstack([np.zeros(missed.shape[1]), np.cumsum(missed, axis=0)])
    known_sum = np.concatenate([[0.0], np.cumsum(known)])
    stop_T = np.maximum(np.arange(len(missed)) + 1 - known_after, 0)
    begin_T = np.maximum(stop_T - reach, 0)
    seen_T = known_sum[stop_T] - known_sum[begin_T]
    overall_TG = (miss_sum[stop_T] - miss_sum[begin_T] + 1.0) / (seen_T + 1.0)[:, None]
    if config.time_of_day_weight == 0:
        return np.asarray(overall_TG)
    half = max(1, round(config.time_of_day_h / 24 * day_steps))
    same_TG, same_T = np.zeros_like(missed), np.zeros(len(missed))
    for days in range(1, max(1, round(config.risk_days)) + 1):
        centre_T = np.arange(len(missed)) - days * day_steps
        upper_T = np.clip(centre_T + half + 1, 0, stop_T)
        lower_T = np.clip(centre_T - half, 0, upper_T)
        same_TG += miss_sum[upper_T] - miss_sum[lower_T]
        same_T += known_sum[upper_T] - known_sum[lower_T]
    local_TG = (same_TG + _SHRINK * overall_TG) / (same_T + _SHRINK)[:, None]
    weight = config.time_of_day_weight
    return np.asarray((1 - weight) * overall_TG + weight * local_TG)


def choose(risk_G: Floats, budget_ratio: float) -> int:
    """Return the place of the smallest penalty whose risk is within the budget, else the last."""
    within = risk_G <= budget_ratio
    return int(np.argmax(within)) if within.any() else len(risk_G) - 1
