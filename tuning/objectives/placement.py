"""Searches the models that estimate what placements lead to; folds of fleets as fidelity.

Outcomes are simulated, on the sizes of real nodes and requests where their trace is at hand. Fleets
are the groups: search trials are cross-fitted over folds of fleets, the untouched block is fleets of
another seed. The card and the benchmark of placement draw fleets of their own seeds. The lifetime
model, which needs replays to be judged, keeps its settings.

Legend: N placements, T targets.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.placement.config import OutcomeConfig, WeightsConfig
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
_EXAMPLES: Final = 1500
_SMALL_EXAMPLES: Final = 240
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
    scheduler: SchedulerKind = "median"

    def __init__(self, *, weighs_size: bool = False) -> None:
        space = space_of(self.model)
        searched = [
            name
            for name in space.names
            if name.startswith("outcomes.") and name != "outcomes.absent_ratio"
        ]
        self.space = space.only(searched)
        self.fidelity: Fidelity | None = Fidelity(unit="folds", low=1, high=_FOLDS)
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
        held = draw_examples(sizes, more, first + 1)
        fleets = len(np.unique(searched.fleet_N))
        both = Examples(
            raw_NR=np.concatenate([searched.raw_NR, held.raw_NR]),
            grade_NT=np.concatenate([searched.grade_NT, held.grade_NT]),
            fleet_N=np.concatenate([searched.fleet_N, held.fleet_N + fleets]),
        )
        return Prepared(
            search=PlacementData(examples=searched, fold_N=searched.fleet_N % _FOLDS),
            untouched=PlacementData(examples=both, fold_N=np.where(both.fleet_N < fleets, -1, 0)),
            source=f"simulated outcomes on {sizes.source}, seeds {first} and {first + 1}",
            sha256=arrays_sha256({"raw": both.raw_NR, "grade": both.grade_NT}),
            blocks={
                "search": f"{_FOLDS} folds of {fleets} fleets",
                "untouched": f"{_HELD * fleets} fleets of another seed",
            },
        )

    def run(self, data: PlacementData, trial: Trial, progress: Progress) -> Scores:
        """Fit on the other folds and score each fold."""
        block = block_of(self.space, trial.values)["outcomes"]
        config = OutcomeConfig.model_validate(block)
        folds = [int(fold) for fold in np.unique(data.fold_N) if fold >= 0]
        budget = trial.budget or _FOLDS
        done: list[_Scored] = []
        found: Scores = {}
        for place, fold in enumerate(folds[:budget], start=1):
            done.append(_score_fold(data, fold, config, trial.seed))
            found = self._scores(done)
            # One fold is all there is on the untouched block.
            last = place == min(len(folds), budget)
            progress.report(budget if last else place, found)
        return found

    def config(self, values: Values) -> dict[str, Any]:
        """Return the training file with these values."""
        return with_values("train/placement", self.space, values)

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


def _score_fold(data: PlacementData, fold: int, config: OutcomeConfig, seed: int) -> _Scored:
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
        leaves=_leaves(models),
    )


def _leaves(models: OutcomeModels) -> int:
    return sum(
        int(tree["num_leaves"])
        for booster in models.boosters.values()
        for tree in booster.dump_model()["tree_info"]
    )


OBJECTIVE: Final = PlacementObjective()
WITH_SIZE: Final = PlacementObjective(weighs_size=True)
