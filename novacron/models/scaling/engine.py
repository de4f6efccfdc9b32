"""`PredictiveScalingEngine`: the scaling model for people, with pandas in and decisions out."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.errors import (
    ArtifactError,
    InvalidInputError,
    NotReadyError,
    SchemaError,
    UnknownNameError,
)
from novacron.models.bundles import load_bundle
from novacron.models.scaling.advice import Asked, advise, fallback_of, forecast_hour
from novacron.models.scaling.answering import Context, to_decision, to_forecast
from novacron.models.scaling.answers import DemandForecast, ReplayResult, ScalingDecision
from novacron.models.scaling.config import POLICIES, PolicyName, Prices, ScalingConfig
from novacron.models.scaling.demand import Demand, to_demand
from novacron.models.scaling.deployment import Deployment
from novacron.models.scaling.fit import FitPart, fit_scaling
from novacron.models.scaling.frames import RESOURCES, resource_series
from novacron.models.scaling.model import ScalingModel
from novacron.models.scaling.outlook import delay_steps
from novacron.models.scaling.replay import elasticity, replay

Floats = NDArray[np.float64]

CALIBRATION_RATIO: Final = 0.25
"""Newest share of a history on which weights and margins are set instead of trees."""


def utc_now() -> datetime:
    """Return the time of the system's clock, in UTC."""
    return datetime.now(UTC)


class PredictiveScalingEngine:
    """Forecasts the demand of the next hour and decides what capacity to have for it.

    Untrained it refuses to answer. `fit` learns from a history of about two days or more, in
    seconds; `load` reads a trained bundle; a model from the registry is handed over as `model`.

    Args:
        model: A fitted model.
        config: Prices, policies and how trees are grown; a model brings its own.
        version: The model's version, for the answers.
        clock: Tells when an answer is made where the data carry no time.

    Example:
        >>> from novacron import PredictiveScalingEngine
        >>> PredictiveScalingEngine().forecast([1.0] * 100, step_s=300)
        Traceback (most recent call last):
        novacron.errors.NotReadyError: The scaling engine is not trained. Call fit(history) ...
    """

    def __init__(
        self,
        model: ScalingModel | None = None,
        *,
        config: ScalingConfig | None = None,
        version: str = "unregistered",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._model = model
        self._config = config or (model.config if model else ScalingConfig())
        self._version = version
        self._clock = clock

    @property
    def is_trained(self) -> bool:
        """Whether it can answer."""
        return self._model is not None

    def fit(self, history: Any, *, step_s: float | None = None) -> Self:
        """Learn from histories: one series, a frame of one workload, or frames by workload.

        Args:
            history: See `resource_series`; or a mapping of workload name to one of those.
            step_s: Seconds between samples where the data have no times.

        Raises:
            SchemaError: Too short to learn from; see also `to_demand`.
        """
        many = history if _is_mapping_of_histories(history) else {"history": history}
        parts = {}
        for name, one in many.items():
            for resource, series in resource_series(one).items():
                demand = to_demand(series, step_s, name=resource)
                until = round(len(demand) * (1 - CALIBRATION_RATIO))
                parts[f"{name}.{resource}"] = FitPart(demand=demand, train_until=until)
        self._model = ScalingModel(fit_scaling(parts, self._config))
        digest = hashlib.sha256()
        for name, part in sorted(parts.items()):
            digest.update(name.encode() + part.demand.value_T.tobytes())
        self._version = f"history-{digest.hexdigest()[:12]}"
        return self

    @classmethod
    def load(cls, directory: Path, *, version: str = "unregistered") -> Self:
        """Return an engine with the model of a bundle.

        Raises:
            ArtifactError: It is damaged, or a bundle of another kind.
            FeatureMismatchError: It was fitted on other features than this code computes.
        """
        model = load_bundle(directory)
        if not isinstance(model, ScalingModel):
            raise ArtifactError(
                f"The bundle is of kind {model.kind!r}, not 'scaling'.", remedy="Name another one."
            )
        return cls(model, version=version)

    def save(self, directory: Path) -> None:
        """Write the model as a bundle into an empty or missing directory."""
        self._fitted().save(directory)

    def forecast(
        self,
        data: Any,
        *,
        resource: str | None = None,
        step_s: float | None = None,
        entity_id: str = "",
    ) -> DemandForecast:
        """Forecast demand of the hour after the newest sample.

        Args:
            data: A series, numbers with `step_s`, or a frame (see `resource_series`).
            resource: Which column, where a frame has several.
            step_s: Seconds between samples where the data have no times.
            entity_id: Name of the workload, for the answer.

        Raises:
            NotReadyError: Not trained.
            SchemaError: See `to_demand`.
            OutOfRangeError: See `to_demand`.
        """
        model = self._fitted()
        name, demand = self._demand(data, resource, step_s)
        hour, fallback = forecast_hour(model.fitted, demand), fallback_of(demand)
        context = self._context(demand, name, entity_id, "hybrid", self._config.boot_delay_s)
        return to_forecast(context, hour, fallback)

    def decide(
        self,
        data: Any,
        deployment: Deployment | float | None = None,
        *,
        policy: PolicyName = "hybrid",
        resource: str | None = None,
        step_s: float | None = None,
        boot_delay_s: float | None = None,
        entity_id: str = "",
    ) -> ScalingDecision:
        """Decide what capacity one workload should have.

        Args:
            data: See `forecast`.
            deployment: What stands now; a number is the size of one resizable instance. None is
                allowed for columns that are ratios of what is provisioned: size 1.
            policy: One of the six.
            resource: See `forecast`.
            step_s: See `forecast`.
            boot_delay_s: Time between an order and its arrival; None: the config's.
            entity_id: See `forecast`.

        Raises:
            NotReadyError: Not trained.
            UnknownNameError: No such policy.
            SchemaError: No deployment where demand is no ratio; see also `to_demand`.
            OutOfRangeError: See `to_demand` and `Deployment`.
        """
        model = self._fitted()
        if policy not in POLICIES:
            raise UnknownNameError(kind="scaling policy", got=str(policy), known=POLICIES)
        name, demand = self._demand(data, resource, step_s)
        now = _deployment_of(deployment, name)
        delay_s = boot_delay_s or self._config.boot_delay_s
        asked = Asked(policy=policy, deployment=now, boot_delay_s=delay_s)
        advice = advise(model.fitted, demand, asked)
        context = self._context(demand, name, entity_id, policy, delay_s)
        return to_decision(context, advice, now)

    def replay(
        self,
        data: Any,
        *,
        policy: PolicyName = "hybrid",
        resource: str | None = None,
        step_s: float | None = None,
        boot_delay_s: float | None = None,
        score_from: int | None = None,
    ) -> ReplayResult:
        """Replay a policy over a history, capacity arriving late, and score it.

        Args:
            data: See `forecast`; at least two days.
            policy: One of the six.
            resource: See `forecast`.
            step_s: See `forecast`.
            boot_delay_s: Time between an order and its arrival; None: the config's.
            score_from: First step that is scored; None: after the first day.

        Raises:
            NotReadyError: Not trained.
            SchemaError: Fewer than two days; see also `to_demand`.
        """
        model = self._fitted()
        if policy not in POLICIES:
            raise UnknownNameError(kind="scaling policy", got=str(policy), known=POLICIES)
        name, demand = self._demand(data, resource, step_s)
        if len(demand) < 2 * demand.day_steps:
            raise SchemaError(
                field=name, got=f"{len(demand)} steps", expected="at least two days to replay"
            )
        delay_s = boot_delay_s or self._config.boot_delay_s
        capacity_T = replay(
            model.fitted.outlook(demand),
            self._config.policies[policy],
            self._config,
            delay=delay_steps(delay_s, demand.step_s),
            start=demand.day_steps // 2,
        )
        return _scored(capacity_T, demand, policy, delay_s, self._config.prices, score_from)

    def _fitted(self) -> ScalingModel:
        if self._model is None:
            raise NotReadyError(
                "The scaling engine is not trained.",
                remedy="Call fit(history) with two days or more of demand, or load() a bundle.",
            )
        return self._model

    def _demand(self, data: Any, resource: str | None, step_s: float | None) -> tuple[str, Demand]:
        found = resource_series(data)
        if resource is None and len(found) > 1:
            raise SchemaError(
                field="resource",
                got="nothing",
                expected="one of " + ", ".join(found),
                remedy="Name the column to decide about.",
            )
        name = resource or next(iter(found))
        if name not in found:
            raise SchemaError(field="resource", got=name, expected="one of " + ", ".join(found))
        return name, to_demand(found[name], step_s, name=name)

    def _context(
        self, demand: Demand, resource: str, entity_id: str, policy: PolicyName, delay_s: float
    ) -> Context:
        moment = demand.end or self._clock()
        if moment.tzinfo is None:
            raise InvalidInputError(
                field="clock", got=moment.isoformat(), expected="a time with its zone, in UTC"
            )
        return Context(
            demand=demand,
            resource=resource,
            entity_id=entity_id,
            policy=policy,
            delay_s=delay_s,
            made_at=moment.astimezone(UTC),
            model_version=self._version,
            features_hash=self._fitted().features_hash,
            prices=self._config.prices,
        )


def _is_mapping_of_histories(history: Any) -> bool:
    return isinstance(history, Mapping) and not isinstance(history, pd.DataFrame)


def _deployment_of(deployment: Deployment | float | None, name: str) -> Deployment:
    if isinstance(deployment, Deployment):
        return deployment
    if deployment is None and name not in RESOURCES.values():
        raise SchemaError(
            field="deployment",
            got="nothing",
            expected="a Deployment, or the capacity that stands now as a number",
            remedy=f"{name!r} is no ratio of what is provisioned, so capacity cannot be guessed.",
        )
    return Deployment(size=1.0 if deployment is None else float(deployment))


def _scored(
    capacity_T: Floats,
    demand: Demand,
    policy: PolicyName,
    delay_s: float,
    prices: Prices,
    score_from: int | None,
) -> ReplayResult:
    scored_T = capacity_T.copy()
    scored_T[: demand.day_steps if score_from is None else score_from] = np.nan
    return ReplayResult(
        policy=policy,
        boot_delay_s=delay_s,
        capacity=capacity_T,
        demand=demand.value_T,
        step_s=demand.step_s,
        score=elasticity(demand.value_T, scored_T, step_s=demand.step_s, prices=prices),
    )
