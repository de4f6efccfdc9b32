"""Orders capacity step by step under one policy; the same code in replay and in an answer.

Two feedbacks keep promises that no forecast can: the share of time really under-provisioned moves
the budget asked of the margin, and the number of moves made moves the hysteresis.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from novacron.models.scaling.config import DAY_S, PolicyConfig, ScalingConfig
from novacron.models.scaling.outlook import Outlook, SpanView
from novacron.models.scaling.risk import PENALTIES, choose

Floats = NDArray[np.float64]

_FIRST_MOVE_PRICE = 0.02
_MOVE_STEP = 0.03
_MOVE_PRICES = (0.001, 2.0)
_BUDGET_HALF_LIFE_DAYS = 3.0
_BUDGET_GAIN = 2.0
_BUDGET_FACTORS = (0.35, 3.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a policy wants at one step, before hysteresis."""

    capacity: float
    penalty: float
    """Price of an under-provisioned step that the margin was chosen with; 0 without a forecast."""
    risk: float
    """Estimated share of time under-provisioned at that capacity; NaN without a forecast."""


@dataclass(kw_only=True)
class Controller:
    """One policy at work on one series with one boot delay.

    Args:
        outlook: The model's view of the series.
        policy: What to order by.
        config: Prices.
        delay: Steps between an order and its arrival.
    """

    outlook: Outlook
    policy: PolicyConfig
    config: ScalingConfig
    delay: int
    ordered: float | None = None
    """Capacity last ordered."""
    move_price: float = _FIRST_MOVE_PRICE
    """Gain in price below which capacity is left as it is."""
    under_ratio: float = field(init=False)
    _wishes: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        self.under_ratio = self.policy.budget_ratio or 0.0
        step_s = self.outlook.demand.step_s
        self._wishes = deque(maxlen=1 + int(self.policy.scale_in_wait_s // step_s))
        per_day = DAY_S / step_s
        self._move_rate = self.policy.moves_per_day / per_day
        self._forget = 0.5 ** (1 / (_BUDGET_HALF_LIFE_DAYS * per_day))

    @property
    def view(self) -> SpanView | None:
        """The span that is planned for; None for a policy without forecast."""
        if self.policy.headroom_ratio > 0:
            return None
        return self.outlook.view(self.outlook.span_of(self.policy, self.delay))

    def learn(self, *, was_under: bool) -> None:
        """Take in whether demand was above the capacity that stood at the newest step."""
        self.under_ratio = self._forget * self.under_ratio + (1 - self._forget) * was_under

    def wish(self, t: int) -> Wish:
        """Return what the policy wants at origin t of the series."""
        newest = self.outlook.demand.value_T[t]
        view = self.view
        if view is None:
            capacity = (1 + self.policy.headroom_ratio) * newest
            return Wish(capacity=capacity, penalty=0.0, risk=float("nan"))
        row = t - view.begin
        place = self._place(view, row)
        capacity = max(view.capacity_TG[row, place], self.policy.floor_ratio * newest)
        return Wish(
            capacity=float(capacity),
            penalty=float(PENALTIES[place]),
            risk=float(view.risk_TG[row, place]),
        )

    def _place(self, view: SpanView, row: int) -> int:
        budget = self.policy.budget_ratio
        if budget is None:
            return int(np.abs(PENALTIES - self.config.prices.under_h_ratio).argmin())
        # Width above 1 counts a miss once a span; the budget is about steps, so it is stricter.
        place = choose(view.risk_TG[row], budget)
        factor = np.clip(np.exp(_BUDGET_GAIN * (self.under_ratio / budget - 1)), *_BUDGET_FACTORS)
        step = np.log(PENALTIES[1] / PENALTIES[0])
        moved = place + round(float(np.log(factor) / step))
        return int(np.clip(moved, 0, len(PENALTIES) - 1))

    def step(self, t: int) -> float:
        """Order at origin t and return the capacity ordered."""
        newest = self.outlook.demand.value_T[t]
        if not np.isfinite(newest):
            return self.ordered if self.ordered is not None else float("nan")
        wish = self.wish(t)
        self._wishes.append(wish.capacity)
        wanted = wish.capacity
        if self.ordered is not None and wanted < self.ordered:
            wanted = min(self.ordered, max(self._wishes))
        moved = self.ordered is None or self._worth_it(t, wanted, wish)
        if moved:
            self.ordered = wanted
        if self.policy.headroom_ratio == 0:
            step = _MOVE_STEP * (moved - self._move_rate)
            self.move_price = float(np.clip(self.move_price * np.exp(step), *_MOVE_PRICES))
        return float(self.ordered if self.ordered is not None else wanted)

    def _worth_it(self, t: int, wanted: float, wish: Wish) -> bool:
        ordered = self.ordered
        if ordered is None or wanted == ordered:
            return ordered is None
        view = self.view
        if view is None:
            return abs(wanted - ordered) > self.policy.tolerance_ratio * ordered
        if ordered < self.policy.floor_ratio * self.outlook.demand.value_T[t]:
            return True
        row = t - view.begin
        gain = view.odds.price(row, ordered, wish.penalty) - view.odds.price(
            row, wanted, wish.penalty
        )
        return bool(gain > self.move_price)


def run(controller: Controller, start: int, stop: int) -> Floats:
    """Let a controller work through steps start .. stop - 1, learning from each as it comes.

    Returns:
        The capacity that stands at each step of the series, NaN before the first order arrived.
    """
    value_T = controller.outlook.demand.value_T
    capacity_T = np.full(len(value_T) + controller.delay, np.nan)
    for t in range(start, stop):
        if np.isfinite(capacity_T[t]) and np.isfinite(value_T[t]):
            controller.learn(was_under=bool(value_T[t] > capacity_T[t]))
        capacity_T[t + controller.delay] = controller.step(t)
    return capacity_T[: len(value_T)]
