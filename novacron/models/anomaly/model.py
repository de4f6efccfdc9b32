"""The detector as it is served: a history of each metric in, the verdict on its newest sample out.

Legend: N rows, W samples of history (newest last).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final, cast

import numpy as np
from numpy.typing import NDArray

from novacron.errors import SchemaError
from novacron.models.anomaly.bundle_files import KIND
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.explain import COVERAGE, usual_range
from novacron.models.anomaly.inputs import ANY_VALUE, MetricSeries
from novacron.models.anomaly.stream import day_samples, p_value
from novacron.models.base import Dependence, Tensors, TensorSpec
from novacron.models.tensor_checks import check_tensors
from novacron.models.tensor_specs import flag, number, text

Floats = NDArray[np.float64]

LONGEST_HISTORY: Final = 8192
"""Newest samples of a request that are read."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)  # served answers carry no alert time of their own

INPUTS: Final = (
    number(ANY_VALUE, "any", "samples of one metric at even steps, oldest first, newest last", -1),
    number(
        "step_s",
        "s",
        "seconds between samples; 60 where it is not given",
        low=1e-3,
        high=604_800,
        required=False,
    ),
)
OUTPUTS: Final = (
    number("score", "-log10 p", "how unusual the newest sample is"),
    number("p_value", "0..1", "bound on the probability of such a sample"),
    number("threshold", "-log10 p", "alerts from here on"),
    flag("alert", "score >= threshold"),
    number("value", "any", "the newest sample"),
    number("lower", "any", f"lower end of what {COVERAGE:.0%} of the day before it were"),
    number("upper", "any", f"upper end of what {COVERAGE:.0%} of the day before it were"),
    text("fallback", "what answered instead of the model while history was short, or empty"),
)


class AnomalyModel:
    """A fitted detector; implements `ServableModel`.

    Every row is judged by its own history, so rows of different metrics and entities mix freely.
    """

    kind: str = KIND
    depends_on: ClassVar[Dependence] = "state"
    inputs: tuple[TensorSpec, ...] = INPUTS
    outputs: tuple[TensorSpec, ...] = OUTPUTS

    def __init__(self, detector: AnomalyDetector) -> None:
        self.detector = detector
        self.features_hash: str = detector.features_hash

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Check one request and bring it to fixed width; see `ServableModel.prepare`."""
        rows = check_tensors(tensors, self.inputs)
        given = cast(Floats, tensors[ANY_VALUE])
        if given.shape[1] < 2:
            raise SchemaError(
                field=ANY_VALUE,
                got=f"{given.shape[1]} sample",
                expected="at least 2 samples",
                remedy="Send the history too: the newest sample is judged by those before it.",
            )
        kept = given[:, -LONGEST_HISTORY:]
        value_NW = np.full((rows, LONGEST_HISTORY), np.nan)
        value_NW[:, LONGEST_HISTORY - kept.shape[1] :] = kept
        step_N = tensors.get("step_s", np.full(rows, 60.0))
        return {ANY_VALUE: value_NW, "step_s": step_N}

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Judge the newest sample of each prepared row; see `ServableModel.predict`."""
        value_NW = cast(Floats, rows[ANY_VALUE])
        step_N = cast(Floats, rows["step_s"])
        answers = [self._judge(*row) for row in zip(value_NW, step_N, strict=True)]
        score_N = np.array([score for score, _, _ in answers])
        range_N2 = np.array([usual for _, _, usual in answers])
        threshold_N = np.array([self.detector.threshold_at(float(step_s)) for step_s in step_N])
        return {
            "score": score_N,
            "p_value": p_value(score_N, 1),
            "threshold": threshold_N,
            "alert": score_N >= threshold_N,
            "value": value_NW[:, -1],
            "lower": range_N2[:, 0],
            "upper": range_N2[:, 1],
            "fallback": np.array([name for _, name, _ in answers], dtype=object),
        }

    def _judge(self, value_W: Floats, step_s: float) -> tuple[float, str, tuple[float, float]]:
        value_T = value_W[~np.isnan(value_W)]
        series = _series(value_T, float(step_s))
        stream = self.detector.open_entity("", series.metrics, series.step_s)
        answer = stream.push(series, threshold=np.inf, made_at=_EPOCH)
        usual = usual_range(value_T[-day_samples(series.step_s) - 1 : -1])
        return float(answer.score_T[-1]), str(answer.fallback_T[-1]), usual

    def save(self, directory: Path) -> None:
        """Write the bundle into an empty or missing directory."""
        self.detector.save(directory)


def _series(value_T: Floats, step_s: float) -> MetricSeries:
    metrics: Sequence[str] = (ANY_VALUE,)
    nothing = np.zeros((len(value_T), 1), dtype=bool)
    return MetricSeries(
        ts_s=step_s * np.arange(len(value_T), dtype=np.float64),
        step_s=step_s,
        metrics=tuple(metrics),
        value_TM=value_T[:, None],
        missing_TM=nothing,
        gap_T=nothing[:, 0],
    )
