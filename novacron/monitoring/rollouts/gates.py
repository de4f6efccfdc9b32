"""The gates of a rollout: what the counts of a stage say for and against the tried version.

A gate is `bad` only when the measured figure is beyond its limit and the evidence says that this is
no chance; it is `good` when the figure is within its limit; in between it holds the stage where it
is until more was counted.
"""

import math
from dataclasses import dataclass, field
from typing import Final, Literal

from novacron.monitoring.rollouts.counts import ArmCounts, bins_of_ratio
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.sequential import Contrast, Excess, mean_evidence

Verdict = Literal["good", "hold", "bad"]

KNOWN_ANSWERS: Final = 50
"""Answers of the stable version before its 95th percentile is taken as known."""
KNOWN_OUTCOMES: Final = 30
_SLOW_SHARE: Final = 0.05
_ALONE_TIMES: Final = 1.5
_MOST: Final = 0.9
_MARGIN: Final = 1.2
"""How many times the stable version's rate, where that is beyond the limit too, is still the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What one gate says."""

    gate: str
    verdict: Verdict
    tried: float
    stable: float | None
    limit: float
    log_evidence: float
    """Against the version; at `log_needed` it is beyond chance."""
    log_needed: float
    sentence: str


@dataclass(slots=True)
class Evidence:
    """The tests of one version in one stage."""

    errors: Excess
    errors_beyond_stable: Contrast
    fallbacks: Excess
    fallbacks_beyond_stable: Contrast
    differences: Excess
    slowness: Contrast
    slow_bin: int | None = None
    """Bin of the stable version's 95th percentile as it was known before the next counts."""
    seen: ArmCounts = field(default_factory=ArmCounts)


def new_evidence(plan: RolloutPlan, before: ArmCounts | None = None) -> Evidence:
    """Return tests that have seen nothing.

    Args:
        plan: For the limits.
        before: What the stable version had done until it answered nobody any more; where it was
            beyond a limit itself, half as much again is the limit of the version that is alone now.
    """
    beyond = before or ArmCounts()
    errors = max(plan.error_rate_limit, min(_ALONE_TIMES * beyond.error_rate, _MOST))
    fallbacks = max(plan.fallback_limit, min(_ALONE_TIMES * beyond.fallback_ratio, _MOST))
    return Evidence(
        errors=Excess(limit=errors),
        errors_beyond_stable=Contrast(),
        fallbacks=Excess(limit=fallbacks),
        fallbacks_beyond_stable=Contrast(),
        differences=Excess(limit=plan.difference_limit),
        slowness=Contrast(tempers=True),
    )


def observe(
    evidence: Evidence, tried: ArmCounts, stable: ArmCounts, plan: RolloutPlan, so_far: ArmCounts
) -> None:
    """Show the tests what was counted since the last time.

    Args:
        evidence: The tests.
        tried: New counts of the tried version.
        stable: New counts of the stable version, over the same time.
        plan: For the limits.
        so_far: All counts of the stable version that came before these.
    """
    evidence.errors.add(tried.errors, tried.requests)
    evidence.errors_beyond_stable.add(
        (tried.errors, tried.requests), (stable.errors, stable.requests)
    )
    evidence.fallbacks.add(tried.fallback_rows, tried.rows)
    evidence.fallbacks_beyond_stable.add(
        (tried.fallback_rows, tried.rows), (stable.fallback_rows, stable.rows)
    )
    evidence.differences.add(tried.differing, tried.compared)
    if sum(so_far.latency.values()) >= KNOWN_ANSWERS:
        # Fixed before the new counts were seen, so that they cannot choose it.
        evidence.slow_bin = so_far.quantile_bin(1 - _SLOW_SHARE)
    if evidence.slow_bin is not None:
        margin = bins_of_ratio(plan.p95_ratio_limit)
        evidence.slowness.add(
            tried.slower_than(evidence.slow_bin + margin), stable.slower_than(evidence.slow_bin)
        )


def read_gates(
    evidence: Evidence,
    tried: ArmCounts,
    stable: ArmCounts,
    plan: RolloutPlan,
    *,
    alone: bool,
) -> list[Reading]:
    """Read every gate.

    Args:
        evidence: The tests of this stage.
        tried: All counts of the tried version in this stage.
        stable: Those of the stable one.
        plan: For the limits.
        alone: Whether the tried version answers everybody: nothing is left to compare it with but
            the answers.
    """
    needed = math.log(gate_count(plan) * stage_count(plan) / plan.alpha)
    readings = [
        _rate(
            "errors",
            (tried.error_rate, stable.error_rate if stable.requests else None),
            evidence.errors.limit,
            _both(evidence.errors, evidence.errors_beyond_stable, alone=alone),
            needed,
        ),
        _rate(
            "fallbacks",
            (tried.fallback_ratio, stable.fallback_ratio if stable.rows else None),
            evidence.fallbacks.limit,
            _both(evidence.fallbacks, evidence.fallbacks_beyond_stable, alone=alone),
            needed,
        ),
        _latency(evidence, tried, stable, plan, needed, alone=alone),
    ]
    if plan.compare_share:
        readings.append(_answers(evidence, tried, plan, needed))
    if tried.outcomes >= KNOWN_OUTCOMES and stable.outcomes >= KNOWN_OUTCOMES:
        readings.append(_outcomes(tried, stable, plan, needed))
    return readings


def gate_count(plan: RolloutPlan) -> int:
    """Return among how many gates the error is shared out."""
    return 5 if plan.compare_share else 4


def stage_count(plan: RolloutPlan) -> int:
    """Return among how many stages the error is shared out."""
    return len(plan.stages) if plan.mode == "canary" else 1


def _both(excess: Excess, contrast: Contrast, *, alone: bool) -> float:
    """Return the weaker of two pieces of evidence: a version must be beyond the limit and worse than
    the stable one, which may be beyond it too.
    """  # noqa: D205  one sentence
    if alone:
        return excess.log_value
    return min(excess.log_value, contrast.log_value)


def _rate(
    gate: str,
    rates: tuple[float, float | None],
    limit: float,
    log_evidence: float,
    log_needed: float,
) -> Reading:
    tried, stable = rates
    is_beyond = tried > limit and tried > _MARGIN * (stable or 0.0)
    verdict: Verdict = "good"
    if is_beyond:
        verdict = "bad" if log_evidence >= log_needed else "hold"
    beside = "" if stable is None else f", the stable version {stable:.2%}"
    return Reading(
        gate=gate,
        verdict=verdict,
        tried=tried,
        stable=stable,
        limit=limit,
        log_evidence=log_evidence,
        log_needed=log_needed,
        sentence=f"{gate} {tried:.2%}{beside}; limit {limit:.2%}",
    )


def _latency(
    evidence: Evidence,
    tried: ArmCounts,
    stable: ArmCounts,
    plan: RolloutPlan,
    log_needed: float,
    *,
    alone: bool,
) -> Reading:
    mine, theirs = tried.quantile_bin(0.95), stable.quantile_bin(0.95)
    log_evidence = evidence.slowness.log_value
    verdict: Verdict = "hold"
    ratio = 0.0
    sentence = "latency: too few answers to compare"
    if mine is not None and theirs is not None and not alone:
        ratio = plan_ratio(mine - theirs)
        is_beyond = mine - theirs > bins_of_ratio(plan.p95_ratio_limit)
        is_known = sum(stable.latency.values()) >= KNOWN_ANSWERS
        if not is_beyond:
            verdict = "good" if is_known else "hold"
        elif log_evidence >= log_needed:
            verdict = "bad"
        sentence = (
            f"latency: p95 {1e3 * (tried.p95_s() or 0):.2f} ms, {ratio:.2f} times the stable "
            f"version's; limit {plan.p95_ratio_limit:g} times"
        )
    elif alone:
        verdict, sentence = "good", "latency: nothing left to compare it with"
    return Reading(
        gate="latency",
        verdict=verdict,
        tried=ratio,
        stable=1.0,
        limit=plan.p95_ratio_limit,
        log_evidence=log_evidence,
        log_needed=log_needed,
        sentence=sentence,
    )


def plan_ratio(bins: int) -> float:
    """Return the factor that a number of bins stands for."""
    return math.exp(bins * math.log(1.2) / bins_of_ratio(1.2))


def _answers(
    evidence: Evidence, tried: ArmCounts, plan: RolloutPlan, log_needed: float
) -> Reading:
    log_evidence = evidence.differences.log_value
    verdict: Verdict = "good"
    if tried.differing_ratio > plan.difference_limit:
        verdict = "bad" if log_evidence >= log_needed else "hold"
    elif tried.compared < plan.min_compared:
        verdict = "hold"
    return Reading(
        gate="answers",
        verdict=verdict,
        tried=tried.differing_ratio,
        stable=None,
        limit=plan.difference_limit,
        log_evidence=log_evidence,
        log_needed=log_needed,
        sentence=(
            f"answers: {tried.differing} of {tried.compared} are more than "
            f"{plan.tolerance_ratio:.0%} from the stable version's; limit "
            f"{plan.difference_limit:.1%}"
        ),
    )


def _outcomes(
    tried: ArmCounts, stable: ArmCounts, plan: RolloutPlan, log_needed: float
) -> Reading:
    mine, my_variance = _mean(tried)
    theirs, their_variance = _mean(stable)
    by = plan.outcome_ratio_limit
    worse_by = mine - by * theirs
    variance = my_variance + by * by * their_variance
    log_evidence = 0.0
    if worse_by > 0:
        log_evidence = mean_evidence(worse_by, variance, 0.1 * abs(theirs) or worse_by)
    verdict: Verdict = "good"
    if worse_by > 0:
        verdict = "bad" if log_evidence >= log_needed else "hold"
    return Reading(
        gate="outcomes",
        verdict=verdict,
        tried=mine,
        stable=theirs,
        limit=by * theirs,
        log_evidence=log_evidence,
        log_needed=log_needed,
        sentence=(
            f"outcomes: mean loss {mine:.4g} over {tried.outcomes}, the stable version's "
            f"{theirs:.4g} over {stable.outcomes}; limit {by:g} times"
        ),
    )


def _mean(counts: ArmCounts) -> tuple[float, float]:
    mean = counts.loss_sum / counts.outcomes
    spread = max(counts.loss_squares / counts.outcomes - mean * mean, 0.0)
    return mean, spread / (counts.outcomes - 1)
