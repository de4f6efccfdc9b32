"""Searches the scaling model by replays of its default policy; rolling-origin folds as fidelity.

Only what training may see is used: each series ends where its test part begins. A fold learns up to a
moment, calibrates on what follows, and replays the days after that; the last such stretch of every
series is the untouched block. Days of a series are the groups, as in the benchmark.

The loss is the capacity paid over demand, plus ten times the share of time under-provisioned: one
percent of time costs as much as a tenth of the demand.

Legend: T steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.scaling.config import ScalingConfig
from novacron.models.scaling.fit import FitPart, fit_scaling
from novacron.models.scaling.fitted import Fitted
from novacron.models.scaling.generated import generated_series
from novacron.models.scaling.public_series import PUBLIC_SETS, Series, public_series
from novacron.models.scaling.scores import run_policy
from novacron.models.search_space import Values
from tuning.objective import DataSource, Fidelity, Metric, Prepared, Progress, SchedulerKind, Trial
from tuning.objectives.files import arrays_sha256, block_of, with_values
from tuning.scores import GroupScores, Scores
from tuning.spaces import space_of

Floats = NDArray[np.float64]

METRIC: Final = "capacity_and_shortage_ratio"
UNDER_WEIGHT: Final = 10.0
POLICY: Final = "hybrid"
_ENDS: Final = (0.6, 0.8, 1.0)
"""Shares of the open part at which the folds end; the last is the untouched block."""
_SCORED: Final = 0.2
_CALIBRATION: Final = 0.15
_MOST_ORIGINS: Final = 1500
_LEAST_STEPS: Final = 600
_LONGEST_DAYS: Final = 21
"""The newest days of the open part that are used: long series would cost most of a trial."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingData:
    """Folds: in each, series that end with it, cut where calibration and scoring begin."""

    folds: tuple[Mapping[str, Series], ...]


class ScalingObjective:
    """Implements `tuning.objective.Objective`."""

    model = "scaling"
    metrics = (Metric(name=METRIC),)
    fidelity = Fidelity(unit="folds", low=1, high=len(_ENDS) - 1)
    scheduler: SchedulerKind = "median"
    perturbed: tuple[str, ...] = ()
    space = space_of("scaling")

    def prepare(self, source: DataSource) -> Prepared:
        """Load or generate the series and cut the folds.

        Raises:
            DatasetNotFoundError: A file is not in the folder.
        """
        if source.folder is None:
            days, nodes = (12, 2) if source.small else (18, 6)
            series = generated_series(40_000 + source.seed, days=days, nodes=nodes)
            said = f"generator seed {40_000 + source.seed}"
        else:
            series = public_series(source.folder)
            said = PUBLIC_SETS
        opened = {name: _open_part(one) for name, one in series.items()}
        folds = [
            {
                name: _cut(one, end)
                for name, one in opened.items()
                if len(one.demand) >= _LEAST_STEPS
            }
            for end in _ENDS
        ]
        return Prepared(
            search=ScalingData(folds=tuple(folds[:-1])),
            untouched=ScalingData(folds=tuple(folds[-1:])),
            source=said,
            sha256=arrays_sha256({n: one.demand.value_T for n, one in opened.items()}),
            blocks={
                "search": f"{len(_ENDS) - 1} rolling origins of {len(folds[0])} series",
                "untouched": "the stretch before the test part of each series",
            },
        )

    def run(self, data: ScalingData, trial: Trial, progress: Progress) -> Scores:
        """Fit and replay fold after fold."""
        config = self._config(trial)
        budget = trial.budget or self.fidelity.high
        rows: list[tuple[str, float]] = []
        found: Scores = {}
        folds = data.folds[:budget]
        for number, fold in enumerate(folds, start=1):
            fitted = fit_scaling(
                {
                    name: FitPart(
                        demand=one.demand.part(0, one.test_from),
                        train_until=one.calibration_from,
                    )
                    for name, one in fold.items()
                },
                config,
            )
            for name, one in fold.items():
                rows += _replayed(fitted, one, f"{name}/{number}")
            found = {
                METRIC: GroupScores.of_rows(
                    [name for name, _ in rows], np.array([loss for _, loss in rows])
                )
            }
            progress.report(budget if number == len(folds) else number, found)
        return found

    def config(self, values: Values) -> dict[str, Any]:
        """Return the training file with these values."""
        return with_values("train/scaling", self.space, values)

    def _config(self, trial: Trial) -> ScalingConfig:
        block = block_of(self.space, trial.values)
        block["forecast"] = block.get("forecast", {}) | {
            "seed": trial.seed,
            "most_origins_per_series": _MOST_ORIGINS,
        }
        return ScalingConfig.model_validate(block)


def _replayed(fitted: Fitted, one: Series, name: str) -> list[tuple[str, float]]:
    """Replay the default policy and return the loss of each scored step, by series and day."""
    config = fitted.config
    outlook = fitted.outlook(one.demand, begin=one.calibration_from)
    delay_s = max(config.boot_delay_s, one.demand.step_s)
    capacity_T = run_policy(fitted, outlook, one, config.policies[POLICY], delay_s)
    value_T = one.demand.value_T
    scored_T = np.isfinite(value_T) & np.isfinite(capacity_T)
    scored_T[: one.test_from] = False
    mean = max(float(value_T[scored_T].mean()), 1e-12)
    loss_T = capacity_T / mean + UNDER_WEIGHT * (value_T > capacity_T)
    return [
        (f"{name}/{at // one.demand.day_steps}", float(loss_T[at]))
        for at in np.flatnonzero(scored_T)
    ]


def _open_part(one: Series) -> Series:
    """Return the newest days before the test part, which is left out."""
    first = max(0, one.test_from - _LONGEST_DAYS * one.demand.day_steps)
    demand = one.demand.part(first, one.test_from)
    return Series(name=one.name, demand=demand, calibration_from=0, test_from=len(demand))


def _cut(one: Series, end: float) -> Series:
    """Return the series up to a share of it, with the steps at which its parts begin."""
    stop = round(end * len(one.demand))
    scored = round(stop - _SCORED * len(one.demand))
    return Series(
        name=one.name,
        demand=one.demand.part(0, stop),
        calibration_from=round(scored - _CALIBRATION * len(one.demand)),
        test_from=scored,
    )


OBJECTIVE: Final = ScalingObjective()
