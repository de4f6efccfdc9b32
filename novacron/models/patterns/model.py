"""The pattern recogniser as it is served: windows of usage in, types and periods out.

Legend: N windows, T samples, F pieces of evidence, K types, R reasons.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, cast

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from novacron.errors import OutOfRangeError, SchemaError
from novacron.features.evidence.table import (
    check_window,
    evidence_fingerprint,
    gather,
    is_flat,
    names,
)
from novacron.models.base import Dependence, Tensors, TensorSpec
from novacron.models.patterns.calendar import find_calendar_period
from novacron.models.patterns.calibration import apply_temperature, period_bounds
from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.definitions import NAMES
from novacron.models.patterns.forest import Forest
from novacron.models.tensor_checks import check_tensors
from novacron.models.tensor_specs import flag, number, text
from novacron.telemetry.digest import file_sha256

Floats = NDArray[np.float64]

MANIFEST: Final = "bundle.json"
WEIGHTS: Final = "forest.safetensors"
FORMAT: Final = 1
REASONS: Final = 4
LONGEST_STEP_S: Final = 31 * 86_400.0

INPUTS: Final[tuple[TensorSpec, ...]] = (
    number(
        "usage",
        "any",
        "evenly spaced usage of one resource, oldest first; any unit, the same in a row",
        -1,
    ),
    number("step_s", "s", "time between two samples of the row", low=1e-6, high=LONGEST_STEP_S),
    flag(
        "is_present",
        "false where a sample is missing and its usage means nothing",
        -1,
        required=False,
    ),
)
OUTPUTS: Final[tuple[TensorSpec, ...]] = (
    text("type", "most likely type"),
    number("confidence", "0..1", "calibrated probability of that type"),
    number("probability", "0..1", "of each type: " + ", ".join(NAMES), len(NAMES)),
    number("period_s", "s", "period where the type is periodic, else 0"),
    number("period_lower_s", "s", "lower end of its interval, else 0"),
    number("period_upper_s", "s", "upper end of its interval, else 0"),
    number("strongest_period_s", "s", "best repetition found, whatever the type; 0 if flat"),
    number("strongest_period_r2_ratio", "0..1", "variance that repetition explains"),
    number("calendar_period_s", "s", "hour, day or week that recurs, whatever the type, else 0"),
    number("calendar_rho", "0..1", "correlation one such period apart, else 0"),
    text("fallback", "what answered instead of the model, or empty"),
    text("reason", "evidence that moved the answer most, strongest first", REASONS),
    number("reason_value", "1", "what that evidence was in this window", REASONS),
    number("reason_weight", "0..1", "vote share it added to the type (forest path)", REASONS),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What was set on validation windows."""

    temperature: float
    period_width: float


class PatternModel:
    """A fitted recogniser; implements `ServableModel`.

    Args:
        config: What it was fitted with.
        forest: Votes on the type.
        calibration: Makes shares of votes into probabilities.
    """

    kind: str = "patterns"
    depends_on: ClassVar[Dependence] = "request"
    fallback_name: ClassVar[str] = "constant_window"

    def __init__(self, config: PatternsConfig, forest: Forest, calibration: Calibration) -> None:
        self.config = config
        self.forest = forest
        self.calibration = calibration
        self.features_hash = evidence_fingerprint()
        self.inputs = INPUTS
        self.outputs = OUTPUTS

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Check one request and gather the evidence of its rows; see `ServableModel.prepare`.

        A row of equal samples has no evidence: it is marked flat and answered by definition.

        Raises:
            SchemaError: Also where a row is too short, too long or has too many gaps.
        """
        rows = check_tensors(tensors, self.inputs)
        usage_NT = _with_gaps(tensors)
        evidence_NF = np.zeros((rows, len(names())))
        period_N, r2_ratio_N, error_ratio_N = np.zeros(rows), np.zeros(rows), np.ones(rows)
        flat_N = np.zeros(rows, dtype=bool)
        step_N = cast(Floats, tensors["step_s"])
        calendar_N2 = np.zeros((rows, 2))
        for row, usage_T in enumerate(usage_NT):
            check_window(usage_T)
            flat_N[row] = is_flat(usage_T)
            if flat_N[row]:
                continue
            calendar_N2[row] = find_calendar_period(usage_T, float(step_N[row]))
            found = gather(usage_T)
            evidence_NF[row] = found.row_F
            period_N[row] = found.cycle.period_steps
            r2_ratio_N[row] = found.cycle.r2_ratio
            error_ratio_N[row] = found.cycle.error_ratio
        return {
            "evidence": evidence_NF,
            "period_steps": period_N,
            "period_r2_ratio": r2_ratio_N,
            "error_ratio": error_ratio_N,
            "is_flat": flat_N,
            "step_s": step_N,
            "calendar": calendar_N2,
        }

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Answer prepared rows; see `ServableModel.predict`."""
        evidence_NF = cast(Floats, rows["evidence"])
        flat_N = cast(NDArray[np.bool_], rows["is_flat"])
        vote_NK = self.forest.probabilities(evidence_NF)
        p_NK = self.probabilities(vote_NK)
        p_NK[flat_N] = np.eye(len(NAMES))[NAMES.index("steady_state")]
        best_N = p_NK.argmax(axis=1)
        named_N = np.array(NAMES, dtype=object)[best_N]
        answer: dict[str, NDArray[np.generic]] = {
            "type": named_N,
            "confidence": p_NK[np.arange(len(p_NK)), best_N],
            "probability": p_NK,
            "fallback": np.where(flat_N, self.fallback_name, "").astype(object),
        }
        answer |= self._periods(rows, named_N == "periodic")
        return answer | self._reasons(evidence_NF, best_N, flat_N)

    def probabilities(self, vote_NK: Floats) -> Floats:
        """Return calibrated probabilities of vote shares."""
        return apply_temperature(vote_NK, self.calibration.temperature)

    def _periods(
        self, rows: Tensors, periodic_N: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.generic]]:
        period_s_N = cast(Floats, rows["period_steps"]) * cast(Floats, rows["step_s"])
        lower_N, upper_N = period_bounds(
            period_s_N, cast(Floats, rows["error_ratio"]), self.calibration.period_width
        )
        ends = {"period_s": period_s_N, "period_lower_s": lower_N, "period_upper_s": upper_N}
        told = {name: np.where(periodic_N, value_N, 0.0) for name, value_N in ends.items()}
        return told | {
            "strongest_period_s": period_s_N,
            "strongest_period_r2_ratio": rows["period_r2_ratio"],
            "calendar_period_s": rows["calendar"][:, 0],
            "calendar_rho": rows["calendar"][:, 1],
        }

    def _reasons(
        self, evidence_NF: Floats, best_N: NDArray[np.int64], flat_N: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.generic]]:
        _, share_NF = self.forest.contributions(evidence_NF, best_N)
        order_NR = np.argsort(-share_NF, axis=1, kind="stable")[:, :REASONS]
        reason_NR = np.array(names(), dtype=object)[order_NR]
        value_NR = np.take_along_axis(evidence_NF, order_NR, axis=1)
        weight_NR = np.take_along_axis(share_NF, order_NR, axis=1)
        reason_NR[flat_N] = "all samples are equal"
        value_NR[flat_N], weight_NR[flat_N] = 0.0, 0.0
        return {"reason": reason_NR, "reason_value": value_NR, "reason_weight": weight_NR}

    def save(self, directory: Path) -> None:
        """Write `bundle.json` and the forest into an empty or missing directory."""
        directory.mkdir(parents=True, exist_ok=True)
        save_file(self.forest.arrays(), directory / WEIGHTS)
        manifest = {
            "kind": self.kind,
            "format": FORMAT,
            "features_hash": self.features_hash,
            "config": self.config.model_dump(mode="json"),
            "types": NAMES,
            "temperature": self.calibration.temperature,
            "period_width": self.calibration.period_width,
            "files": {WEIGHTS: file_sha256(directory / WEIGHTS)},
        }
        (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def _with_gaps(tensors: Tensors) -> Floats:
    usage_NT = cast(Floats, tensors["usage"])
    if "is_present" not in tensors:
        return usage_NT
    present_NT = cast(NDArray[np.bool_], tensors["is_present"])
    if present_NT.shape != usage_NT.shape:
        raise SchemaError(
            field="is_present",
            got=list(present_NT.shape),
            expected=f"the shape of usage, {list(usage_NT.shape)}",
        )
    return np.where(present_NT, usage_NT, np.nan)


def check_step(step_s: float) -> float:
    """Return a sampling step in seconds.

    Raises:
        OutOfRangeError: It is not a positive finite number, or longer than a month.
    """
    if not np.isfinite(step_s) or not 1e-6 <= step_s <= LONGEST_STEP_S:
        raise OutOfRangeError(
            field="step_s",
            got=step_s,
            expected=f"seconds between samples, 1e-06 to {LONGEST_STEP_S:.0f}",
        )
    return float(step_s)
