"""Searches by trial on the live path: every probe is an interval that is paid for.

Shape legend: N worlds, D knobs.
"""

from typing import Any, Final, Literal

import numpy as np

from novacron.params.encode import Float32
from rl_envs.baselines.base import BaseController, Sees, in_force
from rl_envs.physics.quantities import BoolArray, FloatArray, IntArray
from rl_envs.vector_env import DwcpVectorEnv

PROBE_SD_NATS: Final = 0.05
"""Standard deviation with which one interval tells the gain of its setting."""


class _Probing(BaseController):
    """Measures its probes with noise of its own."""

    sees: Sees = "rewards"

    def __init__(self, name: str, target: str, *, seed: int) -> None:
        self.name = name
        self._target = target
        self._rng = np.random.default_rng(seed)

    def _measured(self, reward_N: FloatArray) -> FloatArray:
        return reward_N + PROBE_SD_NATS * self._rng.standard_normal(reward_N.shape)


class HillClimb(_Probing):
    """One knob at a time from what ships, doubling steps that pay and turning round otherwise.

    In the manner of Falcon's hill climbing (Arifuzzaman and Arslan 2021), with the objective of
    the target instead of its utility. After `probes` intervals the best point stays.
    """

    def __init__(self, target: str, *, probes: int = 20, seed: int = 0) -> None:
        super().__init__(f"hill_climb_{probes}", target, seed=seed)
        self._probes = probes

    def begin(self, env: DwcpVectorEnv) -> None:
        """Start from what ships with moderate steps."""
        n, self._size = env.num_envs, len(env.target.group)
        self._best_ND: Float32 | None = None
        self._worth_N: FloatArray = np.zeros(n)
        self._knob_N: IntArray = np.zeros(n, dtype=np.int64)
        self._turned_N: BoolArray = np.zeros(n, dtype=bool)
        self._step_ND: FloatArray = np.full((n, self._size), 0.25)
        self._played = 0

    def act(self, observation_NO: Float32) -> Float32:
        """Return the best point, one knob moved while there are probes left."""
        if self._best_ND is None:
            self._best_ND = in_force(self._target, observation_NO).copy()
        if self._played >= self._probes:
            return self._best_ND
        rows = np.arange(len(observation_NO))
        self._tried_ND = self._best_ND.copy()
        moved = self._best_ND[rows, self._knob_N] + self._step_ND[rows, self._knob_N]
        self._tried_ND[rows, self._knob_N] = np.clip(moved, -1.0, 1.0)
        return self._tried_ND

    def learn(self, reward_N: FloatArray) -> None:
        """Keep what paid; else turn round once, then go on to the next knob."""
        if self._played >= self._probes or self._best_ND is None:
            return
        self._played += 1
        measured, rows = self._measured(reward_N), np.arange(len(reward_N))
        better = measured > self._worth_N
        self._best_ND[better] = self._tried_ND[better]
        self._worth_N = np.where(better, measured, self._worth_N)
        step = self._step_ND[rows, self._knob_N]
        again = ~better & ~self._turned_N
        give_up = ~better & self._turned_N
        step = np.where(better, np.clip(2.0 * step, -1.0, 1.0), step)
        self._step_ND[rows, self._knob_N] = np.where(
            again, -step, np.where(give_up, 0.5 * step, step)
        )
        self._turned_N = again
        self._knob_N = np.where(give_up, (self._knob_N + 1) % self._size, self._knob_N)


class OptunaSearch(_Probing):
    """Optuna's samplers, one study a world; the first probe is what ships.

    Args:
        target: The group of knobs.
        sampler: Tree-structured Parzen estimator or Gaussian process.
        probes: Intervals it may spend; then the best one measured stays.
        seed: Of samplers and measurement noise.
    """

    def __init__(
        self, target: str, sampler: Literal["tpe", "gp"], *, probes: int = 20, seed: int = 0
    ) -> None:
        super().__init__(f"{sampler}_{probes}", target, seed=seed)
        self._sampler = sampler
        self._probes = probes
        self._seed = seed

    def begin(self, env: DwcpVectorEnv) -> None:
        """Open one study for each world."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._spaces: dict[str, Any] = {
            knob.name: (
                optuna.distributions.CategoricalDistribution(range(len(knob.choices)))
                if knob.kind == "enum"
                else optuna.distributions.FloatDistribution(-1.0, 1.0)
            )
            for knob in env.target.group
        }
        self._knobs = tuple(env.target.group)
        samplers = [self._new_sampler(self._seed + row) for row in range(env.num_envs)]
        self._studies = [
            optuna.create_study(direction="maximize", sampler=sampler) for sampler in samplers
        ]
        self._trials: list[Any] = []
        self._played = 0

    def _new_sampler(self, seed: int) -> Any:
        import optuna

        if self._sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True)
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)

    def act(self, observation_NO: Float32) -> Float32:
        """Return each study's next trial, or its best one when the probes are spent."""
        shipped = in_force(self._target, observation_NO)
        if self._played >= self._probes:
            return np.stack([self._point(study.best_params) for study in self._studies])
        if self._played == 0:
            for study, row in zip(self._studies, shipped, strict=True):
                study.enqueue_trial(self._params(row))
        self._trials = [study.ask(self._spaces) for study in self._studies]
        return np.stack([self._point(trial.params) for trial in self._trials])

    def learn(self, reward_N: FloatArray) -> None:
        """Tell the studies what their trials gave."""
        if self._played >= self._probes:
            return
        self._played += 1
        told = zip(self._studies, self._trials, self._measured(reward_N), strict=True)
        for study, trial, measured in told:
            study.tell(trial, float(measured))

    def _point(self, params: dict[str, Any]) -> Float32:
        point = [
            2.0 * (params[knob.name] + 0.5) / len(knob.choices) - 1.0
            if knob.kind == "enum"
            else params[knob.name]
            for knob in self._knobs
        ]
        return np.array(point, dtype=np.float32)

    def _params(self, row_D: Float32) -> dict[str, Any]:
        params: dict[str, Any] = {}
        for knob, value in zip(self._knobs, row_D, strict=True):
            count = len(knob.choices)
            place = min(int((value + 1.0) / 2.0 * count), count - 1) if count else float(value)
            params[knob.name] = place
        return params
