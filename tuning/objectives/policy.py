"""Searches the training of a policy by the own PPO loop: environment steps as fidelity.

A policy learns on the training paths of the simulator and is scored on its validation paths: those
with even numbers score search trials, those with odd numbers are the untouched block. The test paths,
which benchmarks and cards report on, are never played. What is found goes into a file that
`ray_jobs.train_policy` takes, for RLlib as for the own loop.
"""

import hashlib
import json
from typing import Any, Final

import numpy as np
from safetensors.torch import load_file, save_file

from novacron.models.search_space import Values
from novacron.params.groups import parameter_group
from rl_envs.evaluate import NetworkController, Worlds, play
from rl_envs.learn.config import PpoConfig
from tuning.objective import DataSource, Fidelity, Metric, Prepared, Progress, SchedulerKind, Trial
from tuning.objectives.files import block_of, training_file, with_values
from tuning.scores import GroupScores, Scores
from tuning.spaces import space_of

METRIC: Final = "gain_nats"
_STATE: Final = "learner.safetensors"
_REPORTS: Final = 9
"""Reports of a whole training: the rungs of ASHA, a ninth, a third and the whole, are among them."""
_STRIDE: Final = 10_000
"""`Played.path_N` is the class times this plus the number of the path."""


class PolicyObjective:
    """Implements `tuning.objective.Objective` for the policy of one target."""

    model = "policy"
    metrics = (Metric(name=METRIC, better="higher", unit="nats a decision"),)
    scheduler: SchedulerKind = "asha"
    perturbed = ("learning_rate", "clip", "entropy_weight")

    def __init__(self, target: str) -> None:
        self.target = target
        content = training_file(f"policy/{target}")
        self._shipped = PpoConfig.model_validate(content.get("ppo", {}))
        self._scenario = str(content.get("scenario", "all"))
        self.space = space_of(self.model).with_defaults(
            {"ppo": self._shipped.model_dump(mode="json")}
        )
        steps = self._shipped.env_steps
        self.fidelity = Fidelity(unit="env-steps", low=steps // _REPORTS, high=steps)

    def prepare(self, source: DataSource) -> Prepared:
        """Describe the worlds; the simulator draws them from their seed in each trial."""
        block = {
            "target": self.target,
            "scenario": self._scenario,
            "worlds": 64 if source.small else 1024,
            "decisions": 3 if source.small else 6,
            "seed": source.seed,
            "num_envs": 64 if source.small else self._shipped.num_envs,
        }
        return Prepared(
            search=block | {"odd": False},
            untouched=block | {"odd": True},
            source=f"simulator, target {self.target}, seed {source.seed}",
            sha256="generated:" + hashlib.sha256(json.dumps(block).encode()).hexdigest()[:16],
            blocks={
                "search": "validation paths of even number; training paths to learn on",
                "untouched": "validation paths of odd number",
            },
        )

    def run(self, data: dict[str, Any], trial: Trial, progress: Progress) -> Scores:
        """Learn update by update, and play the policy without exploration at each report."""
        from rl_envs.learn.ppo import PpoLearner

        learner = PpoLearner(self.target, self._ppo(data, trial), scenario=data["scenario"])
        if progress.resume is not None:
            learner.restore(load_file(progress.resume / _STATE), progress.resume_step)
        budget = trial.budget or self.fidelity.high
        every = max(1, self.fidelity.high // _REPORTS)
        told = progress.resume_step
        while learner.env_steps < budget and not learner.finished:
            learner.update()
            reached = min(learner.env_steps, budget)
            if reached == budget or learner.finished or reached // every > told // every:
                told = budget if learner.finished else reached
                found = self._played(learner.network(), data)
                progress.report(
                    told, found, lambda folder: save_file(learner.state(), folder / _STATE)
                )
        return self._played(learner.network(), data)

    def config(self, values: Values) -> dict[str, Any]:
        """Return the training file of the target with these values."""
        return with_values(f"policy/{self.target}", self.space, values)

    def probe(self, data: dict[str, Any]) -> Scores:
        """Play the centre of the cube: no network, every knob half-way."""
        knobs = len(parameter_group(self.target))
        return self._played(
            lambda observation: np.zeros((len(observation), knobs), np.float32), data
        )

    def _ppo(self, data: dict[str, Any], trial: Trial) -> PpoConfig:
        settings = self._shipped.model_dump() | block_of(self.space, trial.values)
        steps = settings["batch_steps"]
        return PpoConfig.model_validate(
            settings
            | {
                "seed": trial.seed,
                "num_envs": min(data["num_envs"], steps),
                "minibatch_steps": min(settings["minibatch_steps"], steps),
            }
        )

    def _played(self, network: Any, data: dict[str, Any]) -> Scores:
        """Return the gain over the shipped defaults, by path."""
        worlds = Worlds(
            target=self.target,
            worlds=data["worlds"],
            decisions=data["decisions"],
            split="validation",
            scenario=data["scenario"],
            seed=data["seed"],
        )
        played = play(NetworkController("trial", network), worlds)
        mine_N = played.path_N % _STRIDE % 2 == int(data["odd"])
        reward_N = played.reward_KN.mean(axis=0)
        return {METRIC: GroupScores.of_rows(played.path_N[mine_N].astype(str), reward_N[mine_N])}


OBJECTIVE: Final = PolicyObjective("hde_compression")
AMST_TRANSPORT: Final = PolicyObjective("amst_transport")
ACP_CONSENSUS: Final = PolicyObjective("acp_consensus")
PBA_PREDICTION: Final = PolicyObjective("pba_prediction")
ITP_PARTITION: Final = PolicyObjective("itp_partition")
JOINT: Final = PolicyObjective("joint")
