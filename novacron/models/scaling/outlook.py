"""Everything a policy reads about one series: odds of spans, cheapest capacities, their risk.

Legend: T origins, G penalties. All origins of the series are computed; row t reads samples 0..t.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from novacron.models.scaling.config import HORIZON_S, PolicyConfig, ScalingConfig
from novacron.models.scaling.demand import Demand
from novacron.models.scaling.density import Density
from novacron.models.scaling.features import Frame, base_frame, span_features
from novacron.models.scaling.risk import PENALTIES, Odds, exceeded, odds_of, risk

Floats = NDArray[np.float64]
Span = tuple[int, int]


def delay_steps(boot_delay_s: float, step_s: int) -> int:
    """Return after how many steps an order has arrived."""
    return max(1, int(np.ceil(boot_delay_s / step_s - 1e-9)))


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanView:
    """One span seen from every origin from `begin` on."""

    begin: int
    odds: Odds
    capacity_TG: Floats
    risk_TG: Floats


@dataclass(kw_only=True)
class Outlook:
    """The model's view of one series; spans are computed when first asked for.

    `begin` is the first origin that is looked at: earlier ones are history only.
    """

    demand: Demand
    density: Density
    config: ScalingConfig
    begin: int = 0
    frame: Frame = field(init=False)
    _views: dict[Span, SpanView] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.frame = base_frame(self.demand)

    @property
    def horizon_steps(self) -> int:
        """Steps of an hour."""
        return HORIZON_S // self.demand.step_s

    def span_of(self, policy: PolicyConfig, delay: int) -> Span:
        """Return the span whose highest demand an order made now must hold."""
        if policy.reach == "hour":
            return delay, max(1, self.horizon_steps - delay + 1)
        return delay, policy.hold_steps

    def view(self, span: Span) -> SpanView:
        """Return the span, computed once."""
        if span not in self._views:
            self._views[span] = self._compute(span)
        return self._views[span]

    def _compute(self, span: Span) -> SpanView:
        first, width = span
        rows = slice(self.begin, None)
        x_TF = span_features(self.frame, first, width)[rows]
        odds = odds_of(
            self.frame,
            rows,
            self.density.probabilities(x_TF),
            self.density.edge_E,
            self.density.mean_K,
        )
        capacity_TG = odds.best(PENALTIES)
        missed_TG = exceeded(self.demand.value_T[self.begin :], capacity_TG, first, width)
        known_after = first + width - 1
        risk_TG = risk(missed_TG, known_after, self.demand.day_steps, self.config)
        return SpanView(begin=self.begin, odds=odds, capacity_TG=capacity_TG, risk_TG=risk_TG)
