"""The simulated WAN: fidelity, headroom for a policy, speed, codec table, promises, leaks.

`python -m benchmarks.environment [--quick]` writes `results/simulator.json`. Fidelity is against the
cells of real TCP that ship with the repository. Headroom is counted in objective, in worlds of the
training side: what an oracle that sees them gains over the best fixed knobs. Speeds are steps per
CPU-second, the batch beside a loop over single environments.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

import rl_envs
from benchmarks.environment_checks import leak_metrics, promise_metrics
from benchmarks.environment_codec import codec_metrics
from benchmarks.environment_pictures import draw_fidelity, draw_headroom, draw_streams
from benchmarks.environment_testbed import (
    choice_metrics,
    compressed_metrics,
    fidelity_metrics,
    table_cells,
)
from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    write_result,
)
from rl_envs.tables import TESTBED_TABLE
from rl_envs.vector_env import DwcpVectorEnv

FloatArray = NDArray[np.float64]

LEVELS = np.linspace(-1.0, 1.0, 13, dtype=np.float32)
"""Settings of one knob that the oracle tries around its best point; the ends are the bounds."""


def make_batch(target: str, num_envs: int) -> DwcpVectorEnv:
    """Return the batched environment of a target."""
    batch = gym.make_vec(
        rl_envs.ENVIRONMENTS[target], num_envs, vectorization_mode="vector_entry_point"
    )
    return cast(DwcpVectorEnv, batch)


def batch_speed(target: str, num_envs: int, steps: int, rng: np.random.Generator) -> float:
    """Return environment steps per CPU-second of a batch under random actions."""
    env = make_batch(target, num_envs)
    env.reset(seed=1)
    size = env.single_action_space.shape[0]  # type: ignore[index]
    actions = rng.uniform(-1, 1, (8, num_envs, size)).astype(np.float32)
    started_s = time.process_time()
    for step in range(steps):
        env.step(actions[step % 8])
    return num_envs * steps / (time.process_time() - started_s)


def loop_speed(target: str, steps: int, rng: np.random.Generator) -> float:
    """Return the same of a Python loop over one single environment."""
    env = gym.make(rl_envs.ENVIRONMENTS[target], disable_env_checker=True)
    env.reset(seed=1)
    actions = rng.uniform(-1, 1, (8, *env.action_space.shape)).astype(np.float32)  # type: ignore[misc]
    started_s = time.process_time()
    for step in range(steps):
        if env.step(actions[step % 8])[3]:
            env.reset()
    return steps / (time.process_time() - started_s)


def speed_metrics(target: str, *, quick: bool) -> list[Metric]:
    """Measure both speeds, alternating, and report medians with their range."""
    rng = np.random.default_rng(0)
    repeats, steps, singles = (1, 4, 30) if quick else (5, 42, 200)
    num_envs = 64 if quick else 1024
    batch, loop = [], []
    for _ in range(repeats):
        batch.append(batch_speed(target, num_envs, steps, rng))
        loop.append(loop_speed(target, singles, rng))
    return [
        Metric(
            name="env_steps_per_cpu_s",
            set=f"{target}, N={num_envs}",
            value=float(np.median(batch)),
            lo=min(batch),
            hi=max(batch),
            n=repeats,
            baseline=f"loop over single environments: {np.median(loop):.0f}",
        )
    ]


def candidates(size: int, count: int) -> NDArray[np.float32]:
    """Return points that cover the cube evenly."""
    sampler = qmc.Sobol(size, scramble=True, rng=np.random.default_rng(5))
    points = 2.0 * sampler.random(count) - 1.0
    return np.asarray(points, dtype=np.float32)


def search_oracle(
    env: DwcpVectorEnv, start: NDArray[np.float32]
) -> tuple[FloatArray, NDArray[np.float32]]:
    """Improve a point per world, one knob at a time over LEVELS, twice.

    Returns:
        The oracle's reward [N], and the share of worlds with an interior optimum per knob [D].
    """
    best = start.copy()
    size = best.shape[1]
    interior = np.ones(size, dtype=np.float32)
    reward = env.peek_rewards(best[None])[0]
    for _ in range(2):
        for knob in range(size):
            tried = np.repeat(best[None], LEVELS.size, axis=0)
            tried[:, :, knob] = LEVELS[:, None]
            rewards = env.peek_rewards(tried)
            off_bound = np.where(np.abs(best[:, knob]) < 1.0, reward, -np.inf)
            inside = np.maximum(rewards[1:-1].max(axis=0), off_bound)
            at_bound = np.maximum(rewards[0], rewards[-1]) > inside + 1e-6
            interior[knob] = 1.0 - at_bound.mean()
            level = rewards.argmax(axis=0)
            better = rewards.max(axis=0) > reward
            best[better, knob] = LEVELS[level[better]]
            reward = np.maximum(reward, rewards.max(axis=0))
    return reward, interior


def headroom_metrics(target: str, *, quick: bool) -> list[Metric]:
    """Compare an oracle per world with the best fixed knobs chosen on other worlds."""
    worlds, points = (32, 64) if quick else (384, 1024)
    env = make_batch(target, worlds)
    env.reset(seed=7)
    size = env.single_action_space.shape[0]  # type: ignore[index]
    tried = candidates(size, points)
    rewards = env.peek_rewards(np.repeat(tried[:, None, :], worlds, axis=1))
    half = worlds // 2
    chosen = int(rewards[:, :half].mean(axis=1).argmax())
    static = rewards[chosen, half:]
    oracle, interior = search_oracle(env, tried[rewards.argmax(axis=0)])
    gap = oracle[half:] - static
    numeric = np.array([knob.kind != "enum" for knob in env.target.group])
    rng = np.random.default_rng(1)
    means = [rng.choice(gap, gap.size).mean() for _ in range(1000)]
    return [
        Metric(
            name="oracle_over_best_static_ratio", set=target,
            value=float(np.expm1(gap.mean())), lo=float(np.expm1(np.quantile(means, 0.025))),
            hi=float(np.expm1(np.quantile(means, 0.975))), n=gap.size, baseline="best static",
        ),
        Metric(
            name="oracle_over_default_nats", set=target, value=float(oracle[half:].mean()),
            n=gap.size, baseline="shipped default",
        ),
        Metric(
            name="best_static_over_default_nats", set=target, value=float(static.mean()),
            n=gap.size, baseline="shipped default",
        ),
        Metric(
            name="worlds_served_by_one_action_ratio", set=target,
            value=served_ratio(rewards[:, half:], oracle[half:]), n=gap.size,
            baseline="within 2 % of the oracle",
        ),
        Metric(
            name="interior_optima_ratio", set=target, value=float(interior[numeric].mean()),
            n=worlds * int(numeric.sum()), baseline="bounds of the knobs",
        ),
    ]  # fmt: skip


def served_ratio(rewards_AN: FloatArray, oracle_N: FloatArray) -> float:
    """Return the largest share of worlds that one action serves within 2 % of their oracle."""
    near = rewards_AN > oracle_N - np.log(1.02)
    return float(near.mean(axis=1).max())


def run(*, quick: bool) -> BenchmarkResult:
    """Measure everything; the quick form leaves the codec table out and takes small samples."""
    cells = table_cells()
    metrics = fidelity_metrics(cells) + compressed_metrics() + choice_metrics(cells)
    for target in rl_envs.ENVIRONMENTS:
        metrics += headroom_metrics(target, quick=quick) + speed_metrics(target, quick=quick)
    metrics += promise_metrics(quick=quick) + leak_metrics(quick=quick)
    if not quick:
        metrics += codec_metrics()
    return BenchmarkResult(
        theme="simulator",
        command="python -m benchmarks.environment" + " --quick" * quick,
        seeds=(1, 2, 3, 5, 6, 7, 8, 21),
        data_sha256=hashlib.sha256(TESTBED_TABLE.read_bytes()).hexdigest(),
        machine=describe_machine(),
        versions=describe_versions(["numpy", "gymnasium", "zstandard", "lz4"]),
        metrics=tuple(metrics),
        notes=(
            "Fidelity is against real TCP of one kernel over one emulator; nothing here is production.",
            "Errors of goodput and round trip are |ln(law / measured)| of means over seeds, on the half "
            "of the cells that no coefficient was fitted on. The shape of the laws was worked out with "
            "all cells in view, so that half tests the coefficients, not the shapes.",
            "Intervals of fidelity are over cells and groups; those of headroom over worlds; speeds "
            "are CPU time of one process and their range is over repeats.",
            "Headroom is in worlds of the training side, at the first decision of an episode.",
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its result files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--output", type=Path, default=RESULTS_DIR, help="folder of the results")
    options = parser.parse_args(arguments)
    result = run(quick=options.quick)
    path = write_result(result, options.output)
    cells = table_cells()
    draw_fidelity(cells, options.output / "simulator_fidelity.png")
    draw_streams(cells, options.output / "simulator_streams.png")
    draw_headroom(result, options.output / "simulator_headroom.png")
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
