"""Judges a trained policy on the test side of the simulator: the figures of its card."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from novacron.models.policy.part import Measured, TargetPart
from ray_jobs.policy_config import PolicyTrainConfig
from rl_envs.baselines.static import FixedSettings, ShippedDefault, fit_fixed
from rl_envs.evaluate import Harm, Interval, NetworkController, Played, Worlds, harm, play
from rl_envs.guarded import GuardedController
from rl_envs.judge import Judgement, judge, oracle_run


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyFigures:
    """What was measured of one policy, alone and behind its guard, on test worlds."""

    judged: Judgement
    guarded: Judgement
    static: Judgement
    guarded_unfamiliar: Harm
    """The guarded policy on paths outside its training."""
    control: Interval
    """The shipped default against itself: has to be no gain."""

    def for_card(self) -> Mapping[str, Interval]:
        """Return the figures a gate looks at, by name."""
        judged, safe = self.judged, self.guarded.harm.worse_ratio
        return {
            "improvement_over_default_ratio": judged.improvement,
            "improvement_over_best_static_ratio": judged.over["best_static"],
            "improvement_over_best_per_class_ratio": judged.over["best_per_class"],
            "oracle_share_decision_1_ratio": judged.oracle_share_1,
            "oracle_share_decision_3_ratio": judged.oracle_share_3,
            "guarded_improvement_ratio": self.guarded.improvement,
            "guarded_worse_than_default_ratio": safe,
        }

    def for_manifest(self) -> dict[str, Measured]:
        """Return the same as the bundle's manifest keeps them."""
        return {
            name: Measured(value=each.value, lo=each.lo, hi=each.hi, n=each.n)
            for name, each in self.for_card().items()
        }


def judge_part(
    part: TargetPart, config: PolicyTrainConfig, *, cache: Path | None, world: str
) -> PolicyFigures:
    """Play the policy, its guard, fixed settings and the oracle in the same test worlds."""
    target = part.card.target
    worlds = Worlds(target=target, worlds=config.judged_worlds, decisions=config.decisions)
    oracle = oracle_run(
        Worlds(target=target, worlds=min(config.oracle_worlds, config.judged_worlds)),
        futures=config.oracle_futures,
        cache=cache,
        digest=world,
    )
    settings = fit_fixed(target)
    others = others_of(settings, worlds)
    shipped = play(ShippedDefault(target), worlds)
    guarded = play(GuardedController(part), worlds)
    away = Worlds(
        target=target, worlds=config.judged_worlds, decisions=config.decisions, split="ood"
    )
    unfamiliar = play(GuardedController(part), away)
    return PolicyFigures(
        judged=judge([play(NetworkController("policy", part.propose), worlds)], oracle, others),
        guarded=judge([guarded], oracle, others),
        static=judge([others["best_static"]], oracle, {}),
        guarded_unfamiliar=harm(unfamiliar.reward_KN[None], unfamiliar.path_N),
        control=judge([shipped], oracle, {}).improvement,
    )


def others_of(settings: FixedSettings, worlds: Worlds) -> dict[str, Played]:
    """Play the fixed settings."""
    return {each.name: play(each, worlds) for each in (settings.best, settings.per_class)}
