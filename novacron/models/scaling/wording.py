"""Reasons, migration and rollback plans of one decision, in words with its numbers."""

from typing import Final

from novacron.models.scaling.advice import Advice
from novacron.models.scaling.answers import MigrationPlan, RollbackPlan
from novacron.models.scaling.config import PolicyName
from novacron.models.scaling.deployment import Deployment, Move

WATCH_S: Final = 1800.0
_COPY_OVERHEAD: Final = 1.3
"""Pages written while memory is copied are copied again."""


def migration_plan(now: Deployment, move: Move) -> MigrationPlan:
    """Return how an instance moves: what is copied, and how long that takes on the link."""
    copy_s = _COPY_OVERHEAD * now.memory_gb * 8000 / now.link_mbps
    return MigrationPlan(
        target_node_id=str(move.node_id),
        copy_gb=now.memory_gb,
        expected_s=copy_s,
        steps=(
            f"reserve {move.size:.4g} on {move.node_id}",
            f"copy {now.memory_gb:.4g} GB of memory while it runs, about {copy_s:.0f} s",
            "switch over, then release the source",
        ),
    )


def rollback_plan(now: Deployment, delay_s: float) -> RollbackPlan:
    """Return how to go back to what stands now."""
    return RollbackPlan(
        restore_size=now.size,
        restore_instances=now.instances,
        watch_s=WATCH_S + delay_s,
        triggers=(
            "demand above the new capacity at two samples in a row",
            "latency up by more than 20 % against the half hour before",
            "error ratio above 5 %",
        ),
    )


def reasons_of(
    advice: Advice, now: Deployment, policy: PolicyName, delay_s: float
) -> tuple[str, ...]:
    """Say why, about this decision alone."""
    hour, move = advice.forecast, advice.move
    found = [
        f"{policy}: demand of the next step is forecast at {hour.value[0]:.4g}, within {hour.lower[0]:.4g} .. "
        f"{hour.upper[0]:.4g} at {hour.coverage:.0%}, and up to {max(hour.upper):.4g} in the hour",
        f"an order takes {delay_s:.0f} s: with {now.capacity:.4g} the chance of a shortage then is "
        f"{advice.under_risk_before:.2%}, with {move.capacity:.4g} it is "
        f"{advice.under_risk_after:.2%}",
    ]
    if advice.penalty:
        found.append(
            f"the margin weighs a short step as {advice.penalty:.3g} times an excess equal to demand"
        )
    if advice.fallback:
        found.append(f"answered by the rule {advice.fallback}, not by the model")
    found += [
        f"{name} moved the forecast by {weight:+.2f} typical steps"
        for name, weight in advice.drivers
    ]
    if move.action == "no_action":
        found.append(
            "limits allow no change"
            if move.shortfall > 0
            else "a change would gain less than it is worth"
        )
    if move.shortfall > 0:
        found.append(f"limits leave {move.shortfall:.4g} of the wanted capacity out")
    return tuple(found)
