"""Trains what the capacity planner knows beforehand: boosters, member weights, calibration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from novacron.models.base import ServableModel
from novacron.models.capacity.config import CapacityConfig
from novacron.models.capacity.fit import FitConfig, Series, fit_grid
from novacron.models.capacity.history import DAY_S, HOUR_S, History, to_history
from novacron.models.capacity.model import CapacityModel
from novacron.models.capacity.prophet_member import Holidays
from novacron.models.capacity.remembered import RememberedMembers
from novacron.models.capacity.scoring import (
    OriginScore,
    mase_ratio,
    score_origin,
    share_inside,
    weekday_mean_score,
)
from novacron.models.metrics import Interval
from novacron.registry.card import CardMetric
from novacron.telemetry.datasets.demand import (
    DAILY_HORIZON,
    DEMAND_FILES,
    HOURLY_HORIZON,
    Demand,
    load_demand,
)
from novacron.telemetry.digest import data_sha256
from novacron.telemetry.synthesize.demand import generate_demand
from ray_jobs.locations import runs_dir
from ray_jobs.one_unit import OneUnitTrainer, OwnDataConfig, Reporter, generated, real
from ray_jobs.trainers import Evaluation, TrainConfig
from ray_jobs.training_data import TrainingData

_STAGES: Final = ("boosters", "trials", "weights")
_GRIDS: Final = ((DAY_S, DAILY_HORIZON), (HOUR_S, HOURLY_HORIZON))


class CapacityTrainConfig(OwnDataConfig):
    """What `configs/train/capacity.yaml` may say."""

    planner: CapacityConfig = CapacityConfig()
    """The planner's own settings, stored with the model."""
    fit: FitConfig = FitConfig()
    generated_series: int = 12
    """Series on days, and half as many on hours, where no public traces are named."""
    generated_days: int = 500
    """Length of those on days; those on hours have 60 days."""
    test_origins: int = 5
    """Most origins of each series that the evaluation scores, the newest ones."""


class CapacityTrainer(OneUnitTrainer[CapacityTrainConfig]):
    """Learns from the public demand series up to their test part, or from generated ones."""

    name = "capacity"
    unit = "priors"
    config_model: type[TrainConfig] = CapacityTrainConfig
    libraries = ("numpy", "scipy", "statsmodels", "prophet", "lightgbm", "holidays")
    intended_use = (
        "Forecasts demand 30 days ahead (hours: 7 days) with calibrated intervals, and when "
        "thresholds are reached; members are fitted anew on every history."
    )
    limits = (
        "It reads the history of one series alone: no launch, migration or sale is known to it.",
        "A history shorter than 75 days has wide intervals, and one shorter than its horizon none.",
        "Beyond 30 days (hours: 7 days) intervals widen as a random walk, which is not calibrated.",
        "Intervals are calibrated over series: one series alone may be covered more or less.",
    )

    def describe(self, config: CapacityTrainConfig, folder: Path | None) -> TrainingData:
        """Describe the series."""
        if folder is None:
            steps = config.generated_series * (config.generated_days + 30 * 24)
            return generated(config.fit.seed, steps)
        demands = load_demand(folder)
        sets = ", ".join(dict.fromkeys(one.set for one in demands))
        return real(
            folder,
            f"public demand series: {sets}",
            sha256=data_sha256([folder / name for name in DEMAND_FILES]),
            rows=sum(len(one.series) for one in demands),
        )

    def fit(
        self, config: CapacityTrainConfig, data: TrainingData, report: Reporter
    ) -> ServableModel:
        """Fit one grid after the other; members' answers are kept below the runs folder."""
        demands = _demands(config, data.folder)
        fit = config.fit.model_copy(update={"members": config.planner.members})
        priors, boosters = {}, {}
        for place, (step_s, horizon) in enumerate(_GRIDS):

            def listen(stage: str, done: int, of: int, loss: float, place: int = place) -> None:
                step = place * len(_STAGES) + _STAGES.index(stage) + 1
                if done == of:
                    losses = {} if np.isnan(loss) else {"train": loss}
                    report(step, len(_GRIDS) * len(_STAGES), losses=losses)

            fitted = fit_grid(
                training_series(demands, step_s), horizon, fit, answers_folder(), listen
            )
            priors[step_s], boosters[step_s] = fitted.prior, fitted.booster
        return CapacityModel(config.planner, priors, boosters)

    def seeds(self, config: CapacityTrainConfig) -> tuple[int, ...]:
        """Return the seed of boosters and generated series."""
        return (config.fit.seed,)

    def measure(
        self, model: ServableModel, config: CapacityTrainConfig, folder: Path | None
    ) -> Evaluation:
        """Score it on the test parts of the series."""
        planner = cast(CapacityModel, model)
        members = RememberedMembers(planner.members(), answers_folder())
        own: list[OriginScore] = []
        plain: list[OriginScore] = []
        for demand in _demands(config, folder):
            for origin in demand.origins[-config.test_origins :]:
                history, actual = split_at(demand, origin)
                outlook = planner.outlook(history, demand.horizon, members=members)
                if outlook is None or np.isnan(actual).all():
                    continue
                intervals = {level: outlook.interval(level) for level in (0.80, 0.95)}
                own.append(score_origin(demand.group, history, actual, outlook.value(), intervals))
                plain.append(weekday_mean_score(demand.group, history, actual))
        return Evaluation(metrics=_metrics(own, plain, config.fit.seed))


def _metrics(
    own: Sequence[OriginScore], plain: Sequence[OriginScore], seed: int
) -> tuple[CardMetric, ...]:
    rng = np.random.default_rng(seed)
    found: tuple[tuple[str, Interval, str], ...] = (
        ("mase_ratio_to_weekday_mean", mase_ratio(own, plain, rng), "weekday mean of 4 weeks"),
        ("coverage_80", share_inside(own, "inside_80", rng), "0.8 nominal"),
        ("coverage_95", share_inside(own, "inside_95", rng), "0.95 nominal"),
    )
    return tuple(
        CardMetric(
            name=name, set="mix", value=one.value, lo=one.lo, hi=one.hi, n=one.n, baseline=base
        )
        for name, one, base in found
    )


def answers_folder() -> Path:
    """Return where members' answers are kept, so that a killed fit goes on."""
    return runs_dir() / "capacity"


def training_series(demands: Sequence[Demand], step_s: int) -> list[Series]:
    """Return the training parts of the series on one grid."""
    made = []
    for demand in demands:
        history = to_history(demand.series)
        if history.step_s == step_s and demand.test_from > 0:
            made.append(
                Series(
                    history=history.until(min(demand.test_from, len(history))),
                    group=demand.group,
                    holidays=Holidays(country=demand.country, subdivision=demand.subdivision),
                )
            )
    return made


def split_at(demand: Demand, origin: int) -> tuple[History, Any]:
    """Return the history before an origin and what followed it."""
    history = to_history(demand.series)
    return history.until(origin), history.value_T[origin : origin + demand.horizon]


def _demands(config: CapacityTrainConfig, folder: Path | None) -> tuple[Demand, ...]:
    if folder is not None:
        return load_demand(folder)
    days = generate_demand(
        config.fit.seed, series=config.generated_series, days=config.generated_days
    )
    hours = generate_demand(
        config.fit.seed + 1, series=max(config.generated_series // 2, 2), days=60, step_s=HOUR_S
    )
    made = []
    for name, frame, horizon in (
        ("days", days, DAILY_HORIZON), ("hours", hours, HOURLY_HORIZON)
    ):  # fmt: skip
        last = len(frame) - horizon
        origins = tuple(last - horizon * back for back in (1, 0))
        made += [
            Demand(
                name=str(column), set=f"generated {name}", series=frame[column],
                horizon=horizon, origins=origins,
            )
            for column in frame.columns
        ]  # fmt: skip
    return tuple(made)


TRAINER: Final = CapacityTrainer()
