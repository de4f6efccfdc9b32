"""One answer about one series: forecast of the hour, capacity to order, risk and cost of both.

Where the model cannot answer, a named rule does: `constant_window` for samples that never move,
`ewma_band` for less than a day of history.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.scaling.config import HORIZON_S, PolicyName
from novacron.models.scaling.controller import Controller, run
from novacron.models.scaling.demand import Demand
from novacron.models.scaling.deployment import Deployment, Move, plan_move
from novacron.models.scaling.features import Frame, base_frame, span_features
from novacron.models.scaling.fitted import Fitted
from novacron.models.scaling.outlook import Outlook, delay_steps
from novacron.models.scaling.risk import Odds, odds_of

Floats = NDArray[np.float64]

URGENCY_HALF_LIFE_S: Final = 900.0
_SETTLE_STEPS: Final = 288
_FALLBACK_HEADROOM: Final = 0.4
_BAND_HALF_LIFE: Final = 3.0
_LEAST: Final = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What one asks: policy, what stands now, how long an order takes."""

    policy: PolicyName
    deployment: Deployment
    boot_delay_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class HourAhead:
    """Demand of the hour ahead, step by step, with its interval."""

    value: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    horizon_s: tuple[float, ...]
    coverage: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What to do and why."""

    move: Move
    wanted_capacity: float
    """What the policy wants, before the limits of the deployment."""
    urgency: float
    under_risk_before: float
    """Chance that demand is above capacity when an order made now arrives, capacity as it is."""
    under_risk_after: float
    utilisation_before: float
    """Forecast demand at arrival over capacity."""
    utilisation_after: float
    penalty: float
    """Price of a short step that the margin was chosen with; 0 without a forecast."""
    forecast: HourAhead
    drivers: tuple[tuple[str, float], ...]
    """What moved the forecast at arrival most, with its part in the score."""
    fallback: str


def fallback_of(demand: Demand) -> str:
    """Return the rule that answers instead of the model, or an empty name."""
    if demand.is_constant:
        return "constant_window"
    return "ewma_band" if len(demand) < demand.day_steps else ""


def forecast_hour(fitted: Fitted, demand: Demand) -> HourAhead:
    """Forecast the hour after the newest sample, by the model or by the rule that stands in."""
    rule = fallback_of(demand)
    return _band(fitted, demand) if rule else _by_model(fitted, base_frame(demand), demand)[0]


def _by_model(fitted: Fitted, frame: Frame, demand: Demand) -> tuple[HourAhead, Odds]:
    """Return the ensemble's forecast within the density's interval, and the odds of every step."""
    steps = HORIZON_S // demand.step_s
    x_HF = np.stack([span_features(frame, first, 1)[-1] for first in range(1, steps + 1)])
    tail = (1 - fitted.config.coverage) / 2
    density = fitted.density
    p_HK = density.probabilities(x_HF)
    score_HL = density.quantiles(p_HK, np.array([tail, 0.5, 1 - tail]))
    point_H = fitted.members.combine(x_HF, score_HL[:, 1])
    score_HL[:, 1] = np.clip(point_H, score_HL[:, 0], score_HL[:, 2])
    newest_H = np.full(steps, len(demand) - 1)
    demand_HL = frame.demand(score_HL, newest_H)
    hour = HourAhead(
        value=tuple(demand_HL[:, 1].tolist()),
        lower=tuple(demand_HL[:, 0].tolist()),
        upper=tuple(demand_HL[:, 2].tolist()),
        horizon_s=_horizon(demand),
        coverage=fitted.config.coverage,
    )
    return hour, odds_of(frame, newest_H, p_HK, density.edge_E, density.mean_K)


def _horizon(demand: Demand) -> tuple[float, ...]:
    steps = HORIZON_S // demand.step_s
    return tuple(float(demand.step_s * ahead) for ahead in range(1, steps + 1))


def advise(fitted: Fitted, demand: Demand, asked: Asked, *, rule: str = "") -> Advice:
    """Answer for the newest sample of a series.

    Args:
        fitted: The model.
        demand: The series.
        asked: Policy, deployment and delay.
        rule: Answers although the model could: `ewma_band`. By default `fallback_of` says.
    """
    rule = fallback_of(demand) or rule
    if rule:
        return _by_rule(fitted, demand, asked, rule)
    now = asked.deployment
    reach = round(fitted.config.risk_days * demand.day_steps) + _SETTLE_STEPS
    outlook = fitted.outlook(demand, begin=max(0, len(demand) - reach))
    controller = _settled(fitted, outlook, asked)
    controller.ordered = now.capacity
    t = len(demand) - 1
    penalty = controller.wish(t).penalty
    wanted = controller.step(t)
    move = plan_move(now, wanted)
    forecast, odds = _by_model(fitted, outlook.frame, demand)
    first = min(controller.delay, len(odds))
    arrival = forecast.value[first - 1]
    x_F = span_features(outlook.frame, first, 1)[-1]
    return Advice(
        move=move,
        wanted_capacity=wanted,
        urgency=_urgency(odds, now.capacity, demand.step_s),
        under_risk_before=odds.at(first - 1, now.capacity)[1],
        under_risk_after=odds.at(first - 1, move.capacity)[1],
        utilisation_before=arrival / now.capacity,
        utilisation_after=arrival / max(move.capacity, _LEAST),
        penalty=penalty,
        forecast=forecast,
        drivers=tuple(fitted.members.reasons(x_F)),
        fallback="",
    )


def _settled(fitted: Fitted, outlook: Outlook, asked: Asked) -> Controller:
    """Return a controller that worked through the last day, so that its feedbacks are at work."""
    demand = outlook.demand
    controller = Controller(
        outlook=outlook,
        policy=fitted.config.policies[asked.policy],
        config=fitted.config,
        delay=delay_steps(asked.boot_delay_s, demand.step_s),
    )
    last = len(demand) - 1
    run(controller, max(outlook.begin, last - _SETTLE_STEPS), last)
    return controller


def _urgency(odds: Odds, capacity: float, step_s: int) -> float:
    """Return the highest chance of a shortage in the hour, halved for every 15 min it is away."""
    chance_H = np.array([odds.at(place, capacity)[1] for place in range(len(odds))])
    away_H = 0.5 ** (np.arange(len(odds)) * step_s / URGENCY_HALF_LIFE_S)
    return float((chance_H * away_H).max())


def _band(fitted: Fitted, demand: Demand) -> HourAhead:
    """Return the level with the spread of the series' own changes; flat where it never moved."""
    value_T = demand.value_T[np.isfinite(demand.value_T)]
    keep = 0.5 ** (1 / _BAND_HALF_LIFE)
    level = float(np.average(value_T, weights=keep ** np.arange(len(value_T))[::-1]))
    tail = (1 - fitted.config.coverage) / 2
    horizon_s = _horizon(demand)
    lower, upper = [], []
    for ahead in range(1, len(horizon_s) + 1):
        lag = min(ahead, len(value_T) // 2)
        change = value_T[lag:] - value_T[:-lag]
        lower.append(max(0.0, level + min(0.0, float(np.quantile(change, tail)))))
        upper.append(level + max(0.0, float(np.quantile(change, 1 - tail))))
    return HourAhead(
        value=(level,) * len(horizon_s),
        lower=tuple(lower),
        upper=tuple(upper),
        horizon_s=horizon_s,
        coverage=fitted.config.coverage,
    )


def _by_rule(fitted: Fitted, demand: Demand, asked: Asked, rule: str) -> Advice:
    """Answer without the model: hold what the last hour needed and a margin, take nothing away."""
    forecast, now = _band(fitted, demand), asked.deployment
    recent = demand.value_T[-len(forecast.value) :]
    highest, level = float(np.nanmax(recent)), forecast.value[0]
    if rule == "constant_window":
        wanted = max(highest, _LEAST)
    else:
        # Too little is known to take capacity away.
        wanted = max((1 + _FALLBACK_HEADROOM) * highest, now.capacity)
    move = plan_move(now, wanted)
    return Advice(
        move=move,
        wanted_capacity=wanted,
        urgency=float(forecast.upper[0] > now.capacity),
        under_risk_before=float(level > now.capacity),
        under_risk_after=float(level > move.capacity),
        utilisation_before=level / now.capacity,
        utilisation_after=level / max(move.capacity, _LEAST),
        penalty=0.0,
        forecast=forecast,
        drivers=(),
        fallback=rule,
    )
