"""Searches the models that estimate what placements lead to; parts of a cross-fit as fidelity.

Outcomes are simulated, on the sizes of real nodes and requests where their trace is at hand. Fleets
are the groups: search trials are cross-fitted over folds of fleets, finalists are scored on fleets of
another seed, and the untouched block is fleets of a third. The card and the benchmark of placement draw fleets of their own seeds. The lifetime
model, which needs replays to be judged, keeps its settings.

Legend: N placements, T targets.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.placement.config import BoostingConfig, OutcomeConfig, WeightsConfig
from novacron.models.placement.outcomes import (
    Examples,
    OutcomeModels,
    draw_examples,
    fit_estimates,
    target_weights,
)
from novacron.models.placement.training import sizes_of
from novacron.models.search_space import Values
from tuning.objective import DataSource, Fidelity, Metric, Prepared, Progress, SchedulerKind, Trial
from tuning.objectives.files import arrays_sha256, block_of, with_values
from tuning.scores import GroupScores, Scores
from tuning.spaces import space_of

Floats = NDArray[np.float64]

METRIC: Final = "estimate_error_ratio_to_mean"
SIZE: Final = "tree_leaves"
_FOLDS: Final = 3
_PARTS: Final = 3 * _FOLDS
"""A whole cross-fit. The first part is a draft of one fold, the third one fold."""
_DRAFT: Final = 3
"""A draft learns from one fleet in so many, and has as many times fewer trees."""
_DRAFT_RATE: Final = 2.0
"""Each of which counts for so many times as much."""
_EXAMPLES: Final = 1500
_SMALL_EXAMPLES: Final = 240
_LEAST_TREES: Final = 5
_HELD: Final = 2
_FIRST_SEED: Final = 70_001
"""Beyond the seeds of the training job and its card (7, 1,000,010) and of the benchmark."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacementData:
    """Placements with the fold of each: it is scored by models that learned from other folds.

    Rows of fold -1 are learned from in every fold.
    """

    examples: Examples
    fold_N: NDArray[np.int64]


class PlacementObjective:
    """Implements `tuning.objective.Objective`.

    Args:
        weighs_size: Search for accuracy and for few leaves, which decide memory and decision time.
    """

    model = "placement"
    perturbed: tuple[str, ...] = ()
    scheduler: SchedulerKind = "asha"

    def __init__(self, *, weighs_size: bool = False) -> None:
        space = space_of(self.model)
        searched = [
            name
            for name in space.names
            if name.startswith("outcomes.") and name != "outcomes.absent_ratio"
        ]
        self.space = space.only(searched)
        self.fidelity: Fidelity | None = Fidelity(unit="ninths", low=1, high=_PARTS)
        self.metrics: tuple[Metric, ...] = (Metric(name=METRIC),)
        if weighs_size:
            # Pareto fronts are of whole trials: none is stopped on its way.
            self.metrics += (Metric(name=SIZE, unit="leaves"),)
            self.scheduler, self.fidelity = "none", None

    def prepare(self, source: DataSource) -> Prepared:
        """Simulate the placements.

        Raises:
            NovacronError: The trace of sizes is there and not readable.
        """
        sizes = sizes_of(source.folder)
        config = OutcomeConfig(examples=_SMALL_EXAMPLES if source.small else _EXAMPLES)
        first = _FIRST_SEED + 10 * source.seed
        # The untouched block is scored a few times only: it may be larger.
        more = config.model_copy(update={"examples": _HELD * config.examples})
        searched = draw_examples(sizes, config, first)
        confirming = draw_examples(sizes, config, first + 2)
        held = draw_examples(sizes, more, first + 1)
        fleets = len(np.unique(searched.fleet_N))
        all_rows = {"raw": searched.raw_NR, "confirming": confirming.raw_NR, "held": held.raw_NR}
        return Prepared(
            search=PlacementData(examples=searched, fold_N=searched.fleet_N % _FOLDS),
            finalists=_scored_on(searched, confirming),
            untouched=_scored_on(searched, held),
            source=f"simulated outcomes on {sizes.source}, seeds {first} to {first + 2}",
            sha256=arrays_sha256(all_rows),
            blocks={
                "search": f"{_FOLDS} folds of {fleets} fleets",
                "finalists": f"{fleets} fleets of another seed",
                "untouched": f"{_HELD * fleets} fleets of a third seed",
            },
        )

    def run(self, data: PlacementData, trial: Trial, progress: Progress) -> Scores:
        """Fit on the other folds and score each fold; the first one as a draft before that."""
        block = block_of(self.space, trial.values)["outcomes"]
        config = OutcomeConfig.model_validate(block)
        folds = [int(fold) for fold in np.unique(data.fold_N) if fold >= 0]
        budget = trial.budget or _PARTS
        done: list[_Scored] = []
        found: Scores = {}
        if progress.is_judged or budget < _FOLDS:
            draft = _thinned(data, folds[0])
            found = self._scores([self._fold(draft, folds[0], _draft(config), trial.seed)])
            progress.report(1, found)
        for place, fold in enumerate(folds[: budget // _FOLDS], start=1):
            done.append(self._fold(data, fold, config, trial.seed))
            found = self._scores(done)
            # One fold is all there is on the other blocks.
            last = place == min(len(folds), budget // _FOLDS)
            progress.report(budget if last else _FOLDS * place, found)
        return found

    def config(self, values: Values) -> dict[str, Any]:
        """Return the training file with these values."""
        return with_values("train/placement", self.space, values)

    def _fold(self, data: PlacementData, fold: int, config: OutcomeConfig, seed: int) -> "_Scored":
        """Return the weighed errors of one fold, and those of the mean of what was learned from."""
        mine_N = data.fold_N == fold
        known, judged = data.examples.take(~mine_N), data.examples.take(mine_N)
        models = fit_estimates(known, config, seed)
        off_NT = np.abs(models.estimate(judged.raw_NR) - judged.grade_NT)
        flat_NT = np.abs(judged.grade_NT - known.grade_NT.mean(axis=0))
        # Targets vary more or less: each counts by its weight in the score, not by its spread.
        weight_T = target_weights(WeightsConfig()) / flat_NT.mean(axis=0)
        return _Scored(
            fleet_N=judged.fleet_N.astype(str),
            off_N=off_NT @ weight_T,
            flat_N=flat_NT @ weight_T,
            leaves=count_leaves(models) if len(self.metrics) > 1 else 0,
        )

    def _scores(self, done: list["_Scored"]) -> Scores:
        scores: dict[str, GroupScores] = {
            METRIC: GroupScores.of_rows(
                np.concatenate([one.fleet_N for one in done]),
                np.concatenate([one.off_N for one in done]),
                np.concatenate([one.flat_N for one in done]),
            )
        }
        if len(self.metrics) > 1:
            leaves = float(np.mean([one.leaves for one in done]))
            scores[SIZE] = GroupScores.of_one(leaves)
        return scores


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scored:
    fleet_N: NDArray[np.str_]
    off_N: Floats
    flat_N: Floats
    leaves: int


def _scored_on(known: Examples, judged: Examples) -> PlacementData:
    """Return placements to learn from, and others to be scored on, as one fold."""
    after = int(known.fleet_N.max()) + 1
    both = Examples(
        raw_NR=np.concatenate([known.raw_NR, judged.raw_NR]),
        grade_NT=np.concatenate([known.grade_NT, judged.grade_NT]),
        fleet_N=np.concatenate([known.fleet_N, judged.fleet_N + after]),
    )
    return PlacementData(examples=both, fold_N=np.where(both.fleet_N < after, -1, 0))


def _thinned(data: PlacementData, fold: int) -> PlacementData:
    """Return a fold with fewer fleets to learn from."""
    kept_N = (data.fold_N == fold) | (data.examples.fleet_N // _FOLDS % _DRAFT == 0)
    return PlacementData(examples=data.examples.take(kept_N), fold_N=data.fold_N[kept_N])


def _draft(config: OutcomeConfig) -> OutcomeConfig:
    """Return the settings with fewer trees and a higher rate, to tell bad ones cheaply."""

    def less(one: BoostingConfig) -> BoostingConfig:
        trees = max(_LEAST_TREES, round(one.trees / _DRAFT))
        rate = min(1.0, _DRAFT_RATE * one.learning_rate)
        return one.model_copy(update={"trees": trees, "learning_rate": rate})

    parts = {name: less(getattr(config, name)) for name in ("performance", "resource", "power")}
    return config.model_copy(update=parts)


def count_leaves(models: OutcomeModels) -> int:
    """Return the leaves of all trees, which decide memory and decision time."""
    return sum(
        int(tree["num_leaves"])
        for booster in models.boosters.values()
        for tree in booster.dump_model()["tree_info"]
    )


OBJECTIVE: Final = PlacementObjective()
WITH_SIZE: Final = PlacementObjective(weighs_size=True)
