"""Searches the pattern recogniser for accuracy and for a small forest: a pareto front.

Windows are generated, as in training, from seeds that neither the training job nor the benchmark
draws; each window is a group of its own. Part of the search block is learned from, part sets the
temperature, part scores. The number of places of the forest decides its memory and its time.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from novacron.models.patterns.calibration import fit_temperature
from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.definitions import NAMES
from novacron.models.patterns.examples import Examples, draw_examples
from novacron.models.patterns.forest import grow
from novacron.models.patterns.model import Calibration, PatternModel
from novacron.models.search_space import Values
from tuning.objective import DataSource, Fidelity, Metric, Prepared, Progress, SchedulerKind, Trial
from tuning.objectives.files import arrays_sha256, block_of, with_values
from tuning.scores import GroupScores, Scores
from tuning.spaces import space_of

LOSS: Final = "log_loss"
SIZE: Final = "forest_places"
_EACH: Final = (120, 50, 80)
"""Windows of each type to learn from, to set the temperature on, to score."""
_SMALL_EACH: Final = (12, 10, 10)
_FIRST_SEED: Final = 500_000
_LEAST_PROBABILITY: Final = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class PatternData:
    """Windows to learn from, to set the temperature on, and to score."""

    fit: Examples
    calibrate: Examples
    score: Examples
    names: tuple[str, ...]
    """Of the windows to score."""


class PatternsObjective:
    """Implements `tuning.objective.Objective`."""

    model = "patterns"
    metrics = (Metric(name=LOSS, unit="nats"), Metric(name=SIZE, unit="places"))
    fidelity: Fidelity | None = None
    scheduler: SchedulerKind = "none"
    perturbed: tuple[str, ...] = ()

    def __init__(self) -> None:
        # More windows are always better: their number is bought, not searched.
        self.space = space_of(self.model).only(("trees", "leaf_windows", "feature_ratio"))

    def prepare(self, source: DataSource) -> Prepared:
        """Generate the windows and gather their evidence once."""
        fit, calibrate, score = _SMALL_EACH if source.small else _EACH
        first = _FIRST_SEED + 10 * source.seed
        drawn = [
            draw_examples(each, first + place)
            for place, each in enumerate((fit, calibrate, score, score))
        ]
        digest = arrays_sha256({str(n): one.x_NF for n, one in enumerate(drawn)})

        def data(place: int) -> PatternData:
            held = drawn[place]
            names = tuple(f"{first + place}/{row}" for row in range(len(held)))
            return PatternData(fit=drawn[0], calibrate=drawn[1], score=held, names=names)

        return Prepared(
            search=data(2),
            untouched=data(3),
            source=f"generated windows, seeds {first} to {first + 3}",
            sha256=digest,
            blocks={
                "search": f"{len(drawn[0])} windows to learn from, {len(drawn[2])} to score",
                "untouched": f"{len(drawn[3])} windows of another seed",
            },
        )

    def run(self, data: PatternData, trial: Trial, progress: Progress) -> Scores:
        """Grow the forest, set its temperature, score the probabilities."""
        config = PatternsConfig.model_validate(
            block_of(self.space, trial.values) | {"seed": trial.seed}
        )
        forest = grow(
            data.fit.x_NF,
            data.fit.type_N,
            classes=len(NAMES),
            trees=config.trees,
            leaf_rows=config.leaf_windows,
            feature_ratio=config.feature_ratio,
            seed=config.seed,
        )
        temperature = fit_temperature(
            forest.probabilities(data.calibrate.x_NF), data.calibrate.type_N
        )
        model = PatternModel(
            config, forest, Calibration(temperature=temperature, period_width=1.0)
        )
        p_NK = model.probabilities(forest.probabilities(data.score.x_NF))
        true_N = p_NK[np.arange(len(data.score)), data.score.type_N]
        loss_N = -np.log(np.maximum(true_N, _LEAST_PROBABILITY))
        places = float(np.count_nonzero(forest.feature_EP >= 0))
        found = {
            LOSS: GroupScores.of_rows(data.names, loss_N),
            SIZE: GroupScores.of_one(places),
        }
        progress.report(1, found)
        return found

    def config(self, values: Values) -> dict[str, Any]:
        """Return the training file with these values."""
        return with_values("train/patterns", self.space, values)


OBJECTIVE: Final = PatternsObjective()
