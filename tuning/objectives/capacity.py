"""Searches what the capacity planner knows beforehand: booster, weights, trials; origins as fidelity.

Daily series, 30 days ahead, cut where their test part begins. The last horizon before that is the
untouched block; the two before it score search trials, newest first, each with what was known then.
Prophet and the decomposition take no searched setting and most of the time, so the ensemble of a
trial is the weekday mean and the booster; the errors stand beside those of the weekday mean.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import SchemaError
from novacron.models.capacity.config import CapacityConfig
from novacron.models.capacity.fit import FitConfig, fit_grid
from novacron.models.capacity.fit import Series as FitSeries
from novacron.models.capacity.history import DAY_S, History, to_history
from novacron.models.capacity.model import CapacityModel
from novacron.models.capacity.scoring import score_origin, weekday_mean_score
from novacron.models.search_space import Values
from novacron.telemetry.datasets.demand import DAILY_HORIZON, load_demand
from novacron.telemetry.synthesize.demand import generate_demand
from tuning.objective import DataSource, Fidelity, Metric, Prepared, Progress, SchedulerKind, Trial
from tuning.objectives.files import arrays_sha256, block_of, with_values
from tuning.scores import GroupScores, Scores
from tuning.spaces import space_of

Floats = NDArray[np.float64]

METRIC: Final = "error_ratio_to_weekday_mean"
_MEMBERS: Final = ("weekday_mean", "boosted")
_ORIGINS: Final = 2
_LONGEST: Final = 720
"""Newest days of the open part of each series that are used."""
_SHORTEST: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Open:
    """One series up to its test part, in days."""

    name: str
    history: History


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityData:
    """Series with the number of horizons before their end at which forecasts are scored."""

    series: tuple[Open, ...]
    back: tuple[int, ...]


class CapacityObjective:
    """Implements `tuning.objective.Objective`."""

    model = "capacity"
    metrics = (Metric(name=METRIC),)
    fidelity = Fidelity(unit="origins", low=1, high=_ORIGINS)
    scheduler: SchedulerKind = "median"
    perturbed: tuple[str, ...] = ()
    space = space_of("capacity")

    def prepare(self, source: DataSource) -> Prepared:
        """Load or generate the series and cut them.

        Raises:
            DatasetNotFoundError: A file is not in the folder.
            SchemaError: No series is long enough.
        """
        if source.folder is None:
            frame = generate_demand(
                60_000 + source.seed, series=4 if source.small else 12,
                days=240 if source.small else 500,
            )  # fmt: skip
            found = {str(name): to_history(frame[name]) for name in frame.columns}
            said = f"generator seed {60_000 + source.seed}"
        else:
            found = {}
            for demand in load_demand(source.folder):
                history = to_history(demand.series)
                # A series without tests of its own is open to its end.
                stop = demand.test_from if demand.origins else len(history)
                found[demand.name] = history.until(min(stop, len(history)))
            said = "public demand series on days, up to their test part"
        series = tuple(
            Open(name=name, history=history.since(max(0, len(history) - _LONGEST)))
            for name, history in found.items()
            if history.step_s == DAY_S and len(history) >= _SHORTEST
        )
        if len(series) < 3:
            raise SchemaError(
                field="series",
                got=f"{len(series)} daily series of {_SHORTEST} days before their test part",
                expected="at least 3",
            )
        return Prepared(
            search=CapacityData(series=series, back=(2, 3)),
            untouched=CapacityData(series=series, back=(1,)),
            source=said,
            sha256=arrays_sha256({one.name: one.history.value_T for one in series}),
            blocks={
                "search": f"{_ORIGINS} origins of {len(series)} series",
                "untouched": "the last 30 days before the test part of each",
            },
        )

    def run(self, data: CapacityData, trial: Trial, progress: Progress) -> Scores:
        """Fit on what lies before an origin and forecast from it, origin after origin."""
        settings = block_of(self.space, trial.values)
        config = FitConfig.model_validate(settings | {"seed": trial.seed, "members": _MEMBERS})
        budget = trial.budget or _ORIGINS
        origins = data.back[:budget]
        rows: list[tuple[str, float, float]] = []
        found: Scores = {}
        for number, back in enumerate(origins, start=1):
            rows += _forecast(data, back, config)
            found = {
                METRIC: GroupScores.of_rows(
                    [name for name, _, _ in rows],
                    np.array([own for _, own, _ in rows]),
                    np.array([plain for _, _, plain in rows]),
                )
            }
            progress.report(budget if number == len(origins) else number, found)
        return found

    def config(self, values: Values) -> dict[str, Any]:
        """Return the training file with these values."""
        return with_values("train/capacity", self.space, values)


def _forecast(data: CapacityData, back: int, config: FitConfig) -> list[tuple[str, float, float]]:
    """Return for each series its name, the error, and that of the weekday mean, in MASE."""
    known = {
        one.name: one.history.until(len(one.history) - back * DAILY_HORIZON) for one in data.series
    }
    series = [FitSeries(history=history, group=name) for name, history in known.items()]
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit_grid(series, DAILY_HORIZON, config, Path(folder), lambda *_: None)
    model = CapacityModel(
        CapacityConfig(members=_MEMBERS), {DAY_S: fitted.prior}, {DAY_S: fitted.booster}
    )
    rows = []
    for one in data.series:
        history = known[one.name]
        actual_H = one.history.value_T[len(history) : len(history) + DAILY_HORIZON]
        outlook = model.outlook(history, DAILY_HORIZON)
        if outlook is None or np.isnan(actual_H).all():
            continue
        own = score_origin(one.name, history, actual_H, outlook.value())
        plain = weekday_mean_score(one.name, history, actual_H)
        rows.append((one.name, own.abs_error / own.scale, plain.abs_error / plain.scale))
    return rows


OBJECTIVE: Final = CapacityObjective()
