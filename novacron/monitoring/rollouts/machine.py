"""Moves a rollout on by what was counted: pure, so that a clock may be simulated.

Back at any look, on the evidence of the gates; on only at the end of a window with enough requests.
A window without traffic does neither.
"""

import math
from collections.abc import Mapping

from novacron.monitoring.rollouts.counts import ArmCounts, StageCounts
from novacron.monitoring.rollouts.gates import (
    Reading,
    new_evidence,
    observe,
    read_gates,
)
from novacron.monitoring.rollouts.sequential import (
    always_valid_interval,
    grouped_mean,
    mean_evidence,
)
from novacron.monitoring.rollouts.state import Decision, Rollout

MIN_GROUPS = 16
"""Groups of keys that each arm of an A/B test must have seen before it is judged."""


def advance(rollout: Rollout, totals: Mapping[str, StageCounts], now_s: float) -> list[Decision]:
    """Take in what the replicas counted, and decide.

    Args:
        rollout: Changed in place.
        totals: Replica to its counts since the start of the rollout. One that is gone keeps its last.
        now_s: Seconds since 1970.

    Returns:
        What was decided at this look.
    """
    before = len(rollout.decisions)
    if rollout.status == "running":
        _take_in(rollout, _news(rollout, totals))
        _judge(rollout, now_s)
    else:
        _news(rollout, totals)
    return rollout.decisions[before:] if len(rollout.decisions) > before else []


def fail(rollout: Rollout, why: str, now_s: float, who: str = "the gates") -> Decision:
    """Take all traffic back to the stable version."""
    rollout.status = "rolled_back"
    return rollout.decide(Decision(at_s=now_s, what="roll_back", why=why, who=who))


def abort(rollout: Rollout, why: str, now_s: float, who: str) -> Decision:
    """End a rollout because somebody says so."""
    rollout.status = "aborted"
    return rollout.decide(
        Decision(at_s=now_s, what="abort", why=why or "no reason given", who=who)
    )


def pass_on(rollout: Rollout, winner: str, why: str, now_s: float, who: str) -> Decision:
    """Let a version take over: all traffic is its own, and the alias is to follow."""
    rollout.status, rollout.winner = "promoting", winner
    rollout.tried = (winner, *(one for one in rollout.tried if one != winner))
    return rollout.decide(Decision(at_s=now_s, what="promote", why=why, who=who))


def _news(rollout: Rollout, totals: Mapping[str, StageCounts]) -> dict[str, ArmCounts]:
    """Return what is new in the present stage, by version; all stages count as exposure."""
    new: dict[str, ArmCounts] = {}
    for replica, stages in totals.items():
        known = rollout.seen.setdefault(replica, {})
        for stage, arms in stages.items():
            earlier = known.setdefault(stage, {})
            for version, counts in arms.items():
                fresh = counts.since(earlier.get(version))
                earlier[version] = counts.copy()
                if fresh.requests:
                    answered = rollout.answered.get(version, 0)
                    rollout.answered[version] = answered + fresh.requests
                if stage == rollout.stage:
                    new.setdefault(version, ArmCounts()).add(fresh)
    return new


def _take_in(rollout: Rollout, new: Mapping[str, ArmCounts]) -> None:
    stable = new.get(rollout.stable, ArmCounts())
    so_far = rollout.stage_counts.setdefault(rollout.stable, ArmCounts())
    before = rollout.last_stage.get(rollout.stable) if _is_alone(rollout) else None
    for version in rollout.tried:
        evidence = rollout.evidence.setdefault(version, new_evidence(rollout.plan, before))
        tried = new.get(version, ArmCounts())
        observe(evidence, tried, stable, rollout.plan, so_far)
        rollout.stage_counts.setdefault(version, ArmCounts()).add(tried)
    so_far.add(stable)


def _judge(rollout: Rollout, now_s: float) -> None:
    rollout.window_began_s = rollout.window_began_s or now_s
    said = {version: _read(rollout, version) for version in rollout.tried}
    rollout.readings = [
        f"{reading.verdict}: {reading.sentence}; evidence {_shown(reading)}"
        for readings in said.values()
        for reading in readings
    ]
    for version, readings in said.items():
        bad = [reading for reading in readings if reading.verdict == "bad"]
        if bad:
            reasons = "; ".join(f"{one.sentence} (evidence {_shown(one)})" for one in bad)
            fail(rollout, f"version {version}: {reasons}", now_s)
            return
    if rollout.plan.mode == "ab":
        _compare(rollout, now_s)
    elif _window_is_over(rollout, now_s):
        _close_window(rollout, said[rollout.tried[0]], now_s)


def _read(rollout: Rollout, version: str) -> list[Reading]:
    counts = rollout.stage_counts
    return read_gates(
        rollout.evidence[version],
        counts[version],
        counts[rollout.stable],
        rollout.plan,
        alone=_is_alone(rollout),
    )


def _is_alone(rollout: Rollout) -> bool:
    return rollout.plan.mode == "canary" and rollout.plan.stages[rollout.stage] >= 1


def _shown(reading: Reading) -> str:
    ratio = math.exp(min(max(reading.log_evidence, -50.0), 50.0))
    return f"{ratio:.3g} of {math.exp(reading.log_needed):.3g}"


def _window_is_over(rollout: Rollout, now_s: float) -> bool:
    # Each window wants its own requests: those of a held stage add up.
    wanted = rollout.plan.min_requests * (rollout.stage_windows + 1)
    enough = rollout.stage_counts[rollout.tried[0]].requests >= wanted
    return enough and now_s - rollout.window_began_s >= rollout.plan.window_s


def _close_window(rollout: Rollout, readings: list[Reading], now_s: float) -> None:
    rollout.window += 1
    rollout.stage_windows += 1
    rollout.window_began_s = now_s
    held = [reading.sentence for reading in readings if reading.verdict == "hold"]
    if held:
        rollout.good_windows = 0
        if rollout.stage_windows >= rollout.plan.max_windows:
            reason = f"not shown good in {rollout.stage_windows} windows: {'; '.join(held)}"
            fail(rollout, reason, now_s)
            return
        rollout.decide(Decision(at_s=now_s, what="hold", why="; ".join(held)))
        return
    rollout.good_windows += 1
    why = "; ".join(reading.sentence for reading in readings)
    if rollout.good_windows < rollout.plan.windows:
        rollout.decide(Decision(at_s=now_s, what="window", why=why))
        return
    last = len(rollout.plan.stages) - 1 if rollout.plan.mode == "canary" else 0
    if rollout.stage < last:
        _next_stage(rollout, why, now_s)
    elif rollout.plan.mode == "shadow":
        rollout.status = "finished"
        rollout.decide(Decision(at_s=now_s, what="finish", why=why))
    elif rollout.plan.promote:
        pass_on(rollout, rollout.tried[0], why, now_s, "the gates")
    else:
        rollout.status = "passed"
        rollout.decide(Decision(at_s=now_s, what="passed", why=why))


def _next_stage(rollout: Rollout, why: str, now_s: float) -> None:
    rollout.stage += 1
    rollout.stage_windows = rollout.good_windows = 0
    rollout.last_stage, rollout.stage_counts = rollout.stage_counts, {}
    # Good counts of a small share must not outweigh bad ones of a larger.
    rollout.evidence = {}
    rollout.decide(Decision(at_s=now_s, what="stage", why=why))


def _compare(rollout: Rollout, now_s: float) -> None:
    """Judge an A/B test by groups of keys; see `sequential.mean_evidence`."""
    plan, counts = rollout.plan, rollout.stage_counts
    base, base_variance = grouped_mean(*_groups(counts[rollout.stable]))
    arms = [counts[version] for version in (rollout.stable, *rollout.tried)]
    if any(len(one.unit_n) < MIN_GROUPS or one.requests < plan.min_requests for one in arms):
        return
    rollout.effect = rollout.effect or plan.effect_ratio * (abs(base) or 1.0)
    alpha = plan.alpha / len(rollout.tried)
    found: list[tuple[float, str, str]] = []
    for version in rollout.tried:
        mean, variance = grouped_mean(*_groups(counts[version]))
        difference, total = mean - base, variance + base_variance
        low, high = always_valid_interval(difference, total, rollout.effect, alpha)
        shown = (
            f"{plan.measure} of version {version} {mean:.5g}, of {rollout.stable} {base:.5g}: "
            f"difference {difference:.3g} in [{low:.3g}, {high:.3g}] at {1 - alpha:.1%}"
        )
        rollout.readings.append(shown)
        if mean_evidence(difference, total, rollout.effect) >= -math.log(alpha):
            found.append((difference, version, shown))
    better = min((one for one in found if one[0] < 0), default=None)
    if better is not None:
        _end_test(rollout, better[1], better[2], now_s)
    elif len(found) == len(rollout.tried):
        _end_test(rollout, rollout.stable, "; ".join(one[2] for one in found), now_s)
    elif sum(rollout.answered.values()) >= plan.max_requests:
        _end_test(rollout, "", f"no difference shown in {plan.max_requests} requests", now_s)


def _groups(counts: ArmCounts) -> tuple[dict[int, int], dict[int, float]]:
    return counts.unit_n, counts.unit_sum


def _end_test(rollout: Rollout, winner: str, why: str, now_s: float) -> None:
    rollout.winner = winner
    if winner and winner != rollout.stable and rollout.plan.promote:
        pass_on(rollout, winner, why, now_s, "the test")
        return
    rollout.status = "finished"
    rollout.decide(Decision(at_s=now_s, what="finish", why=why, who="the test"))
