"""A policy behind its guard, in the simulator: the guard is the one that serving uses.

Canaries are measured with noise and paid for: for the canary's time a small share of the traffic
runs on the candidate. Legend: N worlds, D knobs, O numbers of an observation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from novacron.models.policy.advice import advise
from novacron.models.policy.config import Constraints, GuardConfig, canary_length_s
from novacron.models.policy.guard import Decision, Guard
from novacron.models.policy.part import TargetPart
from novacron.params.encode import Float32, decode_unit, encode_values
from rl_envs.baselines.base import BaseController, Sees, latest
from rl_envs.physics.quantities import BoolArray, FloatArray
from rl_envs.simulator import Episode, Interval
from rl_envs.vector_env import DwcpVectorEnv

PRICE: Final = "cost_usd_per_gb"

MEASURED_SD_NATS: Final = 0.05
"""Standard deviation with which a share of the traffic tells a gain, or the log of a cost over
another, over two seconds."""
DEFAULT_LIMITS: Final = Constraints(host_memory_mib=65_536.0)
REPLAYED: Final = frozenset({"pba_prediction"})
"""Targets whose settings can be judged on what was recorded: an allocation is arithmetic on the
measured series, so that a trial and a control group carry no traffic. What they show is the last
interval, not the next."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What settings do in an interval, or what was measured of it, arrays [N].

    `dearer_N` is the log of the cost of a gigabyte over that under the defaults.
    """

    gain_N: FloatArray
    dearer_N: FloatArray

    @classmethod
    def of(cls, interval: Interval) -> "Seen":
        """Take both from an interval."""
        mine, theirs = interval.metrics[PRICE], interval.default_metrics[PRICE]
        return cls(gain_N=interval.reward, dearer_N=np.log(mine) - np.log(theirs))

    def increase(self, row: int) -> float:
        """Return the increase of the cost of one world, as a ratio."""
        return float(np.expm1(self.dearer_N[row]))


class GuardedController(BaseController):
    """Plays a part's policy through one guard for each world.

    Args:
        part: The learned part.
        config: The guard's margins; by default those chosen for the part.
        constraints: The operator's limits.
        canary: Whether anything can be measured beside the defaults; without, only a sure gain is
            applied, and only what telemetry shows is watched.
        seed: Of the measurement noise.
    """

    sees: Sees = "rewards"

    def __init__(
        self,
        part: TargetPart,
        config: GuardConfig | None = None,
        *,
        constraints: Constraints = DEFAULT_LIMITS,
        canary: bool = True,
        seed: int = 0,
    ) -> None:
        self.name = "guarded_policy" if canary else "policy_without_canary"
        self._replays = part.card.target in REPLAYED
        self._part = part
        self._config = config or part.card.guard
        self._constraints = constraints
        self._canary = canary
        self._seed = seed
        self.reasons: dict[str, int] = {}
        """How often each action was decided, `action: reason without figures`."""

    def begin(self, env: DwcpVectorEnv) -> None:
        """Set up one guard for each world, with what ships on its path in force."""
        self._env = env
        self._rng = np.random.default_rng(self._seed)
        shipped = env.hidden_state().default_values
        self._shipped_ND = shipped.copy()
        self._guards = [
            Guard(
                group=env.target.group, shipped_D=row, config=self._config,
                needs_canary=self._canary and not self._replays,
                account_nats=0.0 if self._canary else None,
            )
            for row in shipped
        ]  # fmt: skip
        self._seen: Seen | None = None
        self._correction_N: FloatArray = np.zeros(env.num_envs)
        self._dearer_correction_N: FloatArray = np.zeros(env.num_envs)
        self._last: Episode | None = None

    def act(self, observation_NO: Float32) -> Float32:
        """Watch the last interval, hear the policy, try or apply, and return what is in force."""
        self._watch(observation_NO)
        self._time_share_N = self._time_share(observation_NO)
        extra_N = np.array([guard.extra_cost_nats for guard in self._guards])
        advised = advise(self._part, observation_NO, self._shipped_ND, self._constraints, extra_N)
        before_ND = self._in_force()
        decisions = [
            guard.propose(each.advice, each.smaller)
            for guard, each in zip(self._guards, advised, strict=True)
        ]
        for decision in decisions:
            self._count(decision.action, decision.reason)
        trying = np.array([decision.canary_D is not None for decision in decisions])
        self._correction_N = np.zeros(len(decisions))
        self._dearer_correction_N = np.zeros(len(decisions))
        if trying.any():
            self._run_canaries(before_ND, decisions, trying)
        if self._canary and not self._replays:
            self._check_early(~trying)
        self._last = self._env.hidden_state()
        chosen = self._cube(self._in_force())
        [self._next] = self._peek(chosen[None])
        return chosen

    def _watch(self, observation_NO: Float32) -> None:
        telemetry = latest(self._part.card.target, observation_NO)
        names = tuple(telemetry)
        table = np.stack([telemetry[name] for name in names], axis=1)
        measured = self._seen if self._canary else None
        for row, guard in enumerate(self._guards):
            seen = dict(zip(names, table[row].tolist(), strict=True))
            if measured is None:
                verdict = guard.watch(seen)
            else:
                gain, increase = float(measured.gain_N[row]), measured.increase(row)
                verdict = guard.watch(seen, gain, cost_increase_ratio=increase)
            self._count(verdict.action, "watched")

    def _run_canaries(
        self, before_ND: FloatArray, decisions: list[Decision], trying: BoolArray
    ) -> None:
        tried_ND = np.stack(
            [each.values_D if each.canary_D is None else each.canary_D for each in decisions]
        )
        tried, before = self._measured(np.stack([self._cube(tried_ND), self._cube(before_ND)]))
        seen, seen_before = self._noisy(tried, self._sd()), self._noisy(before, self._sd())
        for row in np.flatnonzero(trying).tolist():
            verdict = self._guards[row].judge(
                float(seen.gain_N[row]),
                float(seen_before.gain_N[row]),
                cost_increase_ratio=seen.increase(row),
            )
            self._count(verdict.action, verdict.reason)
        if self._replays:
            return
        [final] = self._peek(self._cube(self._in_force())[None])
        share = self._config.canary_share
        during = Seen(
            gain_N=before.gain_N + share * (tried.gain_N - before.gain_N),
            dearer_N=before.dearer_N + share * (tried.dearer_N - before.dearer_N),
        )
        self._correct(trying, during, final)

    def _correct(self, rows: BoolArray, during: Seen, final: Seen) -> None:
        """Note that for a canary's time something else ran than in the rest of the interval."""
        gain_N, dearer_N = during.gain_N - final.gain_N, during.dearer_N - final.dearer_N
        share_N = np.where(rows, self._time_share_N, 0.0)
        self._correction_N = np.where(rows, share_N * gain_N, self._correction_N)
        self._dearer_correction_N = np.where(rows, share_N * dearer_N, self._dearer_correction_N)

    def _check_early(self, checked: BoolArray) -> None:
        """Measure what is in force for a canary's time, and take it back where it loses much."""
        start_ND = self._in_force()
        checked = checked & (start_ND != self._shipped_ND).any(axis=1)
        if not checked.any():
            return
        [start] = self._peek(self._cube(start_ND)[None])
        seen = self._noisy(start, self._sd())
        reverted = np.zeros(len(checked), dtype=bool)
        for row in np.flatnonzero(checked).tolist():
            verdict = self._guards[row].check_early(
                float(seen.gain_N[row]),
                float(self._time_share_N[row]),
                cost_increase_ratio=seen.increase(row),
            )
            reverted[row] = verdict.action == "revert"
            if reverted[row]:
                self._count(verdict.action, verdict.reason)
        if reverted.any():
            [final] = self._peek(self._cube(self._in_force())[None])
            self._correct(reverted, start, final)

    # --- parts ----------------------------------------------------------------------------

    def _in_force(self) -> FloatArray:
        return np.stack([guard.in_force_D for guard in self._guards])

    def _cube(self, values_ND: FloatArray) -> Float32:
        return encode_values(self._env.target.group, values_ND).astype(np.float32)

    def _peek(self, cube_AND: Float32) -> list[Seen]:
        return [Seen.of(interval) for interval in self._env.peek(cube_AND)]

    def _measured(self, cube_AND: Float32) -> list[Seen]:
        """Return what settings do in the next interval, or would have done in the last one."""
        if not self._replays:
            return self._peek(cube_AND)
        if self._last is None:
            nothing = np.zeros(cube_AND.shape[1])
            return [Seen(gain_N=nothing, dearer_N=nothing) for _ in cube_AND]
        simulator = self._env.simulator
        advanced, world = simulator.advance(self._last)
        group = self._env.target.group
        return [
            Seen.of(simulator.play(advanced, world, decode_unit(group, cube))[1])
            for cube in cube_AND
        ]

    def _sd(self) -> FloatArray:
        length_s = np.maximum(self._time_share_N * self._env.target.interval_s, 1e-3)
        return MEASURED_SD_NATS * np.sqrt(2.0 / length_s)

    def _noisy(self, exact: Seen, sd_N: FloatArray | float) -> Seen:
        if self._replays:
            return exact
        count = len(exact.gain_N)
        return Seen(
            gain_N=exact.gain_N + sd_N * self._rng.standard_normal(count),
            dearer_N=exact.dearer_N + sd_N * self._rng.standard_normal(count),
        )

    def _time_share(self, observation_NO: Float32) -> FloatArray:
        """Return the share of the interval that a canary takes on each path."""
        telemetry = latest(self._part.card.target, observation_NO)
        rtt_ms = telemetry.get(
            "min_rtt_ms", telemetry.get("rtt_ms", np.zeros(len(observation_NO)))
        )
        lengths = np.array([canary_length_s(self._config, float(rtt)) for rtt in rtt_ms])
        return np.minimum(lengths / self._env.target.interval_s, 1.0)

    def charge(self, reward_N: FloatArray) -> FloatArray:
        """Return rewards with trials in them, and with a control group that stays behind."""
        charged = reward_N + self._correction_N
        if self._canary and not self._replays:
            charged = charged * (1.0 - self._config.canary_share)
        return charged

    def charge_cost(self, metrics: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Return the metrics of an interval with what trials cost in its price of a gigabyte."""
        return {**metrics, PRICE: metrics[PRICE] * np.exp(self._dearer_correction_N)}

    def learn(self, reward_N: FloatArray) -> None:
        """Measure the interval against a control group."""
        exact = Seen(gain_N=reward_N, dearer_N=self._next.dearer_N)
        interval_s = self._env.target.interval_s
        self._seen = self._noisy(exact, MEASURED_SD_NATS * (2.0 / interval_s) ** 0.5)

    def _count(self, action: str, reason: str) -> None:
        words = " ".join(word for word in reason.split() if not any(c.isdigit() for c in word))
        key = f"{action}: {words}"
        self.reasons[key] = self.reasons.get(key, 0) + 1
