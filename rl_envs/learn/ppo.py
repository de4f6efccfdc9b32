"""PPO in one file, on torch and the batched environments: the peer that RLlib is compared with.

After CleanRL's single-file style (Huang et al. 2022). Legend: N environments, T steps of a batch,
B rows, O observation, D knobs.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from novacron.models.policy.network import Perceptron
from novacron.params.observations import observation_spec
from rl_envs.learn.config import PpoConfig
from rl_envs.learn.layers import plain_network, shape_layers
from rl_envs.vector_env import DwcpVectorEnv
from rl_envs.worlds import make_worlds

_ADAM_EPS: Final = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """One update: interactions so far, CPU seconds so far, mean gain of the batch in nats."""

    env_steps: int
    cpu_s: float
    reward: float
    log_std: float


class GaussianPolicy(nn.Module):
    """A mean from telemetry, a spread of its own for each knob, and a value function beside."""

    def __init__(self, target: str, config: PpoConfig) -> None:
        super().__init__()
        spec = observation_spec(target)
        knobs = len(spec.group)
        self.mean = perceptron(spec.size, config.hidden, knobs, gain=0.01)
        self.value = perceptron(spec.size, config.hidden, 1, gain=1.0)
        for part in (self.mean, self.value):
            shape_layers(linear_layers(part), target, config)
        self.log_std = nn.Parameter(torch.full((knobs,), config.log_std_start))

    def network(self) -> Perceptron:
        """Return the mean as arrays."""
        return plain_network(linear_layers(self.mean))


def linear_layers(part: nn.Module) -> list[nn.Linear]:
    """Return the linear layers of a part, in order."""
    return [layer for layer in part.modules() if isinstance(layer, nn.Linear)]


def perceptron(
    inputs: int, hidden: tuple[int, ...], outputs: int, *, gain: float
) -> nn.Sequential:
    """Return tanh layers with orthogonal weights; the last has `gain`."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [_linear(inputs, width, 2.0**0.5), nn.Tanh()]
        inputs = width
    return nn.Sequential(*layers, _linear(inputs, outputs, gain))


def _linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def train_ppo(
    target: str,
    config: PpoConfig,
    *,
    scenario: str = "all",
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Perceptron:
    """Learn a policy for a target on training paths and return its mean network.

    Same config, same weights on the same machine. Runs on torch's threads as set by the caller.

    Raises:
        UnknownNameError: No such target or scenario.
    """
    learner = PpoLearner(target, config, scenario=scenario)
    while not learner.finished:
        on_progress(learner.update())
    return learner.network()


class PpoLearner:
    """PPO update by update, for whoever looks at the policy on the way; see `train_ppo`.

    It draws from torch's global generator, which it seeds.

    Raises:
        UnknownNameError: No such target or scenario.
    """

    def __init__(self, target: str, config: PpoConfig, *, scenario: str = "all") -> None:
        torch.manual_seed(config.seed)
        env = make_worlds(
            target, config.num_envs, seed=config.seed, scenario=scenario, frames=config.frames,
            max_cost_increase_ratio=config.max_cost_increase_ratio, peers=config.peers,
        )  # fmt: skip
        env.with_info = False
        self._env = env
        self._config = config
        self._policy = GaussianPolicy(target, config)
        self._optimizer = torch.optim.Adam(
            self._policy.parameters(), config.learning_rate, eps=_ADAM_EPS
        )
        steps = max(1, config.batch_steps // config.num_envs)
        self._batch = steps * config.num_envs
        self._updates = max(1, -(-config.env_steps // self._batch))
        self._done = 0
        self._sampler = _Sampler(env, self._policy, config, steps)
        self._started_s = time.process_time()

    @property
    def env_steps(self) -> int:
        """Interactions learnt from so far."""
        return self._done * self._batch

    @property
    def finished(self) -> bool:
        """Whether all interactions of the config are learnt from."""
        return self._done >= self._updates

    def update(self) -> Progress:
        """Sample a batch and learn from it."""
        for each in self._optimizer.param_groups:
            each["lr"] = self._config.learning_rate * (1.0 - self._done / self._updates)
        batch = self._sampler.sample()
        _improve(self._policy, self._optimizer, batch, self._config)
        self._done += 1
        return Progress(
            env_steps=self.env_steps,
            cpu_s=time.process_time() - self._started_s,
            reward=self._env.take_gain(),
            log_std=float(self._policy.log_std.detach().mean()),
        )

    def network(self) -> Perceptron:
        """Return the mean of the policy as arrays."""
        return self._policy.network()

    def state(self) -> dict[str, Any]:
        """Return weights and Adam's moments as tensors by name; `restore` takes them back."""
        held = {f"policy.{name}": value for name, value in self._policy.state_dict().items()}
        for index, moments in self._optimizer.state_dict()["state"].items():
            held |= {f"adam.{index}.{name}": value for name, value in moments.items()}
        return {name: value.detach().clone().contiguous() for name, value in held.items()}

    def restore(self, state: Mapping[str, Any], env_steps: int) -> None:
        """Go on from a `state` after `env_steps` interactions, with the config of this learner.

        The worlds begin anew and the noise is drawn afresh, so it goes on differently from a run
        without the break, but always the same way.
        """
        self._done = env_steps // self._batch
        torch.manual_seed(self._config.seed + 1_000_003 * self._done)
        self._policy.load_state_dict(
            {n.removeprefix("policy."): v for n, v in state.items() if n.startswith("policy.")}
        )
        moments: dict[int, dict[str, Any]] = {}
        for name, value in state.items():
            if name.startswith("adam."):
                _, index, moment = name.split(".")
                moments.setdefault(int(index), {})[moment] = value
        content = self._optimizer.state_dict() | {"state": moments}
        self._optimizer.load_state_dict(content)


class _Sampler:
    """Plays the batch with the present policy."""

    def __init__(
        self, env: DwcpVectorEnv, policy: GaussianPolicy, config: PpoConfig, steps: int
    ) -> None:
        self._env, self._policy, self._config, self._steps = env, policy, config, steps
        self._observation, _ = env.reset(seed=config.seed)
        self._restarts = np.zeros(env.num_envs, dtype=bool)

    @torch.no_grad()
    def sample(self) -> dict[str, Any]:
        """Return the rows of one batch; steps that only restarted an environment are left out."""
        rows: dict[str, list[Any]] = {
            name: []
            for name in ("observation", "action", "log_p", "reward", "value", "ran", "end")
        }
        policy = self._policy
        for _ in range(self._steps):
            seen = torch.from_numpy(self._observation)
            mean = policy.mean(seen)
            action = mean + policy.log_std.exp() * torch.randn_like(mean)
            self._observation, reward, _, ended, _ = self._env.step(
                np.clip(action.numpy(), -1.0, 1.0)
            )
            rows["observation"].append(seen)
            rows["action"].append(action)
            rows["log_p"].append(_log_p(policy, mean, action))
            rows["reward"].append(torch.from_numpy(reward.astype(np.float32)))
            rows["value"].append(policy.value(seen)[:, 0])
            rows["ran"].append(torch.from_numpy(~self._restarts))
            rows["end"].append(torch.from_numpy(ended.copy()))
            self._restarts = ended.copy()
        stacked = {name: torch.stack(parts) for name, parts in rows.items()}
        last = policy.value(torch.from_numpy(self._observation))[:, 0]
        stacked["advantage"] = self._advantages(stacked, last)
        stacked["return"] = stacked["advantage"] + stacked["value"]
        ran = stacked["ran"]
        return {name: part[ran] for name, part in stacked.items()}

    def _advantages(self, rows: dict[str, Any], last_N: Any) -> Any:
        """Generalised advantages; a time limit cuts the episode, its tail is valued as it is."""
        gamma, decay = self._config.gamma, self._config.gamma * self._config.gae_lambda
        advantage = torch.zeros_like(rows["reward"])
        carried, following = torch.zeros_like(last_N), last_N
        for step in reversed(range(len(advantage))):
            delta = rows["reward"][step] + gamma * following - rows["value"][step]
            carried = delta + decay * carried * (~rows["end"][step])
            # A row that restarts belongs to no episode: nothing passes through it.
            carried = carried * rows["ran"][step]
            advantage[step] = carried
            following = rows["value"][step]
        return advantage


def _log_p(policy: GaussianPolicy, mean: Any, action: Any) -> Any:
    scaled = (action - mean) / policy.log_std.exp()
    return (-0.5 * scaled**2 - policy.log_std).sum(dim=1)


def _minibatches(rows: int, config: PpoConfig) -> Iterator[Any]:
    for _ in range(config.epochs):
        order = torch.randperm(rows)
        for first in range(0, rows, config.minibatch_steps):
            yield order[first : first + config.minibatch_steps]


def _improve(
    policy: GaussianPolicy, optimizer: Any, batch: dict[str, Any], config: PpoConfig
) -> None:
    for chosen in _minibatches(len(batch["reward"]), config):
        part = {name: rows[chosen] for name, rows in batch.items()}
        log_p = _log_p(policy, policy.mean(part["observation"]), part["action"])
        ratio = (log_p - part["log_p"]).exp()
        advantage = part["advantage"]
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
        gain = torch.min(ratio * advantage, clipped * advantage).mean()
        miss = ((policy.value(part["observation"])[:, 0] - part["return"]) ** 2).mean()
        loss = 0.5 * miss - gain - config.entropy_weight * policy.log_std.sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), config.grad_clip)
        optimizer.step()
