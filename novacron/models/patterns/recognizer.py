"""`PatternRecognizer`: the recogniser for people, with arrays or pandas in and objects out."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pandas as pd

from novacron.errors import ArtifactError, InvalidInputError, NotReadyError, SchemaError
from novacron.models.base import Tensors
from novacron.models.bundles import load_bundle
from novacron.models.patterns.answers import PatternAnswer, Reason, WorkloadAnswer
from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.definitions import NAMES, TREND_DIRECTION, season_of
from novacron.models.patterns.fit import fit_patterns
from novacron.models.patterns.model import PatternModel
from novacron.models.patterns.resources import LEAD_LEVEL, RESOURCES, check_usage, find_lead
from novacron.models.patterns.series import Window, to_window

RECHECK_RATIO: Final = 0.1
"""Share of the window after which an answer should be asked for again."""
_BOOTSTRAP_SEED: Final = 20_261_123


def utc_now() -> datetime:
    """Return the time of the system's clock, in UTC."""
    return datetime.now(UTC)


class PatternRecognizer:
    """Tells the type and period of windows of usage, and how sure that is.

    Untrained it refuses to answer. `train` fits it on generated windows, in seconds to a minute;
    `load` reads a bundle; a model from the registry is handed over as `model`.

    Args:
        model: A fitted model.
        version: Its version, for the answers.
        clock: Tells when an answer is made where the data carry no time.

    Example:
        >>> from novacron import PatternRecognizer
        >>> PatternRecognizer().recognize([0.2] * 100, step_s=60.0)
        Traceback (most recent call last):
        novacron.errors.NotReadyError: The pattern recogniser is not trained. Call train() ...
    """

    def __init__(
        self,
        model: PatternModel | None = None,
        *,
        version: str = "unregistered",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._model = model
        self._version = version
        self._clock = clock

    @property
    def is_trained(self) -> bool:
        """Whether `recognize` can answer."""
        return self._model is not None

    def train(self, config: PatternsConfig | None = None) -> Self:
        """Fit on generated windows; same config, same model. Returns itself."""
        config = config or PatternsConfig()
        self._model = fit_patterns(config)
        self._version = f"generator-{config.seed}"
        return self

    @classmethod
    def load(cls, directory: Path, *, version: str = "unregistered") -> Self:
        """Return a recogniser with the model of a bundle.

        Raises:
            ArtifactError: It is damaged, or a bundle of another kind.
            FeatureMismatchError: It was fitted on other evidence than this code computes.
        """
        model = load_bundle(directory)
        if not isinstance(model, PatternModel):
            raise ArtifactError(
                f"The bundle is of kind {model.kind!r}, not 'patterns'.",
                remedy="Name another one.",
            )
        return cls(model, version=version)

    def save(self, directory: Path) -> None:
        """Write the model as a bundle into an empty or missing directory."""
        self._fitted().save(directory)

    def recognize(self, data: Any, *, step_s: float | None = None) -> PatternAnswer:
        """Judge one window of one resource; its unit and scale do not matter.

        Args:
            data: See `novacron.models.patterns.series.to_window`.
            step_s: Seconds between samples where the data have no times.

        Raises:
            NotReadyError: Not trained.
            SchemaError: Not one series; fewer than 48 samples present; more than half missing.
            OutOfRangeError: An infinite sample, a step that is not positive, an irregular clock.
        """
        self._fitted()
        return self._judge(to_window(data, step_s))

    def recognize_workload(
        self, frame: pd.DataFrame, *, step_s: float | None = None
    ) -> WorkloadAnswer:
        """Judge the resources of one workload, each as a ratio of what is provisioned.

        Args:
            frame: Some of `cpu_ratio`, `mem_ratio`, `disk_ratio`, `net_ratio`, on a DatetimeIndex
                or every `step_s` seconds. A resource without enough samples is left out and named.
            step_s: See `recognize`.

        Raises:
            NotReadyError: Not trained.
            SchemaError: Not a frame, an unknown column, or no resource that can be judged.
            OutOfRangeError: A value is no ratio; see also `recognize`.
        """
        self._fitted()
        if not isinstance(frame, pd.DataFrame):
            raise SchemaError(
                field="frame",
                got=type(frame).__name__,
                expected="a pandas frame with columns " + ", ".join(RESOURCES),
            )
        usage = {str(name): frame[name].to_numpy(dtype=np.float64) for name in frame.columns}
        check_usage(usage)
        patterns, left_out = {}, {}
        for name in usage:
            try:
                patterns[RESOURCES[name]] = self._judge(to_window(frame[name], step_s))
            except SchemaError as error:
                left_out[RESOURCES[name]] = str(error)
        judged = {name: usage[name] for name in usage if RESOURCES[name] in patterns}
        if not judged:
            raise SchemaError(
                field="frame",
                got="; ".join(left_out.values()),
                expected="at least one resource that can be judged",
            )
        lead = find_lead(judged, np.random.default_rng(_BOOTSTRAP_SEED))
        return WorkloadAnswer(
            intensive=lead.intensive,
            lead_ratio=lead.lead_ratio,
            lead_level=LEAD_LEVEL,
            mean_ratio=lead.mean_ratio,
            patterns=patterns,
            left_out=left_out,
        )

    def _fitted(self) -> PatternModel:
        if self._model is None:
            raise NotReadyError(
                "The pattern recogniser is not trained.",
                remedy="Call train() (on generated windows, seconds to a minute) or load() a bundle.",
            )
        return self._model

    def _judge(self, window: Window) -> PatternAnswer:
        model = self._fitted()
        present = ~np.isnan(window.usage)
        tensors: Tensors = {
            "usage": np.where(present, window.usage, 0.0)[None, :],
            "is_present": present[None, :],
            "step_s": np.array([window.step_s]),
        }
        out = {name: value[0] for name, value in model.predict(model.prepare(tensors)).items()}
        value = str(out["type"])
        period = (
            [float(out[name]) for name in ("period_s", "period_lower_s", "period_upper_s")]
            if value == "periodic"
            else [None, None, None]
        )
        made_at = _aware(window.end or self._clock())
        window_s = window.usage.size * window.step_s
        return PatternAnswer(
            value=value,
            confidence=float(out["confidence"]),
            probabilities=dict(zip(NAMES, out["probability"].tolist(), strict=True)),
            period_s=period[0],
            lower_s=period[1],
            upper_s=period[2],
            coverage=model.config.coverage,
            strongest_period_s=float(out["strongest_period_s"]) or None,
            strongest_period_r2_ratio=float(out["strongest_period_r2_ratio"]),
            calendar_period_s=float(out["calendar_period_s"]) or None,
            calendar_rho=float(out["calendar_rho"]),
            season="" if period[0] is None else season_of(period[0]),
            trend_direction=TREND_DIRECTION.get(value, ""),
            reasons=_reasons(out),
            fallback=str(out["fallback"]),
            model_name=model.kind,
            model_version=self._version,
            features_hash=model.features_hash,
            made_at=made_at,
            horizon_s=0.0,
            valid_until=made_at + timedelta(seconds=RECHECK_RATIO * window_s),
            window_s=window_s,
        )


def _reasons(out: dict[str, Any]) -> tuple[Reason, ...]:
    rows = zip(out["reason"], out["reason_value"], out["reason_weight"], strict=True)
    found = [Reason(evidence=str(a), value=float(b), weight=float(c)) for a, b, c in rows]
    return tuple(found[:1]) if out["fallback"] else tuple(found)


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidInputError(
            field="clock", got=moment.isoformat(), expected="a time with its zone, in UTC"
        )
    return moment.astimezone(UTC)
