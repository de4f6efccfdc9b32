"""Puts answers together: a forecast or a decision with its provenance."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from novacron.models.scaling.advice import Advice, HourAhead
from novacron.models.scaling.answers import (
    CostImpact,
    DemandForecast,
    PerformanceImpact,
    ScalingDecision,
)
from novacron.models.scaling.config import PolicyName, Prices
from novacron.models.scaling.demand import Demand
from novacron.models.scaling.deployment import Deployment
from novacron.models.scaling.wording import migration_plan, reasons_of, rollback_plan

MODEL_NAME = "scaling"


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What was asked about what, and by which model it is answered."""

    demand: Demand
    resource: str
    entity_id: str
    policy: PolicyName
    delay_s: float
    made_at: datetime
    model_version: str
    features_hash: str
    prices: Prices


def to_forecast(context: Context, hour: HourAhead, fallback: str) -> DemandForecast:
    """Return the forecast of the hour with its provenance."""
    high, low = int(np.argmax(hour.value)), int(np.argmin(hour.value))
    return DemandForecast(
        entity_id=context.entity_id,
        target=context.resource,
        value=hour.value,
        lower=hour.lower,
        upper=hour.upper,
        coverage=hour.coverage,
        horizon_s=hour.horizon_s,
        peak=hour.value[high],
        peak_at_s=hour.horizon_s[high],
        valley=hour.value[low],
        valley_at_s=hour.horizon_s[low],
        fallback=fallback,
        filled=context.demand.filled,
        model_name=MODEL_NAME,
        model_version=context.model_version,
        features_hash=context.features_hash,
        made_at=context.made_at,
        valid_until=context.made_at + timedelta(seconds=context.demand.step_s),
    )


def to_decision(context: Context, advice: Advice, now: Deployment) -> ScalingDecision:
    """Return the decision with its price, its risk and the way back."""
    move = advice.move
    forecast = to_forecast(context, advice.forecast, advice.fallback)
    moved = move.node_id is not None
    migration = migration_plan(now, move) if moved else None
    acts = move.action != "no_action"
    copy_s = migration.expected_s if migration else 0.0
    return ScalingDecision(
        decision_id=_identity(context, now),
        entity_id=context.entity_id,
        resource=context.resource,
        policy=context.policy,
        action=move.action,
        current_capacity=now.capacity,
        target_capacity=move.capacity,
        target_size=move.size,
        target_instances=move.instances,
        target_node_id=move.node_id,
        wanted_capacity=advice.wanted_capacity,
        shortfall=move.shortfall,
        confidence=1.0 - advice.under_risk_after,
        urgency=min(1.0, advice.urgency),
        reasons=reasons_of(advice, now, context.policy, context.delay_s),
        cost=_cost(context, advice, now),
        performance=PerformanceImpact(
            under_risk_before=advice.under_risk_before,
            under_risk_after=advice.under_risk_after,
            utilisation_before=advice.utilisation_before,
            utilisation_after=advice.utilisation_after,
        ),
        execution_s=context.delay_s + copy_s if acts else 0.0,
        execute_at=context.made_at,
        migration=migration,
        rollback=rollback_plan(now, context.delay_s),
        forecast=forecast,
        fallback=advice.fallback,
        model_name=MODEL_NAME,
        model_version=context.model_version,
        features_hash=context.features_hash,
        made_at=context.made_at,
        horizon_s=forecast.horizon_s[-1],
        valid_until=forecast.valid_until,
    )


def _identity(context: Context, now: Deployment) -> str:
    parts = (
        context.entity_id,
        context.resource,
        context.policy,
        context.made_at.isoformat(),
        str(now),
        context.model_version,
    )
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def _cost(context: Context, advice: Advice, now: Deployment) -> CostImpact:
    prices, move = context.prices, advice.move
    level = max(advice.forecast.value[0], 0.0)
    short_h = prices.under_h_ratio * level * prices.capacity_unit_h
    started = max(0, move.instances - now.instances)
    return CostImpact(
        running_per_h=(move.capacity - now.capacity) * prices.capacity_unit_h,
        one_off=prices.start * started + prices.migration * (move.node_id is not None),
        under_penalty_per_h=short_h * (advice.under_risk_after - advice.under_risk_before),
    )
