"""Promises of the environments that are kept or not: checker, determinism, hidden quantities.

Rollouts are compared by the digest of every observation and reward. A probe model (boosted trees)
tries to read hidden capacity and loss off observations: it may learn what telemetry implies, which
is what the same probe learns from the same telemetry without its measurement error.
"""

import hashlib
import json
import subprocess
import sys
from typing import Any, Final
from unittest import mock

import gymnasium as gym
import lightgbm
import numpy as np
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

import rl_envs
from benchmarks.results_format import Metric

ROWS: Final = 64
STEPS: Final = 24
"""Past the end of an episode of most targets, so that restarts are in it."""
WORKERS: Final = (1, 2, 4)

_ROLLOUT: Final = """
import json, sys
from benchmarks.environment_checks import rollout_digests
print(json.dumps(rollout_digests(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
"""


def make_rows(target: str, rows: int, first: int = 0) -> Any:
    """Return rows `first` to `first + rows` of a target's batch."""
    return gym.make_vec(
        rl_envs.ENVIRONMENTS[target], rows, vectorization_mode="vector_entry_point",
        first_env_index=first,
    )  # fmt: skip


def row_digests(target: str, rows: int, first: int, steps: int) -> list[str]:
    """Return the digest of each row's observations and rewards under random actions."""
    env = make_rows(target, rows, first)
    size = env.single_action_space.shape[0]
    actions = np.random.default_rng(6).uniform(-1, 1, (steps, 4 * ROWS, size)).astype(np.float32)
    seen, _ = env.reset(seed=21)
    digests = [hashlib.sha256(seen[row].tobytes()) for row in range(rows)]
    for step in range(steps):
        seen, reward, _, _, _ = env.step(actions[step, first : first + rows])
        for row, digest in enumerate(digests):
            digest.update(seen[row].tobytes() + reward[row].tobytes())
    return [digest.hexdigest() for digest in digests]


def rollout_digests(first: int, rows: int, steps: int) -> dict[str, list[str]]:
    """Return the digests of every target; run in a process of its own by `determinism_metrics`."""
    return {target: row_digests(target, rows, first, steps) for target in rl_envs.ENVIRONMENTS}


def _in_processes(workers: int, rows: int, steps: int) -> dict[str, list[str]]:
    """Run a batch split over processes, and put the rows together again."""
    part = rows // workers
    together: dict[str, list[str]] = {target: [] for target in rl_envs.ENVIRONMENTS}
    for worker in range(workers):
        command = [sys.executable, "-c", _ROLLOUT, str(worker * part), str(part), str(steps)]
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            command, capture_output=True, text=True, check=True
        )
        for target, digests in json.loads(done.stdout).items():
            together[target] += digests
    return together


def promise_metrics(*, quick: bool) -> list[Metric]:
    """Return the share of environments or rows that keep each promise; 1 is all of them."""
    rows, steps, workers = (4, 3, (1, 2)) if quick else (ROWS, STEPS, WORKERS)
    targets = list(rl_envs.ENVIRONMENTS)
    for target in targets:
        check_env(gym.make(rl_envs.ENVIRONMENTS[target]).unwrapped, skip_render_check=True)
    here = rollout_digests(0, rows, steps)
    metrics = [
        Metric(
            name="checker_accepts_ratio", set="all targets", value=1.0, n=len(targets),
            baseline="gymnasium.utils.env_checker",
        )
    ]  # fmt: skip
    for count in workers:
        apart = _in_processes(count, rows, steps)
        same = [
            mine == other
            for target in targets
            for mine, other in zip(here[target], apart[target], strict=True)
        ]
        metrics.append(
            Metric(
                name="same_rollout_ratio", set=f"{count} other processes",
                value=float(np.mean(same)), n=len(same), baseline="this process, bit for bit",
            )
        )  # fmt: skip
    large = 8 if quick else 256
    picked = (0, 1, large // 2, large - 1)
    same = []
    for target in targets:
        batch = row_digests(target, large, 0, steps)
        same += [row_digests(target, 1, row, steps)[0] == batch[row] for row in picked]
    metrics.append(
        Metric(
            name="same_rollout_ratio", set=f"N=1 against N={large}", value=float(np.mean(same)),
            n=len(same), baseline="bit for bit",
        )
    )  # fmt: skip
    return metrics


def _frames(target: str, rows: int) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float64]]]:
    """Observations after three random decisions, and what was hidden at the last one."""
    env = make_rows(target, rows)
    rng = np.random.default_rng(8)
    env.reset(seed=5)
    for _ in range(3):
        seen = env.step(
            rng.uniform(-1, 1, (rows, env.single_action_space.shape[0])).astype(np.float32)
        )[0]
    episode = env.hidden_state()
    hidden = {
        "capacity": np.log(episode.path.capacity_mbps)
        + episode.state.wander
        + episode.state.level,
        "loss": np.log(episode.path.loss_ratio) + episode.state.loss_level,
    }
    return seen, hidden


def probe_r2(features: NDArray[np.float32], hidden: NDArray[np.float64], trees: int) -> float:
    """Return the share of variance that a probe explains on worlds it has not seen."""
    split = 2 * hidden.size // 3
    probe = lightgbm.train(
        {"objective": "l2", "learning_rate": 0.05, "num_leaves": 31, "verbose": -1,
         "num_threads": 1, "seed": 1, "deterministic": True},
        lightgbm.Dataset(features[:split], hidden[:split]),
        num_boost_round=trees,
    )  # fmt: skip
    error = np.asarray(probe.predict(features[split:])) - hidden[split:]
    return float(1.0 - np.mean(error**2) / np.var(hidden[split:]))


def leak_metrics(*, quick: bool) -> list[Metric]:
    """Return what a probe reads off observations beyond what exact telemetry implies."""
    rows, trees = (300, 20) if quick else (6000, 200)
    metrics = []
    for target in ("amst_transport",) if quick else ("amst_transport", "hde_compression", "joint"):
        seen, hidden = _frames(target, rows)
        with mock.patch("rl_envs.simulator.MEASUREMENT_SD", 0.0):
            exact, _ = _frames(target, rows)
        for name, values in hidden.items():
            learnt, implied = (probe_r2(frame, values, trees) for frame in (seen, exact))
            metrics += [
                Metric(
                    name=f"probe_r2_{name}", set=target, value=learnt, n=rows // 3,
                    baseline=f"telemetry implies {implied:.3f}",
                ),
                Metric(
                    name=f"probe_r2_{name}_beyond_telemetry", set=target, value=learnt - implied,
                    n=rows // 3, baseline="the same probe on telemetry without error",
                ),
            ]  # fmt: skip
    return metrics
