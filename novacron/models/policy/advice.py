"""Turns a policy's answer into advice that respects an operator's limits.

Legend: N rows, D knobs, S shares of the way from the shipped setting to the policy's.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from novacron.models.policy.config import Constraints
from novacron.models.policy.guard import Advice
from novacron.models.policy.network import Float32
from novacron.models.policy.part import Expected, TargetPart
from novacron.params.encode import Float64, encode_values

SHARES: Final = (1.0, 0.75, 0.5, 0.25)
"""Tried in this order of interest: all of the policy's change, or less of it."""

_MEMORY_KNOB: Final = "baseline_memory_mib"


@dataclass(frozen=True, kw_only=True, slots=True)
class Advised:
    """Advice for one row, and what other settings are expected to do there."""

    advice: Advice
    smaller: tuple[Advice, ...]
    """Steps from the defaults toward it that keep the limits as well, the longest first."""
    observation_O: Float32
    limits_hold_by_default: bool
    """Whether the shipped defaults themselves are expected to keep the operator's limits."""

    def expected_of(self, part: TargetPart, values_D: Float64) -> dict[str, float]:
        """Return what any setting is expected to do here, by the names of `EFFECTS`."""
        found = _expect(part, self.observation_O[None], values_D[None])
        return {name: float(getattr(found, name)[0]) for name in Expected.__dataclass_fields__}


def advise(
    part: TargetPart,
    observation_NO: Float32,
    shipped_ND: Float64,
    constraints: Constraints,
    extra_cost_N: Float64 | None = None,
) -> list[Advised]:
    """Return for each row the setting with the highest expected gain that keeps the limits.

    Smaller steps toward it come with it, for a guard that finds it too risky. Where none keeps
    the limits, the policy's own setting comes back with those it would break.

    Args:
        part: The learned part.
        observation_NO: Telemetry as the policy reads it.
        shipped_ND: What ships on each path.
        constraints: The operator's limits.
        extra_cost_N: Added to the log of each path's expected cost; see `Guard.extra_cost_nats`.
    """
    if extra_cost_N is None:
        extra_cost_N = np.zeros(len(observation_NO))
    proposal_ND = part.propose(observation_NO)
    options_SND = [
        within_memory(part, part.toward(shipped_ND, proposal_ND, share), shipped_ND, constraints)
        for share in SHARES
    ]
    expected_S = [_expect(part, observation_NO, values) for values in options_SND]
    by_default = _expect(part, observation_NO, shipped_ND)
    unfamiliar_N = part.is_unfamiliar(observation_NO)
    advised = []
    for row in range(len(observation_NO)):
        more = float(extra_cost_N[row])
        broken_S = [broken_limits(each, row, constraints, more) for each in expected_S]
        kept = [s for s, broken in enumerate(broken_S) if not broken]
        gains_S = [float(expected_S[share].gain_nats[row]) for share in kept]
        best = kept[int(np.argmax(gains_S))] if kept else 0
        ways = [
            Advice(
                values_D=options_SND[share][row],
                gain_lo_nats=float(expected_S[share].gain_lo_nats[row]),
                gain_nats=float(expected_S[share].gain_nats[row]),
                is_unfamiliar=bool(unfamiliar_N[row]),
                return_gain_nats=float(by_default.gain_nats[row]),
                broken_limits=() if kept else broken_S[0],
                cost_log_ratio=float(expected_S[share].cost_log_ratio[row]),
                max_cost_increase_ratio=constraints.max_cost_increase_ratio,
            )
            for share in (best, *(share for share in kept if share > best))
        ]
        advised.append(
            Advised(
                advice=ways[0],
                smaller=tuple(ways[1:]),
                observation_O=observation_NO[row],
                limits_hold_by_default=not broken_limits(by_default, row, constraints),
            )
        )
    return advised


def _expect(part: TargetPart, observation_NO: Float32, values_ND: Float64) -> Expected:
    cube = encode_values(part.spec.group, values_ND).astype(np.float32)
    return part.expect(observation_NO, cube)


def broken_limits(
    expected: Expected, row: int, constraints: Constraints, extra_cost_nats: float = 0.0
) -> tuple[str, ...]:
    """Name the limits that a setting is expected to break; what is not known breaks none.

    `extra_cost_nats` is by how much costs were measured to be above those expected.
    """
    busy = float(expected.cpu_busy_ratio[row])
    dearer = float(np.expm1(expected.cost_log_ratio[row] + extra_cost_nats))
    broken = []
    if busy > constraints.max_cpu_ratio:
        broken.append(f"processors below {constraints.max_cpu_ratio:g} (expected {busy:.2f})")
    if dearer > constraints.max_cost_increase_ratio:
        limit = constraints.max_cost_increase_ratio
        broken.append(f"cost increase below {limit:g} (expected {dearer:.2f})")
    return tuple(broken)


def within_memory(
    part: TargetPart, values_ND: Float64, shipped_ND: Float64, constraints: Constraints
) -> Float64:
    """Lower the memory a setting holds to what the host can spare over the defaults."""
    names = part.spec.group.names
    if _MEMORY_KNOB not in names:
        return values_ND
    column = names.index(_MEMORY_KNOB)
    spare_mib = 0.0
    if constraints.host_memory_mib is not None:
        free = constraints.max_memory_ratio - constraints.memory_used_ratio
        spare_mib = max(0.0, free) * constraints.host_memory_mib
    most = np.maximum(
        shipped_ND[:, column] + np.floor(spare_mib), part.spec.group[_MEMORY_KNOB].low
    )
    limited = values_ND.copy()
    limited[:, column] = np.minimum(values_ND[:, column], most)
    return limited
