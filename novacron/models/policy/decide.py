"""One decision without memory: what is advised for rows of telemetry, and why.

Legend: N rows, O numbers of an observation, D knobs.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from novacron.models.policy.advice import Advised, advise
from novacron.models.policy.config import Constraints, GuardConfig
from novacron.models.policy.guard import Decision, Guard
from novacron.models.policy.network import Float32
from novacron.models.policy.part import TargetPart
from novacron.params.encode import Float64
from novacron.params.observations import observation_spec


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """One answer: numbers of the knobs, what they are expected to gain, and the reason."""

    values_D: Float64
    shipped_D: Float64
    improvement_ratio: float = 0.0
    improvement_lower_ratio: float = 0.0
    improvement_upper_ratio: float = 0.0
    fallback: str = ""
    reason: str = ""
    evidence: str = "none"
    policy_version: str = ""
    expected: dict[str, float] = field(default_factory=dict)


def improvement(gain_nats: float) -> float:
    """Return the share by which the objective gets lower: 1 - exp(-gain)."""
    return float(-np.expm1(-gain_nats))


def defaults_because(
    fallback: str, reason: str, shipped_D: Float64, policy_version: str = ""
) -> Settled:
    """Return the shipped defaults, flagged with the reason."""
    return Settled(
        values_D=shipped_D.copy(),
        shipped_D=shipped_D,
        fallback=fallback,
        reason=reason,
        policy_version=policy_version,
    )


def obstacle(
    target: str, part: TargetPart | None, *, is_stale: bool, missing: str
) -> tuple[str, str] | None:
    """Name what keeps a policy from answering at all: (fallback, reason), or None."""
    if is_stale:
        return (
            "policy_table_changed",
            f"the parameter table or observation of {target} changed since the policy was trained",
        )
    if part is None:
        return "no_policy", f"no policy for {target} is available"
    if missing:
        return "telemetry_incomplete", f"not measured: {missing}"
    return None


def settle(  # noqa: PLR0913 - one argument for each thing a decision depends on
    target: str,
    part: TargetPart | None,
    observation_NO: Float32,
    shipped_ND: Float64,
    *,
    constraints: Constraints,
    guard: GuardConfig | None,
    is_incomplete_N: NDArray[np.bool_],
    is_stale: bool,
) -> list[Settled]:
    """Advise each row alone: no canary can run, so only a sure gain leaves the defaults.

    `guard` has margins instead of those that the part brings.
    """
    rows = range(len(observation_NO))
    stopped = [
        obstacle(
            target, part, is_stale=is_stale, missing="a channel" if is_incomplete_N[row] else ""
        )
        for row in rows
    ]
    free = [row for row in rows if stopped[row] is None]
    advised: dict[int, Advised] = {}
    if part is not None and free:
        found = advise(part, observation_NO[free], shipped_ND[free], constraints)
        advised = dict(zip(free, found, strict=True))
    group = observation_spec(target).group
    answers = []
    for row in rows:
        stop = stopped[row]
        if stop is not None or part is None:
            answers.append(defaults_because(*(stop or ("no_policy", "")), shipped_ND[row]))
            continue
        watcher = Guard(
            group=group, shipped_D=shipped_ND[row], config=guard or part.card.guard,
            needs_canary=False,
        )  # fmt: skip
        answers.append(from_guard(part, advised[row], watcher))
    return answers


def from_guard(part: TargetPart, advised: Advised, guard: Guard) -> Settled:
    """Let a guard decide about advice without a canary."""
    decision = guard.propose(advised.advice, advised.smaller)
    version = part.card.version
    if np.array_equal(decision.values_D, guard.shipped_D):
        return defaults_because(fallback_name(advised), decision.reason, guard.shipped_D, version)
    return expected_of(part, advised, guard, decision)


def expected_of(part: TargetPart, advised: Advised, guard: Guard, decision: Decision) -> Settled:
    """Return a decision with the gain that the model expects of what it puts in force."""
    expected = advised.expected_of(part, decision.values_D)
    gains = (expected[name] for name in ("gain_nats", "gain_lo_nats", "gain_hi_nats"))
    value, low, high = (improvement(gain) for gain in gains)
    return Settled(
        values_D=decision.values_D,
        shipped_D=guard.shipped_D,
        improvement_ratio=value,
        improvement_lower_ratio=low,
        improvement_upper_ratio=high,
        reason=decision.reason,
        evidence=part.card.evidence,
        policy_version=part.card.version,
        expected=expected,
    )


def fallback_name(advised: Advised) -> str:
    """Name why a policy's setting was not taken."""
    if advised.advice.is_unfamiliar:
        return "out_of_distribution"
    if advised.advice.broken_limits:
        return "constraints" if advised.limits_hold_by_default else "constraints_impossible"
    return "no_gain"
