"""`CapacityPlanner`: the planner for people, with pandas in and plans out."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pandas as pd

from novacron.errors import (
    ArtifactError,
    InvalidInputError,
    NotReadyError,
    NovacronError,
    SchemaError,
)
from novacron.models.bundles import load_bundle
from novacron.models.capacity.answers import CapacityForecast, CapacityPlan, Need
from novacron.models.capacity.bundle import SHIPPED
from novacron.models.capacity.config import DOCUMENTED_NAMES, CapacityConfig, MetricRule
from novacron.models.capacity.ensemble import Outlook
from novacron.models.capacity.history import DAY_S, History, busy_hours, to_history
from novacron.models.capacity.model import CONSTANT, CapacityModel, courses_of
from novacron.models.capacity.plan import (
    make_need,
    recommendations_of,
    risks_of,
    timeline_of,
    total_cost,
)

TIME_COLUMNS: Final = ("timestamp", "ts")
SHIPPED_VERSION: Final = "shipped"


class CapacityPlanner:
    """Forecasts demand, tells when thresholds are reached, and plans what to add.

    It works from a cold start: members are fitted on the history at hand; how to weigh them before
    they were tried, and how wide intervals must be, comes with the package, or from a model that
    was trained on other series. Only a history must be given first.

    Args:
        config: Settings; those of the model by default.
        model: A trained model, by default the one that comes with the package.
        version: Its version, for the answers.

    Example:
        >>> from novacron import CapacityPlanner
        >>> CapacityPlanner().generate_capacity_plan()
        Traceback (most recent call last):
        novacron.errors.NotReadyError: There is no history to plan from. Pass one, or call train ...
    """

    def __init__(
        self,
        config: CapacityConfig | None = None,
        *,
        model: CapacityModel | None = None,
        version: str | None = None,
    ) -> None:
        loaded = model or _load(SHIPPED)
        self.config = config or loaded.config
        self._model = CapacityModel(self.config, loaded.priors, loaded.boosters)
        self._version = version or (SHIPPED_VERSION if model is None else "unregistered")
        self._histories: dict[str, History] = {}
        self._left_out: dict[str, str] = {}
        self._capacities: dict[str, float] = {}

    @classmethod
    def load(cls, directory: Path, *, version: str = "unregistered") -> Self:
        """Return a planner with the model of a bundle.

        Raises:
            ArtifactError: It is damaged, or a bundle of another kind.
            FeatureMismatchError: It was fitted on other features than this code computes.
        """
        return cls(model=_load(directory), version=version)

    @property
    def model(self) -> CapacityModel:
        """The model behind the answers."""
        return self._model

    @property
    def is_trained(self) -> bool:
        """Whether a history was given."""
        return bool(self._histories)

    def train(
        self,
        history: "pd.DataFrame | pd.Series[Any]",
        *,
        capacities: Mapping[str, float] | None = None,
    ) -> Self:
        """Take a history to plan from. Returns itself.

        Args:
            history: A frame with a column per metric and a DatetimeIndex or a column `timestamp`;
                or one series with a DatetimeIndex, named after its metric. Names: those of
                `CapacityConfig.rules`, the documented ones (`cpu_usage`, ...), or any other, which
                then has no threshold. Ratios are 0..1.
            capacities: Units there are now, by metric, for costs.

        Raises:
            SchemaError: No metric, or no times.
        """
        self._histories, errors = _split(history)
        if not self._histories:
            raise next(iter(errors.values()))
        self._left_out = {metric: str(error) for metric, error in errors.items()}
        self._capacities = dict(capacities or {})
        return self

    def forecast(
        self,
        history: "pd.Series[Any]",
        *,
        horizon_days: float | None = None,
        metric: str | None = None,
    ) -> CapacityForecast:
        """Forecast one metric on the grid of its history: hours, or days.

        Args:
            history: See `novacron.models.capacity.history.to_history`.
            horizon_days: How far ahead; the config's by default.
            metric: Its name, by default the name of the series.

        Raises:
            SchemaError: See `to_history`; also too short for the horizon.
            OutOfRangeError: See `to_history`; also a value outside the metric's bounds.
        """
        name = str(metric or getattr(history, "name", None) or "demand")
        return self._forecast(name, to_history(history), horizon_days)[0]

    def generate_capacity_plan(
        self,
        history: "pd.DataFrame | pd.Series[Any] | None" = None,
        *,
        forecast_horizon_days: int | None = None,
        capacities: Mapping[str, float] | None = None,
    ) -> CapacityPlan:
        """Plan every metric of a history, on days; finer samples count by their busiest hour.

        One metric that cannot be planned is named in `left_out` and does not stop the others.

        Args:
            history: See `train`; None: the one that `train` took.
            forecast_horizon_days: The config's by default.
            capacities: See `train`.

        Raises:
            NotReadyError: No history was given, here or to `train`.
            InvalidInputError: No metric can be planned; the error of the first.
        """
        if history is not None:
            self.train(history, capacities=capacities)
        elif capacities is not None:
            self._capacities = dict(capacities)
        if not self._histories:
            raise NotReadyError(
                "There is no history to plan from.",
                remedy="Pass one, or call train(history) first: a frame of metrics over time.",
            )
        horizon = forecast_horizon_days or self.config.horizon_days
        needs: dict[str, Need] = {}
        days: dict[str, float] = {}
        left_out = dict(self._left_out)
        first: NovacronError | None = None
        for metric, given in self._histories.items():
            try:
                daily = given if given.step_s == DAY_S else busy_hours(given)
                needs[metric] = self._need(metric, daily, horizon)
                days[metric] = daily.days
            except InvalidInputError as error:
                first = first or error
                left_out[metric] = str(error)
        if first is not None and not needs:
            raise first
        return CapacityPlan(
            made_at=max(need.forecast.made_at for need in needs.values()),
            horizon_days=horizon,
            needs=needs,
            left_out=left_out,
            cost=total_cost(needs),
            timeline=timeline_of(needs),
            risks=risks_of(needs, days),
            recommendations=recommendations_of(needs),
            model_name=self._model.kind,
            model_version=self._version,
            features_hash=self._model.features_hash,
        )

    def rule(self, metric: str) -> MetricRule:
        """Return what the config says of a metric; an unknown one has no threshold."""
        known = self.config.rules
        name = metric if metric in known else DOCUMENTED_NAMES.get(metric, metric)
        return known.get(name) or MetricRule(unit="")

    def _need(self, metric: str, history: History, horizon: int) -> Need:
        forecast, outlook = self._forecast(metric, history, horizon)
        if outlook is None:
            path_PH = np.array([forecast.value])
        else:
            rng = np.random.default_rng(self.config.seed)
            path_PH = outlook.paths(self.config.paths, rng)
        known_T = history.value_T[~np.isnan(history.value_T)]
        return make_need(
            forecast,
            path_PH,
            newest=float(known_T[-1]),
            rule=self.rule(metric),
            capacity=self._capacities.get(metric),
            config=self.config,
        )

    def _forecast(
        self, metric: str, history: History, horizon_days: float | None
    ) -> tuple[CapacityForecast, Outlook | None]:
        wanted_days = self.config.horizon_days if horizon_days is None else horizon_days
        steps = round(wanted_days * DAY_S / history.step_s)
        if steps < 1:
            raise SchemaError(
                field="horizon_days", got=horizon_days, expected="at least one step of the history"
            )
        rule = self.rule(metric)
        outlook = self._model.outlook(history, steps, high=rule.high)
        notes = dict(history.notes)
        if outlook is None:
            known_T = history.value_T[~np.isnan(history.value_T)]
            courses = {name: np.full(steps, known_T[-1]) for name in _LINES}
            courses |= {"seasonal": np.zeros(steps), "holiday": np.zeros(steps)}
        else:
            courses = courses_of(outlook)
            if outlook.used_from:
                notes["steps_left_out"] = outlook.used_from
        step = timedelta(seconds=history.step_s)
        told = {name: tuple(float(one) for one in line) for name, line in courses.items()}
        return (
            CapacityForecast(
                metric=metric,
                unit=rule.unit,
                at=tuple(history.end + ahead * step for ahead in range(steps)),
                coverage=0.80,
                member_weights={} if outlook is None else dict(outlook.weights),
                members_left_out={} if outlook is None else dict(outlook.failed),
                trials=0 if outlook is None else outlook.trials,
                notes=notes,
                fallback=CONSTANT if outlook is None else "",
                model_name=self._model.kind,
                model_version=self._version,
                features_hash=self._model.features_hash,
                made_at=history.end,
                horizon_s=tuple(float((ahead + 1) * history.step_s) for ahead in range(steps)),
                valid_until=history.end + step,
                **told,
            ),
            outlook,
        )


_LINES: Final = ("value", "lower", "upper", "lower_95", "upper_95", "level")


def _load(directory: Path) -> CapacityModel:
    model = load_bundle(directory)
    if not isinstance(model, CapacityModel):
        raise ArtifactError(
            f"The bundle is of kind {model.kind!r}, not 'capacity'.", remedy="Name another one."
        )
    return model


def _split(
    data: "pd.DataFrame | pd.Series[Any]",
) -> tuple[dict[str, History], dict[str, InvalidInputError]]:
    """Return the metrics of a frame, and why others are none."""
    if isinstance(data, pd.Series):
        data = data.to_frame(str(data.name or "demand"))
    if not isinstance(data, pd.DataFrame):
        raise SchemaError(
            field="history",
            got=type(data).__name__,
            expected="a pandas frame or series with times",
        )
    frame = data
    if not isinstance(frame.index, pd.DatetimeIndex):
        column = next((name for name in TIME_COLUMNS if name in frame.columns), None)
        if column is None:
            raise SchemaError(
                field="history",
                got=", ".join(map(str, frame.columns))[:100],
                expected="a DatetimeIndex, or a column `timestamp`",
            )
        frame = frame.drop(columns=column).set_axis(pd.DatetimeIndex(frame[column]))
    if frame.shape[1] == 0:
        raise SchemaError(field="history", got="no metric", expected="a column per metric")
    found: dict[str, History] = {}
    errors: dict[str, InvalidInputError] = {}
    for name in frame.columns:
        try:
            found[str(name)] = to_history(frame[name])
        except InvalidInputError as error:
            errors[str(name)] = error
    return found, errors
