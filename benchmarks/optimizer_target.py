"""Everything that is measured of one target: policies, guard, fixed settings, searches, serving."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks.optimizer_peers import Learnt, by_rllib, call_us
from benchmarks.optimizer_plan import OWN, Bench, policies_of
from benchmarks.optimizer_tables import (
    change_metrics,
    harm_metrics,
    judged_metrics,
    limit_metric,
    metric,
    number,
)
from benchmarks.results_format import (
    Metric,
)
from novacron.models.policy.bundle import load_part
from novacron.models.policy.network import Float32
from novacron.models.policy.part import PartCard, TargetPart, networks_of
from ray_jobs.policy_config import PolicyTrainConfig
from ray_jobs.policy_rllib import NETWORK_FILE
from ray_jobs.policy_training import policy_dir, policy_key
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
    as_improvement,
    harm,
    mean_interval,
    play,
)
from rl_envs.guarded import GuardedController
from rl_envs.judge import Judgement, OracleRun, improvement_over, judge, oracle_run, oracle_share
from rl_envs.learn.assemble import Origin, assemble_part
from rl_envs.learn.effects import QRegression

PROBES: Final = 20


Network = Callable[[Float32], Float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetResult:
    """What one target gave."""

    metrics: tuple[Metric, ...]
    improvements: dict[str, Interval]


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
    found.append(limit_metric("policy", target, played))
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
    guarded = play(GuardedController(part), longer)
    safe = judge([guarded], oracle, rows)
    away = replace(longer, split="ood")
    unfamiliar = play(GuardedController(part), away)
    without = play(GuardedController(part, canary=False), longer)
    found = judged_metrics("guarded", target, safe)
    found += change_metrics("guarded", target, safe.changes)
    found.append(limit_metric("guarded", target, [guarded]))
    found.append(number("guard_sure_gain_nats", target, part.card.guard.sure_gain_nats, 1,
                        "chosen on validation paths"))  # fmt: skip
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


def _ceiling(target: str, oracle: OracleRun, best: Played) -> Metric:
    """Return what an oracle that sees the hidden state gains over the best fixed setting."""
    decisions, count = oracle.reward_KN.shape
    ahead = oracle.reward_KN - best.reward_KN[:decisions, :count]
    most = as_improvement(mean_interval(ahead.mean(axis=0), oracle.path_N))
    return metric("oracle_improvement_ratio_over_best_static", target, most, "best_static")


def _fixed(
    target: str, oracle: OracleRun, others: dict[str, Played], learnt: list[Played], worlds: Worlds
) -> list[Metric]:
    """Judge fixed settings, hand rules and the regression on labels."""
    rules = [play(HandRule(target, name), worlds) for name in RULES.get(target, {})]
    found = [_ceiling(target, oracle, others["best_static"])]
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
