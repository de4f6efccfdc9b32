"""`PerformancePredictorModel`: forecasts a metric from windows of metrics, trained from loaders.

Legend: N windows, T steps (newest last), F channels.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from novacron.errors import ArtifactError, NotReadyError
from novacron.models.metrics import coverage, share_within
from novacron.models.performance.answers import (
    DegradationForecast,
    PerformancePrediction,
    PerformanceScores,
    Provenance,
)
from novacron.models.performance.bundle_files import read_core, write_core
from novacron.models.performance.config import COVERAGE, PerformanceConfig
from novacron.models.performance.context import Floats
from novacron.models.performance.core import Answers, Core
from novacron.models.performance.fit import Fit, Listener, prepare_fit
from novacron.models.performance.windows import (
    NO_CHANNEL,
    WindowForm,
    check_windows,
    find_level_channel,
    read_batches,
    to_context,
    to_material,
)

KIND: Final = "performance_windows"


def utc_now() -> datetime:
    """Return the time of the system's clock, in UTC."""
    return datetime.now(UTC)


class PredictorConfig(BaseModel):
    """Settings of a predictor that is trained from loaders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fit: PerformanceConfig = PerformanceConfig(clip_spreads=50.0)
    """Here what drives a metric far from its own past may be among the channels: residuals count
    whole up to 50 spreads."""
    step_s: float = Field(default=60.0, gt=0, le=31 * 86_400)
    """Seconds between two steps of a window."""
    horizon_steps: int = Field(default=5, ge=1, le=10_000)
    """Steps from the newest one to the target y."""
    level_channel: int | None = Field(default=None, ge=0)
    """Channel of the windows that is the target's own past; None finds it on the training part."""


class PerformancePredictorModel:
    """Forecasts a metric some steps ahead, with an interval, attention and a risk of degradation.

    A three-layer bidirectional LSTM with attention and gradient-boosted trees forecast what the
    target's own averages leave over; both are joined and calibrated on the validation part.

    Args:
        config: Sizes, horizon, what counts as worse.
        version: Of the model, for the answers.
        clock: Tells when an answer is made.

    Example:
        >>> from novacron import PerformancePredictorModel
        >>> PerformancePredictorModel().predict([[[1.0], [2.0]]])
        Traceback (most recent call last):
        novacron.errors.NotReadyError: The performance predictor is not trained. Call train(...) ...
    """

    def __init__(
        self,
        config: PredictorConfig | None = None,
        *,
        version: str = "unregistered",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.config = config or PredictorConfig()
        self._version = version
        self._clock = clock
        self._core: Core | None = None
        self._form: WindowForm | None = None

    @property
    def is_trained(self) -> bool:
        """Whether `predict` can answer."""
        return self._core is not None

    def train(
        self,
        train_loader: Iterable[Any],
        val_loader: Iterable[Any],
        *,
        listen: Listener = lambda _: None,
    ) -> PerformanceScores:
        """Fit on batches (X [N, T, F], y [N]); what was fitted before is replaced.

        Args:
            train_loader: Any iterable of batches, such as a torch DataLoader; oldest steps first.
                y is the target `horizon_steps` after the newest step.
            val_loader: Batches that choose epochs, rounds, weights and calibration; they should be
                later than the training ones, with a gap of a window.
            listen: Told after every epoch and unit.

        Returns:
            The scores on the validation part; flattering, since it was chosen by.

        Raises:
            InvalidInputError: A loader is empty, too small or yields no pairs.
            SchemaError: A shape does not fit.
            OutOfRangeError: A value is missing or not finite.
            ConfigError: torch is there, but a setting is not possible.
            MissingDependencyError: torch is not installed.
        """
        train = read_batches(train_loader, "train_loader")
        validation = read_batches(val_loader, "val_loader")
        found = self.config.level_channel
        form = WindowForm(
            steps=train[0].shape[1],
            channels=train[0].shape[2],
            level_channel=find_level_channel(*train) if found is None else found,
            step_s=self.config.step_s,
        )
        material = to_material(train, validation, form, self.config.fit)
        fit = Fit(prepare_fit(material, self.config.fit), listen=listen)
        self._core, self._form = fit.core(), form
        return self.evaluate([validation])

    def predict(self, x: Any) -> PerformancePrediction:
        """Forecast windows of the trained form.

        Args:
            x: x_NTF; one window alone may be [T, F].

        Raises:
            NotReadyError: Not trained.
            SchemaError: The shape is not that of the training.
            OutOfRangeError: A value is missing or not finite.
        """
        answers = self._answer(x)
        return PerformancePrediction(
            value=answers.q_NQ[:, 1].copy(),
            lower=answers.q_NQ[:, 0].copy(),
            upper=answers.q_NQ[:, 2].copy(),
            coverage=COVERAGE,
            level=answers.level_N,
            attention=answers.attention_NT,
            fallback=answers.fallback_N,
            provenance=self._provenance(),
        )

    def predict_degradation(self, x: Any) -> DegradationForecast:
        """Return the probability that the target is worse than its level; see `predict`."""
        answers = self._answer(x)
        settings = self.config.fit.degradation
        sign = 1.0 if settings.worse == "lower" else -1.0
        level_N = answers.level_N
        return DegradationForecast(
            probability=answers.degradation_N,
            worse=settings.worse,
            drop_ratio=settings.drop_ratio,
            limit=level_N - sign * settings.drop_ratio * np.abs(level_N),
            fallback=answers.fallback_N,
            provenance=self._provenance(),
        )

    def evaluate(self, loader: Iterable[Any]) -> PerformanceScores:
        """Score the forecasts of batches (X, y); formulas: `PerformanceScores`.

        Raises:
            NotReadyError: Not trained.
            InvalidInputError: As `train`.
        """
        self._fitted()
        x_NTF, y_N = read_batches(loader, "loader")
        found = self.predict(x_NTF)
        error_N = y_N - found.value
        level_error_N = np.abs(y_N - found.level)
        away = float(((y_N - y_N.mean()) ** 2).sum())
        some = y_N != 0
        total = float(np.abs(y_N).sum())
        mse = float((error_N**2).mean())
        nan = float("nan")
        return PerformanceScores(
            count=len(y_N),
            mse=mse,
            rmse=mse**0.5,
            mae=float(np.abs(error_N).mean()),
            r2=1 - float((error_N**2).sum()) / away if away > 0 else nan,
            mape=float((np.abs(error_N[some]) / np.abs(y_N[some])).mean()) if some.any() else nan,
            wape=float(np.abs(error_N).sum()) / total if total > 0 else nan,
            within_5_percent=share_within(y_N, found.value, 0.05),
            coverage=coverage(y_N, found.lower, found.upper),
            mae_of_level=float(level_error_N.mean()),
            within_5_percent_of_level=share_within(y_N, found.level, 0.05),
        )

    def save(self, directory: Path) -> None:
        """Write the model as a bundle without pickles into an empty or missing directory.

        Raises:
            NotReadyError: Not trained.
        """
        core, form = self._fitted()
        facts = {
            "kind": KIND,
            "predictor": self.config.model_dump(mode="json"),
            "level_channel": form.level_channel,
            "steps": form.steps,
            "channels": form.channels,
        }
        write_core(core, Path(directory), facts)

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        version: str = "unregistered",
        clock: Callable[[], datetime] = utc_now,
    ) -> "PerformancePredictorModel":
        """Return a predictor that answers as the one that was saved.

        Raises:
            ArtifactError: The bundle is damaged, or of another kind.
            FeatureMismatchError: It was fitted on other features than this code computes.
        """
        core, manifest = read_core(Path(directory), KIND)
        try:
            config = PredictorConfig.model_validate(manifest["predictor"])
            form = WindowForm(
                steps=int(manifest["steps"]),
                channels=int(manifest["channels"]),
                level_channel=int(manifest["level_channel"]),
                step_s=config.step_s,
            )
        except (KeyError, ValueError, TypeError) as cause:
            raise ArtifactError(f"The manifest is not whole: {cause}.") from cause
        made = cls(config, version=version, clock=clock)
        made._core, made._form = core, form
        return made

    def _fitted(self) -> tuple[Core, WindowForm]:
        if self._core is None or self._form is None:
            raise NotReadyError(
                "The performance predictor is not trained.",
                remedy="Call train(train_loader, val_loader) or load(directory).",
            )
        return self._core, self._form

    def _answer(self, x: Any) -> Answers:
        core, form = self._fitted()
        given: Floats = np.asarray(x, dtype=np.float64)
        x_NTF = check_windows(given[None] if given.ndim == 2 else given)
        answers = core.answer(to_context(x_NTF, form, core.config))
        if form.level_channel == NO_CHANNEL:
            # The target has no past among the channels: its level is that of the training by design.
            return replace(answers, fallback_N=np.full(len(x_NTF), "", dtype=object))
        return answers

    def _provenance(self) -> Provenance:
        core, _ = self._fitted()
        made_at = self._clock()
        horizon_s = self.config.step_s * self.config.horizon_steps
        return Provenance(
            model_name="performance",
            model_version=self._version,
            features_hash=core.features_hash,
            made_at=made_at,
            horizon_s=horizon_s,
            valid_until=made_at + timedelta(seconds=horizon_s),
        )
