"""Turns forecasts into a plan: how urgent, how much to add, what it costs, what may go wrong.

Legend: P simulated paths, H steps ahead.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.capacity.answers import CapacityForecast, Cost, Need, Risk, Step
from novacron.models.capacity.config import CapacityConfig, MetricRule, Urgency
from novacron.models.capacity.crossing import Crossing, Level, crossing_of

Floats = NDArray[np.float64]

ACT_PROBABILITY: Final = 0.10
"""Below this probability of reaching the warning nothing is bought."""
_SHORT_DAYS: Final = 60
_ORDER: Final[tuple[Urgency, ...]] = ("urgent", "high", "medium", "low", "none")


def make_need(
    forecast: CapacityForecast,
    path_PH: Floats,
    *,
    newest: float,
    rule: MetricRule,
    capacity: float | None,
    config: CapacityConfig,
) -> Need:
    """Judge one metric.

    Args:
        forecast: Of the metric.
        path_PH: Simulated courses over the same steps, in the same unit.
        newest: Last known value.
        rule: Thresholds and price.
        capacity: Units there are now (processors, GB, Gbit/s), None where not known.
        config: Urgency, headroom.
    """
    thresholds: tuple[tuple[Level, float | None], ...] = (
        ("warning", rule.warning),
        ("critical", rule.critical),
    )
    step_s = round(forecast.horizon_s[0])
    crossings = tuple(
        crossing_of(
            path_PH, level=level, threshold=value, newest=newest, made_at=forecast.made_at,
            step_s=step_s,
        )
        for level, value in thresholds
        if value is not None
    )  # fmt: skip
    peak_P = path_PH.max(axis=1)
    peak_upper = float(np.quantile(peak_P, 0.9))
    urgency = urgency_of(crossings, config)
    return Need(
        forecast=forecast,
        newest=newest,
        peak=max(forecast.value),
        peak_upper=peak_upper,
        crossings=crossings,
        urgency=urgency,
        cost=cost_of(
            peak_upper, float(np.median(peak_P)), crossings, rule, capacity, config.headroom_ratio
        ),
        recommended_action=_action(urgency, rule, crossings),
    )


def urgency_of(crossings: Sequence[Crossing], config: CapacityConfig) -> Urgency:
    """Return how soon to act: by the 10 % quantile of the date at which the warning is reached.

    `none`: no threshold, or less than 1 % probable; `low`: less than 10 % probable.
    """
    warning = next((one for one in crossings if one.level == "warning"), None)
    if warning is None or warning.probability < 0.01:
        return "none"
    soonest = warning.days[0.1]
    if warning.already:
        return "urgent"
    if soonest is None:
        return "low"
    limits: tuple[tuple[float, Urgency], ...] = (
        (config.urgent_days, "urgent"),
        (config.high_days, "high"),
        (config.medium_days, "medium"),
    )
    return next((urgency for limit, urgency in limits if soonest <= limit), "low")


def cost_of(
    peak_upper: float,
    peak_median: float,
    crossings: Sequence[Crossing],
    rule: MetricRule,
    capacity: float | None,
    headroom_ratio: float,
) -> Cost:
    """Return what to add so that the peak stays below warning / (1 + headroom), and its price.

    The load is shared by all units: a ratio u on C units is u C / C' on C'. So C' = C u / target,
    and the cost grows with the deficit. Units are whole.
    """
    chance = max((one.probability for one in crossings if one.level == "warning"), default=0.0)

    def told(units: float | None, expected: float | None, why: str) -> Cost:
        return Cost(
            group=rule.cost_group,
            add_units=units,
            add_units_expected=expected,
            capacity_unit=rule.capacity_unit,
            cost=None if units is None else units * rule.unit_price,
            cost_expected=None if expected is None else expected * rule.unit_price,
            why=why,
        )

    if rule.warning is None:
        return told(None, None, "no threshold is set for this metric")
    if rule.cost_group == "none":
        return told(None, None, "no price is set for this metric")
    if chance < ACT_PROBABILITY:
        return told(0.0, 0.0, f"the warning is reached with a probability of {chance:.0%} only")
    if capacity is None:
        return told(None, None, "the present capacity is not known: give it in `capacities`")
    target = rule.warning / (1 + headroom_ratio)

    def units(peak: float) -> float:
        return float(max(math.ceil(capacity * (peak / target - 1) - 1e-9), 0))

    why = f"keeps the peak below {target:.3g} {rule.unit}, {headroom_ratio:.0%} under the warning"
    return told(units(peak_upper), units(peak_median), why)


def total_cost(needs: Mapping[str, Need]) -> dict[str, float]:
    """Return the known costs by group and in all."""
    groups = {"compute": 0.0, "storage": 0.0, "network": 0.0}
    expected = 0.0
    for need in needs.values():
        if need.cost.group in groups and need.cost.cost is not None:
            groups[need.cost.group] += need.cost.cost
            expected += need.cost.cost_expected or 0.0
    return groups | {"total": sum(groups.values()), "total_expected": expected}


def timeline_of(needs: Mapping[str, Need]) -> tuple[Step, ...]:
    """Return every threshold that may be reached, the soonest first."""
    steps = []
    for metric, need in needs.items():
        for one in need.crossings:
            soonest = one.dates[0.1]
            if soonest is not None:
                steps.append(
                    Step(
                        by=soonest, expected=one.dates[0.5], metric=metric, level=one.level,
                        probability=one.probability, urgency=need.urgency,
                        action=need.recommended_action,
                    )
                )  # fmt: skip
    return tuple(sorted(steps, key=lambda step: (step.by, step.metric, step.level)))


def risks_of(needs: Mapping[str, Need], history_days: Mapping[str, float]) -> tuple[Risk, ...]:
    """Return what may go wrong, the likeliest first; what has no probability comes last."""
    risks = []
    for metric, need in needs.items():
        risks += _risks_of_one(metric, need, history_days[metric])
    soon = [metric for metric, need in needs.items() if need.urgency in ("urgent", "high")]
    if len(soon) > 1:
        risks.append(
            Risk(
                kind="several_at_once",
                metric=", ".join(soon),
                text="Several resources run short together: one cause, or one purchase, may do.",
                probability=None,
            )
        )
    return tuple(sorted(risks, key=lambda risk: -(risk.probability or 0.0)))


def _risks_of_one(metric: str, need: Need, days: float) -> list[Risk]:
    forecast = need.forecast
    found: list[tuple[str, str, float | None]] = []
    for one in need.crossings:
        if one.level == "critical" and one.probability >= 0.01:
            text = f"The critical value {one.threshold:g} {forecast.unit} is reached."
            found.append(("critical_reached", text, one.probability))
    if forecast.fallback:
        text = f"{forecast.fallback} answered: the history holds nothing to learn from."
        found.append(("fallback", text, None))
    if days < _SHORT_DAYS:
        text = f"{days:.0f} days of history: seasons longer than a week are unknown."
        found.append(("short_history", text, None))
    if forecast.notes.get("steps_left_out"):
        left = forecast.notes["steps_left_out"]
        text = f"The level changed: {left} steps before that were left out. It may change again."
        found.append(("level_shift", text, None))
    if forecast.notes.get("gaps"):
        text = f"{forecast.notes['gaps']} steps of the history are missing."
        found.append(("gaps", text, None))
    if forecast.members_left_out:
        text = "Members without an answer: " + ", ".join(forecast.members_left_out) + "."
        found.append(("members_left_out", text, None))
    return [Risk(kind=kind, metric=metric, text=text, probability=p) for kind, text, p in found]


def recommendations_of(needs: Mapping[str, Need]) -> tuple[str, ...]:
    """Return one sentence per metric that needs one, the most urgent first."""
    ranked = sorted(needs.items(), key=lambda item: _ORDER.index(item[1].urgency))
    return tuple(
        f"{metric}: {need.recommended_action}"
        for metric, need in ranked
        if need.urgency not in ("none", "low")
    )


def _action(urgency: Urgency, rule: MetricRule, crossings: Sequence[Crossing]) -> str:
    if urgency == "none":
        return "Nothing to do within the horizon."
    warning = next(one for one in crossings if one.level == "warning")
    if warning.already:
        return f"[URGENT] Above the warning of {warning.threshold:g} {rule.unit}. {rule.action}"
    chance = f"{warning.probability:.0%} to reach {warning.threshold:g} {rule.unit}"
    if urgency == "low":
        return f"[LOW] {chance} within the horizon: watch."
    soonest = warning.dates[0.1]
    when = "" if soonest is None else f", 10 % before {soonest:%Y-%m-%d}"
    return f"[{urgency.upper()}] {chance}{when}. {rule.action}"
