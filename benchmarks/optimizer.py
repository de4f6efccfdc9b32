"""The parameter optimizer against all its baselines on held-out paths: `make bench-optimizer`.

`python -m benchmarks.optimizer [--quick]` writes `results/optimizer.json`. Everything is simulated.
The policies judged by several seeds come from this project's own PPO loop, the registered ones from
RLlib; a parity run on one target puts both at equal steps.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.optimizer_peers import Learnt, SideBySide, by_rllib, call_us, own_loop
from benchmarks.optimizer_tables import (
    change_metrics,
    draw_shares,
    harm_metrics,
    judged_metrics,
    metric,
    number,
)
from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    write_result,
)
from novacron.models.policy.bundle import load_part
from novacron.models.policy.config import GuardConfig
from novacron.models.policy.network import Float32
from novacron.models.policy.part import PartCard, TargetPart, networks_of
from novacron.params.observations import OBSERVATIONS
from ray_jobs.locations import runs_dir
from ray_jobs.policy_config import PolicyTrainConfig, policy_config, world_sha256
from ray_jobs.policy_rllib import NETWORK_FILE
from ray_jobs.policy_training import TRAINERS, policy_dir, policy_key
from ray_jobs.run_folder import RunFolder
from rl_envs.baselines.base import Controller
from rl_envs.baselines.rules import RULES, HandRule
from rl_envs.baselines.search import HillClimb, OptunaSearch
from rl_envs.baselines.static import ShippedDefault, fit_fixed
from rl_envs.evaluate import (
    Interval,
    NetworkController,
    Played,
    Worlds,
    harm,
    mean_interval,
    play,
)
from rl_envs.guarded import GuardedController
from rl_envs.judge import Judgement, OracleRun, improvement_over, judge, oracle_run, oracle_share
from rl_envs.learn.assemble import Origin, assemble_part
from rl_envs.learn.config import PpoConfig
from rl_envs.learn.effects import QRegression

PARITY_TARGET: Final = "acp_consensus"
PROBES: Final = 20
SEEDS: Final = {
    "hde_compression": (0,),
    "amst_transport": (0,),
    "pba_prediction": (0, 1, 2),
    "acp_consensus": (0, 1, 2),
}
"""Targets of the full run, and the seeds their policies are trained with."""
OWN: Final = TRAINERS["loop"]

Network = Callable[[Float32], Float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much is measured."""

    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    worlds: int
    decisions: int
    search_worlds: int
    gp_probes: int
    gp_worlds: int
    gp_targets: tuple[str, ...]
    parity_steps: int
    own_steps: int | None
    """Interactions of the own loop's policies; None: those of the target's config."""
    with_rllib: bool
    calls: int


FULL: Final = Sizes(
    targets=tuple(SEEDS), seeds=(0,), worlds=512, decisions=6, search_worlds=16,
    gp_probes=10, gp_worlds=6, gp_targets=("amst_transport",), parity_steps=0, own_steps=None,
    with_rllib=True, calls=200,
)  # fmt: skip
QUICK: Final = Sizes(
    targets=("acp_consensus",), seeds=(0, 1), worlds=48, decisions=3, search_worlds=3,
    gp_probes=0, gp_worlds=0, gp_targets=(), parity_steps=0, own_steps=8192, with_rllib=False, calls=3,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Where things are kept, and which world is measured."""

    sizes: Sizes
    cache: Path
    oracles: Path
    """Shared with the training job: an oracle plays the same worlds once."""
    world: str

    def config(self, target: str) -> PolicyTrainConfig:
        """Return the target's training config; the quick form is smaller in all."""
        config = policy_config(target)
        if self.sizes.own_steps is None:
            return config
        small = {"worlds": 32, "steps": 4, "epochs": 2}
        ppo = {"env_steps": self.sizes.own_steps, "hidden": (32, 32)}
        return config.model_copy(
            update={
                "ppo": config.ppo.model_copy(update=ppo),
                "effects": config.effects.model_copy(update=small),
                "oracle_worlds": 16,
                "oracle_futures": 1,
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetResult:
    """What one target gave."""

    metrics: tuple[Metric, ...]
    improvements: dict[str, Interval]


def kept_target(bench: Bench, target: str) -> TargetResult:
    """Measure a target, or read what an earlier run with the same inputs measured of it."""
    text = f"{bench.world}{bench.config(target)!r}{bench.sizes!r}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = bench.cache / f"measured-{target}-{digest}.json"
    if path.is_file():
        found = json.loads(path.read_text())
        return TargetResult(
            metrics=tuple(Metric.model_validate(row) for row in found["metrics"]),
            improvements={name: Interval(**row) for name, row in found["improvements"].items()},
        )
    result = measure_target(bench, target)
    bench.cache.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(
        json.dumps(
            {
                "metrics": [each.model_dump(mode="json") for each in result.metrics],
                "improvements": {name: asdict(each) for name, each in result.improvements.items()},
            }
        )
    )
    draft.replace(path)
    return result


def policies_of(bench: Bench, target: str) -> tuple[Learnt, ...]:
    """Return the loop's policies of a target, one for each seed."""
    ppo = bench.config(target).ppo
    return tuple(
        own_loop(target, ppo.model_copy(update={"seed": seed}), bench.cache, bench.world)
        for seed in (SEEDS[target] if bench.sizes.own_steps is None else bench.sizes.seeds)
    )


def measure_target(bench: Bench, target: str) -> TargetResult:
    """Train what is missing and judge everything on one target."""
    sizes, config = bench.sizes, bench.config(target)
    worlds = Worlds(target=target, worlds=sizes.worlds, decisions=sizes.decisions)
    oracle = oracle_run(
        replace(worlds, worlds=min(config.oracle_worlds, sizes.worlds)),
        futures=config.oracle_futures, cache=bench.oracles, digest=bench.world,
    )  # fmt: skip
    settings = fit_fixed(target, worlds=512 if sizes.with_rllib else 64)
    others = {each.name: play(each, worlds) for each in (settings.best, settings.per_class)}
    learnt = policies_of(bench, target)
    played = [
        play(NetworkController(f"seed {i}", each.network), worlds) for i, each in enumerate(learnt)
    ]
    judged = judge(played, oracle, others)
    registered = _registered(target, config, bench.world) if sizes.with_rllib else None
    main, trainer = (learnt[0], OWN) if registered is None else (registered, "RLlib PPO")
    part, q_network = _assembled(target, main, config, trainer, bench)
    found = judged_metrics("policy", target, judged)
    found += change_metrics("policy", target, judged.changes)
    single = judge([play(NetworkController("rllib", main.network), worlds)], oracle, others)
    improvements = {"best static": judge([others["best_static"]], oracle, {}).improvement}
    improvements |= {"policy, all seeds": judged.improvement}
    if registered is not None:
        found += judged_metrics("rllib_policy", target, single)
        improvements["policy, RLlib"] = single.improvement
    safe, safe_metrics = _guarded(target, part, worlds, oracle, others)
    found += safe_metrics
    improvements["guarded"] = safe.improvement
    found += _fixed(target, oracle, others, [play(QRegression(target, q_network), worlds)], worlds)
    found += _searches(bench, target, main)
    found += _serving(target, part, main, sizes.calls)
    found.append(
        metric("control_default_against_itself", target,
               improvement_over([play(ShippedDefault(target), worlds)]), "no gain")
    )  # fmt: skip
    found.append(
        number("own_loop_env_steps_per_cpu_s", target,
               float(np.median([each.env_steps / max(each.cpu_s, 1e-9) for each in learnt])),
               len(learnt), "RLlib beside")
    )  # fmt: skip
    if registered is not None:
        rate = main.env_steps / main.cpu_s
        found.append(number("rllib_env_steps_per_cpu_s", target, rate, 1, "goal 7000"))
        found.append(number("rllib_training_cpu_s", target, main.cpu_s, 1, "goal 600"))
    return TargetResult(metrics=tuple(found), improvements=improvements)


def _registered(target: str, config: PolicyTrainConfig, world: str) -> Learnt | None:
    """Return the network of the training job; None where that has not finished."""
    folder = policy_dir(target, policy_key(target, config, world)) / "checkpoints"
    if not (folder / NETWORK_FILE).is_file():
        return None
    return by_rllib(target, config, folder)


def _assembled(
    target: str, learnt: Learnt, config: PolicyTrainConfig, trainer: str, bench: Bench
) -> tuple[TargetPart, Network]:
    finished = _finished_part(target, config, trainer, bench.world)
    if finished is not None:
        return finished
    origin = Origin(
        version="benchmark", trainer=trainer, seed=config.ppo.seed,
        env_steps=learnt.env_steps, frames=config.ppo.frames,
    )  # fmt: skip
    return assemble_part(
        target, learnt.network, config.effects, origin, bench.cache / "parts" / target
    )


def _finished_part(
    target: str, config: PolicyTrainConfig, trainer: str, world: str
) -> tuple[TargetPart, Network] | None:
    """Return the part of the training job with its effects' network, where there is one."""
    key = policy_key(target, config, world) + ("-loop" if trainer == OWN else "")
    folder = RunFolder(path=policy_dir(target, key))
    card = folder.read("part")
    if card is None:
        return None
    files = folder.path / "part"
    _, effects = networks_of(files, target)
    return load_part(files, PartCard.model_validate(card)), effects


def _guarded(
    target: str, part: TargetPart, worlds: Worlds, oracle: OracleRun, others: dict[str, Played]
) -> tuple[Judgement, list[Metric]]:
    """Judge the guarded policy on test paths, and its harm on paths outside training."""
    longer = replace(worlds, worlds=min(worlds.worlds, 512))
    rows = {name: _first(each, longer.worlds) for name, each in others.items()}
    safe = judge([play(GuardedController(part, GuardConfig()), longer)], oracle, rows)
    away = replace(longer, split="ood")
    unfamiliar = play(GuardedController(part, GuardConfig()), away)
    without = play(GuardedController(part, GuardConfig(), canary=False), longer)
    found = judged_metrics("guarded", target, safe)
    found += change_metrics("guarded", target, safe.changes)
    away_name = f"{target}, out of distribution"
    found += harm_metrics(
        "guarded", away_name, harm(unfamiliar.reward_KN[None], unfamiliar.path_N),
        len(np.unique(unfamiliar.path_N)),
    )  # fmt: skip
    found.append(
        metric("without_canary_improvement_ratio", target, improvement_over([without]),
               "shipped default")
    )  # fmt: skip
    found += harm_metrics(
        "without_canary", target, harm(without.reward_KN[None], without.path_N),
        safe.improvement.n,
    )  # fmt: skip
    return safe, found


def _first(played: Played, worlds: int) -> Played:
    """Return the first worlds of what was played."""
    return replace(
        played, reward_KN=played.reward_KN[:, :worlds], path_N=played.path_N[:worlds],
        class_N=played.class_N[:worlds],
    )  # fmt: skip


def _fixed(
    target: str, oracle: OracleRun, others: dict[str, Played], learnt: list[Played], worlds: Worlds
) -> list[Metric]:
    """Judge fixed settings, hand rules and the regression on labels."""
    rules = [play(HandRule(target, name), worlds) for name in RULES.get(target, {})]
    found = []
    for each in (*others.values(), *rules, *learnt):
        found += [
            metric(f"{each.name}_improvement_ratio", target, improvement_over([each]),
                   "shipped default"),
            metric(f"{each.name}_oracle_share_decision_1", target, oracle_share([each], oracle, 1),
                   "oracle"),
            metric(f"{each.name}_oracle_share_decision_3", target, oracle_share([each], oracle, 3),
                   "oracle"),
            *harm_metrics(each.name, target, harm(each.reward_KN[None], each.path_N), worlds.worlds),
        ]  # fmt: skip
    return found


def _searches(bench: Bench, target: str, main: Learnt) -> list[Metric]:
    """Compare with searches on the live path: their last decisions, and the sum while probing."""
    sizes = bench.sizes
    runs: list[tuple[Controller, int, int]] = [
        (HillClimb(target, probes=PROBES), PROBES, sizes.search_worlds),
        (OptunaSearch(target, "tpe", probes=PROBES), PROBES, sizes.search_worlds),
    ]
    if target in sizes.gp_targets:
        runs.append(
            (OptunaSearch(target, "gp", probes=sizes.gp_probes), sizes.gp_probes, sizes.gp_worlds)
        )
    found = []
    for search, probes, count in runs:
        worlds = Worlds(target=target, worlds=count, decisions=probes + 3)
        theirs = play(search, worlds)
        mine = play(NetworkController("policy", main.network), worlds)
        ahead = mine.reward_KN - theirs.reward_KN
        name = search.name
        for part, rows in (("final", slice(probes, None)), ("while_probing", slice(0, probes))):
            found += [
                metric(f"{name}_gain_nats_{part}", target,
                       mean_interval(theirs.reward_KN[rows].mean(axis=0), theirs.path_N),
                       "shipped default"),
                metric(f"policy_ahead_of_{name}_nats_{part}", target,
                       mean_interval(ahead[rows].mean(axis=0), theirs.path_N), name),
            ]  # fmt: skip
    return found


def _serving(target: str, part: TargetPart, main: Learnt, calls: int) -> list[Metric]:
    """Measure the exported network: parity with the weights, and CPU time of a decision."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, (1000, main.network.inputs)).astype(np.float32)
    gap = np.abs(part.propose(x) - np.clip(main.network(x), -1.0, 1.0)).max()
    spent_us = call_us(lambda: part.propose(x[:1]), calls)
    return [
        number("onnx_parity_max_difference", target, float(gap), len(x), "goal 1e-5"),
        number("onnx_decision_cpu_us", target, spent_us, calls, "goal 100"),
    ]


def parity_metrics(bench: Bench) -> list[Metric]:
    """Train RLlib and the own loop at equal steps and seeds, and compare what they reach."""
    sizes, config = bench.sizes, bench.config(PARITY_TARGET)
    worlds = Worlds(target=PARITY_TARGET, worlds=sizes.worlds, decisions=3)
    oracle = oracle_run(
        replace(worlds, worlds=config.oracle_worlds), futures=config.oracle_futures,
        cache=bench.oracles, digest=bench.world,
    )  # fmt: skip
    mine: list[Learnt] = []
    theirs: list[Learnt] = []
    for seed in sizes.seeds:
        ppo: PpoConfig = config.ppo.model_copy(
            update={"env_steps": sizes.parity_steps, "seed": seed}
        )
        mine.append(own_loop(PARITY_TARGET, ppo, bench.cache, bench.world))
        folder = bench.cache / f"parity-{bench.world[:12]}" / str(seed)
        theirs.append(by_rllib(PARITY_TARGET, config.model_copy(update={"ppo": ppo}), folder))
    found, where = [], f"{PARITY_TARGET}, {sizes.parity_steps} steps"
    plays: dict[str, list[Played]] = {}
    for name, runs in (("own_loop", mine), ("rllib", theirs)):
        plays[name] = [play(NetworkController(name, each.network), worlds) for each in runs]
        found.append(
            metric(f"parity_{name}_oracle_share_decision_3", where,
                   oracle_share(plays[name], oracle, 3), "oracle")
        )  # fmt: skip
    gaps = [
        oracle_share([a], oracle, 3).value - oracle_share([b], oracle, 3).value
        for a, b in zip(plays["rllib"], plays["own_loop"], strict=True)
    ]
    reach = 1.96 * float(np.std(gaps, ddof=1)) / len(gaps) ** 0.5
    center = float(np.mean(gaps))
    gap = Interval(value=center, lo=center - reach, hi=center + reach, n=len(gaps))
    found.append(metric("parity_rllib_minus_own_loop_share", where, gap, "goal within 0.03"))
    cpu = [a.cpu_s / b.cpu_s for a, b in zip(theirs, mine, strict=True)]
    found.append(
        number(
            "parity_rllib_cpu_over_own_loop", where, float(np.median(cpu)), len(cpu), "own loop"
        )
    )
    return found


def joint_metrics(bench: Bench) -> list[Metric]:
    """Compare the joint policy with the two policies of its parts side by side."""
    needed = ("joint", "hde_compression", "amst_transport")
    if not all(target in bench.sizes.targets for target in needed):
        return []
    worlds = Worlds(target="joint", worlds=bench.sizes.worlds, decisions=bench.sizes.decisions)
    together = [
        play(NetworkController("joint", each.network), worlds)
        for each in policies_of(bench, "joint")
    ]
    apart = [
        play(SideBySide({"hde_compression": hde.network, "amst_transport": amst.network}), worlds)
        for hde, amst in zip(
            policies_of(bench, "hde_compression"),
            policies_of(bench, "amst_transport"),
            strict=True,
        )
    ]
    ahead = np.stack(
        [
            a.reward_KN.mean(axis=0) - b.reward_KN.mean(axis=0)
            for a, b in zip(together, apart, strict=True)
        ]
    )
    return [
        metric("separate_policies_improvement_ratio", "joint", improvement_over(apart),
               "shipped default"),
        metric("joint_policy_ahead_of_separate_nats", "joint",
               mean_interval(ahead, together[0].path_N), "separate policies"),
    ]  # fmt: skip


def full_bench() -> Bench:
    """Return the full benchmark's places; targets that were measured before are read from there."""
    return Bench(
        sizes=FULL,
        cache=runs_dir() / "optimizer",
        oracles=runs_dir() / "policy" / "oracles",
        world=world_sha256(),
    )


def run(sizes: Sizes, *, cache: Path, directory: Path) -> BenchmarkResult:
    """Measure everything, target by target."""
    torch.set_num_threads(1)
    bench = full_bench()
    if not sizes.with_rllib:
        bench = Bench(sizes=sizes, cache=cache, oracles=cache / "oracles", world=world_sha256())
    results = {}
    for target in sizes.targets:
        results[target] = kept_target(bench, target)
        sys.stderr.write(f"{target}: measured\n")
    metrics = [each for result in results.values() for each in result.metrics]
    metrics += joint_metrics(bench)
    if sizes.parity_steps:
        metrics += parity_metrics(bench)
    directory.mkdir(parents=True, exist_ok=True)
    draw_shares(
        [(target, result.improvements) for target, result in results.items()],
        directory / "optimizer.png",
    )
    return BenchmarkResult(
        theme="optimizer",
        command="python -m benchmarks.optimizer" + " --quick" * (not sizes.with_rllib),
        seeds=tuple(sorted({s for t in sizes.targets for s in SEEDS[t]})),
        data_sha256=f"simulator:{bench.world}",
        machine=describe_machine(),
        versions=describe_versions(
            ["numpy", "torch", "ray", "onnxruntime", "optuna", "gymnasium"]
        ),
        metrics=tuple(metrics),
        notes=NOTES,
    )


NOTES: Final = (
    "Simulated: nothing here was measured on a network. Test paths were never trained on.",
    "policy_*: one seed (three for pba_prediction and acp_consensus) of this project's PPO loop with the config of each target; rllib_policy_*, "
    "guarded_* and searches: the one RLlib policy of the training job; where rllib_policy_* is missing "
    "for a target, that job had not finished, and the loop's first seed stands in.",
    "An improvement is 1 - exp(-mean gain in nats), the share by which the weighted geometric mean of "
    "the objective's costs is lower. Intervals resample whole paths, and seeds where there are several.",
    "The oracle knows the hidden state and maximises the mean over drawn futures; it does not know the "
    "next interval's random numbers. Its search is finite: a share above 1 means that it missed some.",
    "Worlds are judged by the mean over their decisions; the worst single decision stands beside.",
    "Guarded figures pay for canaries: 2 s or three round trips at 5 % of the traffic, measured with an "
    "error of 0.05 nats; a control group's error over an interval is the same.",
    "Not measured: five seeds, itp_partition and joint, RLlib beside the loop at equal steps over seeds, "
    "and the gain realised on emulated links of the gain simulated.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its result files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--output", type=Path, default=RESULTS_DIR, help="folder of the results")
    parser.add_argument(
        "--only", choices=tuple(OBSERVATIONS), help="measure one target and keep it"
    )
    options = parser.parse_args(arguments)
    if options.only:
        torch.set_num_threads(1)
        kept_target(full_bench(), options.only)
        return 0
    if options.quick:
        with tempfile.TemporaryDirectory() as scratch:
            result = run(QUICK, cache=Path(scratch), directory=options.output)
    else:
        result = run(FULL, cache=runs_dir() / "optimizer", directory=options.output)
    sys.stdout.write(f"{write_result(result, options.output)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
