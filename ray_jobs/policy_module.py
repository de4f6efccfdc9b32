"""RLlib's side of a policy: its network, its algorithm, and how its weights come out again.

RLlib's checkpoints are pickles: they resume a run of one's own and are never loaded otherwise.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import nn

from novacron.models.policy.network import Perceptron
from rl_envs.learn.config import PpoConfig
from rl_envs.learn.layers import plain_network, shape_layers
from rl_envs.learn.ppo import linear_layers
from rl_envs.rllib import PlaceEnvironments, with_environment

GAIN: Final = "gain_nats"
"""Name of the metric of a batch's mean gain a decision."""


class GaussianModule(DefaultPPOTorchRLModule):
    """PPO's own module with layers and the spread of its first actions as configured.

    RLlib starts at log_std 0, which explores the corners of the cube only.
    """

    def setup(self) -> None:
        """Build the networks, then set the spread and what the layers know beforehand."""
        super().setup()  # type: ignore[no-untyped-call]
        settings = cast(dict[str, Any], self.model_config)
        ppo = PpoConfig.model_validate(settings["ppo"])
        with torch.no_grad():
            self.pi.log_std.fill_(ppo.log_std_start)
        shape_layers(_layers(self.encoder.actor_encoder, self.pi.net), settings["target"], ppo)
        if not self.inference_only:
            shape_layers(_layers(self.encoder.critic_encoder, self.vf), settings["target"], ppo)


class QuietEnvironments(PlaceEnvironments):
    """Places the environments, spares them metrics that nobody reads in training, asks for gains."""

    def on_environment_created(self, *, env: Any, **kwargs: Any) -> None:
        """Set up a worker's batch."""
        super().on_environment_created(env=env, **kwargs)
        env.unwrapped.with_info = False

    def on_sample_end(
        self, *, env_runner: Any = None, metrics_logger: Any = None, samples: Any, **kwargs: Any
    ) -> None:
        """Log the mean gain a decision: rewards do not tell it where environments have peers."""
        del samples, kwargs
        gain = env_runner.env.unwrapped.take_gain()
        metrics_logger.log_value(GAIN, gain, reduce="mean", window=1)


def build_algorithm(target: str, ppo: PpoConfig, *, scenario: str) -> Algorithm:
    """Return PPO on the batched environment, sampling and learning in this process."""
    config = with_environment(
        _config(target, ppo),
        target,
        num_envs=ppo.num_envs,
        settings={
            "scenario": scenario,
            "split": "train",
            "frames": ppo.frames,
            "max_cost_increase_ratio": ppo.max_cost_increase_ratio,
            "peers": ppo.peers,
        },
    )
    return config.callbacks(QuietEnvironments).build_algo()


def _config(target: str, ppo: PpoConfig) -> PPOConfig:
    return (
        PPOConfig()  # type: ignore[no-untyped-call]
        .env_runners(
            num_env_runners=0, rollout_fragment_length=max(1, ppo.batch_steps // ppo.num_envs)
        )
        .learners(num_learners=0)
        .training(
            train_batch_size_per_learner=ppo.batch_steps,
            minibatch_size=ppo.minibatch_steps,
            num_epochs=ppo.epochs,
            gamma=ppo.gamma,
            lambda_=ppo.gae_lambda,
            lr=[[0, ppo.learning_rate], [ppo.env_steps, 0.0]],
            clip_param=ppo.clip,
            vf_loss_coeff=0.5,
            vf_clip_param=1e9,
            use_kl_loss=False,
            kl_coeff=0.0,
            entropy_coeff=ppo.entropy_weight,
            grad_clip=ppo.grad_clip,
        )
        .rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=GaussianModule,
                model_config={
                    "fcnet_hiddens": list(ppo.hidden),
                    "fcnet_activation": "tanh",
                    "fcnet_kernel_initializer": "orthogonal_",
                    "fcnet_kernel_initializer_kwargs": {"gain": 2.0**0.5},
                    "head_fcnet_hiddens": [],
                    "vf_share_layers": False,
                    "free_log_std": True,
                    "target": target,
                    "ppo": ppo.model_dump(mode="json"),
                },
            )
        )
        .debugging(seed=ppo.seed, log_level="ERROR")
    )


def network_of(algorithm: Algorithm) -> Perceptron:
    """Return the mean of the policy as arrays: the actor's encoder, then the head."""
    module: Any = algorithm.get_module()
    return plain_network(_layers(module.encoder.actor_encoder, module.pi.net))


def _layers(encoder: nn.Module, head: nn.Module) -> list[nn.Linear]:
    return [*linear_layers(encoder), *linear_layers(head)]


def log_std_of(algorithm: Algorithm) -> float:
    """Return the mean log standard deviation of the actions."""
    module: Any = algorithm.get_module()
    return float(module.pi.log_std.detach().mean())


def save_checkpoint(algorithm: Algorithm, directory: Path) -> None:
    """Write a checkpoint so that a kill at any moment leaves an old or a new one, never half."""
    draft = directory.with_name(directory.name + ".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    algorithm.save_to_path(str(draft.resolve()))
    previous = directory.with_name(directory.name + ".old")
    if directory.exists():
        shutil.rmtree(previous, ignore_errors=True)
        directory.replace(previous)
    draft.replace(directory)


@contextlib.contextmanager
def without_cluster() -> Iterator[None]:
    """Let RLlib work where no cluster is connected and nothing is remote.

    RLlib puts its own config into Ray's object store even when sampling and learning are local,
    and starting a cluster for that takes longer than a small training. In here, unless a cluster
    is connected, putting and getting hand over the object itself.
    """
    if ray.is_initialized():
        yield
        return
    put, get = ray.put, ray.get
    ray.put, ray.get = cast(Any, _itself), cast(Any, _itself)
    try:
        yield
    finally:
        ray.put, ray.get = put, get


def _itself(value: Any, **_: Any) -> Any:
    return value
