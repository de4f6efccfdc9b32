"""A policy behind its guard, in the simulator: the guard is the one that serving uses.

Canaries are measured with noise and paid for: for the canary's time a small share of the traffic
runs on the candidate. Legend: N worlds, D knobs, O numbers of an observation.
"""

from typing import Final

import numpy as np

from novacron.models.policy.advice import advise
from novacron.models.policy.config import Constraints, GuardConfig, canary_length_s
from novacron.models.policy.guard import Decision, Guard
from novacron.models.policy.part import TargetPart
from novacron.params.encode import Float32, encode_values
from rl_envs.baselines.base import BaseController, Sees, latest
from rl_envs.physics.quantities import BoolArray, FloatArray
from rl_envs.vector_env import DwcpVectorEnv

MEASURED_SD_NATS: Final = 0.05
"""Standard deviation with which a canary, or a control group over an interval, tells a gain."""
DEFAULT_LIMITS: Final = Constraints(host_memory_mib=65_536.0)


class GuardedController(BaseController):
    """Plays a part's policy through one guard for each world.

    Args:
        part: The learned part.
        config: The guard's margins.
        constraints: The operator's limits.
        canary: Whether canaries can be run; without, only a sure gain is applied.
        seed: Of the measurement noise.
    """

    sees: Sees = "rewards"

    def __init__(
        self,
        part: TargetPart,
        config: GuardConfig,
        *,
        constraints: Constraints = DEFAULT_LIMITS,
        canary: bool = True,
        seed: int = 0,
    ) -> None:
        self.name = "guarded_policy" if canary else "policy_without_canary"
        self._part = part
        self._config = config
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
                needs_canary=self._canary,
            )
            for row in shipped
        ]  # fmt: skip
        self._gain_N: FloatArray | None = None
        self._correction_N: FloatArray = np.zeros(env.num_envs)

    def act(self, observation_NO: Float32) -> Float32:
        """Watch the last interval, hear the policy, run canaries, and return what is in force."""
        telemetry = latest(self._part.card.target, observation_NO)
        names = tuple(telemetry)
        table = np.stack([telemetry[name] for name in names], axis=1)
        for row, guard in enumerate(self._guards):
            gain = None if self._gain_N is None else float(self._gain_N[row])
            seen = dict(zip(names, table[row].tolist(), strict=True))
            self._count(guard.watch(seen, gain).action, "watched")
        advised = advise(self._part, observation_NO, self._shipped_ND, self._constraints)
        before_ND = np.stack([guard.in_force_D for guard in self._guards])
        decisions = [
            guard.propose(each.advice) for guard, each in zip(self._guards, advised, strict=True)
        ]
        for decision in decisions:
            self._count(decision.action, decision.reason)
        trying = np.array([decision.canary_D is not None for decision in decisions])
        self._correction_N = np.zeros(len(decisions))
        if trying.any():
            self._run_canaries(observation_NO, before_ND, decisions, trying)
        changed = (before_ND != self._shipped_ND).any(axis=1)
        still = np.array([decision.action == "hold" for decision in decisions])
        if (changed & still).any():
            self._check_control_group(observation_NO, before_ND, changed & still)
        in_force = np.stack([guard.in_force_D for guard in self._guards])
        return encode_values(self._env.target.group, in_force).astype(np.float32)

    def _run_canaries(
        self,
        observation_NO: Float32,
        before_ND: FloatArray,
        decisions: list[Decision],
        trying: BoolArray,
    ) -> None:
        group = self._env.target.group
        tried_ND = np.stack(
            [each.values_D if each.canary_D is None else each.canary_D for each in decisions]
        )
        points = [
            encode_values(group, values).astype(np.float32) for values in (tried_ND, before_ND)
        ]
        tried_N, before_N = self._env.peek_rewards(np.stack(points))
        measured = [
            gain + MEASURED_SD_NATS * self._rng.standard_normal(len(gain))
            for gain in (tried_N, before_N)
        ]
        time_share = self._time_share(observation_NO)
        for row in np.flatnonzero(trying):
            verdict = self._guards[row].judge(float(measured[0][row]), float(measured[1][row]))
            self._count(verdict.action, verdict.reason)
            during = before_N[row] + self._config.canary_share * (tried_N[row] - before_N[row])
            final = {"apply": tried_N[row], "revert": 0.0}.get(verdict.action, before_N[row])
            self._correction_N[row] = time_share[row] * (during - final)

    def _check_control_group(
        self, observation_NO: Float32, before_ND: FloatArray, checked: BoolArray
    ) -> None:
        """Measure what stays in force for a canary's time, and take it back where it loses."""
        group = self._env.target.group
        [gain_N] = self._env.peek_rewards(encode_values(group, before_ND).astype(np.float32)[None])
        measured = gain_N + MEASURED_SD_NATS * self._rng.standard_normal(len(gain_N))
        verdicts = {
            int(row): self._guards[row].watch({}, float(measured[row]))
            for row in np.flatnonzero(checked)
        }
        after_ND = np.stack([guard.in_force_D for guard in self._guards])
        [final_N] = self._env.peek_rewards(encode_values(group, after_ND).astype(np.float32)[None])
        time_share = self._time_share(observation_NO)
        for row, verdict in verdicts.items():
            if verdict.action == "revert":
                self._count("revert", "lost against the control group early in the interval")
                self._correction_N[row] = time_share[row] * (gain_N[row] - final_N[row])

    def _time_share(self, observation_NO: Float32) -> FloatArray:
        """Return the share of the interval that a canary takes on each path."""
        telemetry = latest(self._part.card.target, observation_NO)
        rtt_ms = telemetry.get(
            "min_rtt_ms", telemetry.get("rtt_ms", np.zeros(len(observation_NO)))
        )
        lengths = np.array([canary_length_s(self._config, float(rtt)) for rtt in rtt_ms])
        return np.minimum(lengths / self._env.target.interval_s, 1.0)

    def charge(self, reward_N: FloatArray) -> FloatArray:
        """Return rewards with the time before a canary's verdict in them."""
        return reward_N + self._correction_N

    def learn(self, reward_N: FloatArray) -> None:
        """Measure the interval against a control group."""
        self._gain_N = reward_N + MEASURED_SD_NATS * self._rng.standard_normal(reward_N.shape)

    def _count(self, action: str, reason: str) -> None:
        words = " ".join(word for word in reason.split() if not any(c.isdigit() for c in word))
        key = f"{action}: {words}"
        self.reasons[key] = self.reasons.get(key, 0) + 1
