"""What is measured of a fitted optimizer: its estimates on unseen fleets, its packing on later days.

Legend: N placements, T targets. The independent units are fleets and clusters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import NotReadyError
from novacron.models.metrics import Interval, group_ratio
from novacron.models.placement.arrivals import azure_requests
from novacron.models.placement.audit import Audit
from novacron.models.placement.config import PlacementConfig
from novacron.models.placement.fitted import PlacementModels
from novacron.models.placement.outcomes import TARGETS, OutcomeModels, draw_examples
from novacron.models.placement.packing import Gate
from novacron.models.placement.replay import Replay, Replayed, Rule
from novacron.models.placement.training import (
    Followed,
    Times,
    curves_of,
    follow_clusters,
    sizes_of,
)

Floats = NDArray[np.float64]

UNSEEN: Final = 1_000_003
"""Added to the seed of training for fleets that it never drew."""
ORACLE_GATES: Final = (
    Gate(rule="buckets", scale_s=600.0, least_gain=0.0),
    Gate(rule="linear", scale_s=12_000.0, least_gain=0.0),
)
"""The oracle knows every end; the better of its two rules in each cluster is the bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One figure with its interval, what it was measured on, and what stands beside it."""

    name: str
    set: str
    value: Interval
    baseline: str


def score_estimates(
    models: OutcomeModels, config: PlacementConfig, data_dir: Path | None, rng: np.random.Generator
) -> list[Score]:
    """Score the estimates on simulated fleets of a seed that training never drew."""
    unseen = draw_examples(sizes_of(data_dir), config.outcomes, config.seed + UNSEEN)
    off_NT = np.abs(models.estimate(unseen.raw_NR) - unseen.grade_NT)
    # The constant that knows the mean of the very fleets it is scored on.
    flat_NT = np.abs(unseen.grade_NT - unseen.grade_NT.mean(axis=0))
    ones_N = np.ones(len(off_NT))
    scores = []
    for place, name in enumerate(TARGETS):
        found = group_ratio(off_NT[:, place], flat_NT[:, place], unseen.fleet_N, rng)
        inside_N = (off_NT[:, place] <= models.half_width_T[place]).astype(np.float64)
        covered = group_ratio(inside_N, ones_N, unseen.fleet_N, rng)
        on = f"simulated {name}"
        scores += [
            Score(name="error_ratio_to_mean", set=on, value=found, baseline="the true mean is 1"),
            Score(
                name="interval_coverage",
                set=on,
                value=covered,
                baseline=f"nominal {config.outcomes.coverage}",
            ),
        ]
    return scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """One cluster under each rule."""

    by_rule: Mapping[str, Replayed]
    infeasible: int
    """Placements of the lifetime rule that the independent checker refused."""
    checked: int

    def active(self, rule: str) -> float:
        """Return the mean nodes in use of a rule."""
        return self.by_rule[rule].active_nodes

    @property
    def oracle(self) -> float:
        """Return the mean nodes in use of the better oracle."""
        return min(self.active(rule) for rule in self.by_rule if rule.startswith("oracle"))


def pack_cluster(
    part: Followed,
    models: PlacementModels,
    times: Times,
    rules: tuple[Rule, ...],
    seed: int,
) -> Packed:
    """Replay one cluster under best fit, the gated lifetime rule, oracles, and other rules.

    Every placement of the gated lifetime rule goes to the independent checker.
    """
    if models.lifetimes is None:
        raise NotReadyError(
            "There is no lifetime model to pack with.", remedy="Train with lifetimes."
        )
    lives = curves_of(part, models.lifetimes)
    totals = [tuple(float(x) for x in total_R) for total_R in part.nodes.total_HR]
    audit = Audit(part.requests, totals)
    runs: list[tuple[str, Rule, Gate]] = [(rule, rule, models.gate) for rule in rules]
    runs += [(f"oracle_{gate.rule}", "lifetime_oracle", gate) for gate in ORACLE_GATES]
    found = {}
    for name, rule, gate in runs:
        found[name] = Replay(
            part.requests,
            part.nodes,
            rule,
            starts_s=times.trained_s,
            score_from_s=times.scored_s,
            lifetimes=lives,
            gate=gate,
            rng=np.random.default_rng(seed),
            auditor=audit if rule == "lifetime" else None,
        ).run()
    return Packed(by_rule=found, infeasible=audit.infeasible, checked=audit.placements)


def score_packing(
    models: PlacementModels, data_dir: Path, rng: np.random.Generator, *, most: int
) -> list[Score]:
    """Score the packing on days after training, in up to `most` clusters."""
    config = models.config.lifetimes
    requests = azure_requests(data_dir, config.seed)
    times = Times.of(requests, config)
    parts = follow_clusters(requests, config)[:most]
    packed = [
        pack_cluster(part, models, times, ("best_fit", "lifetime"), config.seed) for part in parts
    ]
    return packing_scores(packed, "azure_v1", rng)


def packing_scores(packed: list[Packed], on: str, rng: np.random.Generator) -> list[Score]:
    """Compare the gated lifetime rule with best fit and the oracle over clusters."""
    best_N = np.array([one.active("best_fit") for one in packed])
    ours_N = np.array([one.active("lifetime") for one in packed])
    oracle_N = np.array([one.oracle for one in packed])
    each_N = np.arange(len(packed))
    ratio = group_ratio(ours_N, best_N, each_N, rng)
    bound = group_ratio(oracle_N, best_N, each_N, rng)
    gain = gain_share(best_N, ours_N, oracle_N, rng)
    placed = sum(one.checked for one in packed)
    infeasible = sum(one.infeasible for one in packed)
    none = Interval(value=infeasible, lo=infeasible, hi=infeasible, n=placed)
    beside = f"lifetime oracle {bound.value:.4f}"
    return [
        Score(name="active_nodes_ratio_to_best_fit", set=on, value=ratio, baseline=beside),
        Score(name="share_of_oracle_gain", set=on, value=gain, baseline="best fit 0, oracle 1"),
        Score(
            name="infeasible_placements", set=on, value=none, baseline="the independent checker"
        ),
    ]


def gain_share(
    best_N: Floats, ours_N: Floats, oracle_N: Floats, rng: np.random.Generator
) -> Interval:
    """Return the share of the oracle's gain over best fit, a ratio of sums over clusters.

    Clusters are drawn again, 1,000 times; where the oracle gains nothing there is no share.
    """
    draws_BN = rng.integers(len(best_N), size=(1000, len(best_N)))
    gained_B = (best_N - ours_N)[draws_BN].sum(axis=1)
    could_B = (best_N - oracle_N)[draws_BN].sum(axis=1)
    share_B = gained_B[could_B > 0] / could_B[could_B > 0]
    could = float((best_N - oracle_N).sum())
    value = float((best_N - ours_N).sum()) / could if could > 0 else 0.0
    lo, hi = np.quantile(share_B, [0.025, 0.975]) if len(share_B) else (value, value)
    return Interval(value=value, lo=float(min(lo, value)), hi=float(max(hi, value)), n=len(best_N))
