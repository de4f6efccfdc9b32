"""The fitted scaling model as it is served: windows of demand in, actions and forecasts out.

Legend: N rows, T samples of a window, H marks of five minutes in the hour ahead, R reasons.
"""

import json
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import numpy as np
from numpy.typing import NDArray

from novacron.errors import UnknownNameError
from novacron.models.base import Dependence, Tensors
from novacron.models.scaling.advice import Advice, Asked, advise
from novacron.models.scaling.config import POLICIES, PolicyName
from novacron.models.scaling.demand import Demand, to_demand
from novacron.models.scaling.density import FILE as DENSITY_FILE
from novacron.models.scaling.deployment import Deployment
from novacron.models.scaling.features import features_hash
from novacron.models.scaling.fitted import Fitted
from novacron.models.scaling.members import BOOSTED_FILE, FOREST_FILE
from novacron.models.scaling.tensors import (
    DEFAULT_POLICY,
    INPUTS,
    LONGEST_DAYS,
    MARKS,
    MOST_STEPS,
    OUTPUTS,
    REASONS,
    optional,
)
from novacron.models.tensor_checks import check_tensors
from novacron.telemetry.digest import file_sha256

Floats = NDArray[np.float64]

MANIFEST: Final = "bundle.json"
FORMAT: Final = 1
MOST_INSTANCES: Final = 1_000_000


class ScalingModel:
    """A fitted model; implements `ServableModel`.

    Args:
        fitted: What the training left behind.
    """

    kind: str = "scaling"
    depends_on: ClassVar[Dependence] = "request"

    def __init__(self, fitted: Fitted) -> None:
        self.fitted = fitted
        self.config = fitted.config
        self.features_hash = features_hash()
        self.inputs = INPUTS
        self.outputs = OUTPUTS

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Check one request and pad its windows; see `ServableModel.prepare`.

        Raises:
            SchemaError: A window has fewer than 12 samples, or the newest half hour is missing.
            OutOfRangeError: A sample is negative, or the step does not fit a day.
            UnknownNameError: No policy of that name.
        """
        rows = check_tensors(tensors, self.inputs)
        usage_NT = cast(Floats, tensors["usage"])
        present_NT = tensors.get("is_present", np.ones(usage_NT.shape, dtype=bool))
        usage_NT = np.where(present_NT, usage_NT, np.nan)
        step_N = cast(Floats, tensors["step_s"])
        names_N = optional(tensors, "policy", rows, DEFAULT_POLICY)
        for name in names_N:
            if name not in POLICIES:
                raise UnknownNameError(kind="scaling policy", got=str(name), known=POLICIES)
        padded_NT = np.full((rows, MOST_STEPS), np.nan)
        grid_N, newest_N = np.empty(rows), np.empty(rows)
        day_N = cast(Floats, optional(tensors, "newest_time_of_day_s", rows, float("nan")))
        for row in range(rows):
            demand = to_demand(usage_NT[row], step_s=float(step_N[row]), name=f"usage[{row}]")
            kept_T = demand.value_T[-LONGEST_DAYS * demand.day_steps :]
            padded_NT[row, MOST_STEPS - len(kept_T) :] = kept_T
            grid_N[row], newest_N[row] = demand.step_s, day_N[row]
        numbers = {
            "capacity": tensors["capacity"],
            "boot_delay_s": optional(tensors, "boot_delay_s", rows, 0.0),
            "unit_capacity": optional(tensors, "unit_capacity", rows, 0.0),
        }
        return {
            "usage": padded_NT,
            "step_s": grid_N,
            "newest_time_of_day_s": newest_N,
            "policy": names_N,
            **numbers,
        }

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Answer prepared rows; see `ServableModel.predict`."""
        return self.answer_prepared(rows)

    def answer_prepared(self, rows: Tensors, *, rule: str = "") -> dict[str, NDArray[np.generic]]:
        """Answer prepared rows; with the name of a rule, by that rule and without the model."""
        usage_NT = cast(Floats, rows["usage"])
        answers = [self._answer(rows, row, rule) for row in range(len(usage_NT))]
        return {
            spec.name: np.array(
                [answer[spec.name] for answer in answers],
                dtype=object if spec.datatype == "BYTES" else np.float64,
            ).reshape(len(answers), *spec.shape[1:])
            for spec in self.outputs
        }

    def _answer(self, rows: Tensors, row: int, rule: str) -> dict[str, Any]:
        numbers = {
            name: float(cast(Floats, rows[name])[row])
            for name in (
                "step_s", "newest_time_of_day_s", "capacity", "boot_delay_s", "unit_capacity",
            )
        }  # fmt: skip
        value_T = cast(Floats, rows["usage"])[row]
        value_T = value_T[int(np.argmax(np.isfinite(value_T))) :]
        step_s = int(numbers["step_s"])
        start_s = (numbers["newest_time_of_day_s"] - (len(value_T) - 1) * step_s) % 86_400
        demand = Demand(
            value_T=value_T, step_s=step_s, start_s=start_s, end=None, filled=0, joined=1
        )
        asked = Asked(
            policy=cast(PolicyName, str(rows["policy"][row])),
            deployment=_deployment(numbers["capacity"], numbers["unit_capacity"]),
            boot_delay_s=numbers["boot_delay_s"] or self.config.boot_delay_s,
        )
        return _flattened(advise(self.fitted, demand, asked, rule=rule), step_s)

    def save(self, directory: Path) -> None:
        """Write `bundle.json` and the trees into an empty or missing directory."""
        directory.mkdir(parents=True, exist_ok=True)
        stored = {
            "density": self.fitted.density.save(directory),
            "members": self.fitted.members.save(directory),
        }
        names = (DENSITY_FILE, FOREST_FILE, BOOSTED_FILE)
        manifest = {
            "kind": self.kind,
            "format": FORMAT,
            "features_hash": self.features_hash,
            "config": self.config.model_dump(mode="json"),
            "files": {name: file_sha256(directory / name) for name in names},
            **stored,
        }
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        (directory / MANIFEST).write_text(text)


def _deployment(capacity: float, unit: float) -> Deployment:
    if not unit:
        return Deployment(size=capacity)
    count = max(1, round(capacity / unit))
    return Deployment(
        size=unit, instances=count, min_size=unit, max_size=unit, max_instances=MOST_INSTANCES
    )


def _flattened(advice: Advice, step_s: int) -> dict[str, Any]:
    place_H = np.minimum(
        np.ceil(300.0 * np.arange(1, MARKS + 1) / step_s).astype(int) - 1,
        len(advice.forecast.value) - 1,
    )
    reasons = [*advice.drivers, *[("", 0.0)] * REASONS][:REASONS]
    return {
        "action": advice.move.action,
        "target_capacity": advice.move.capacity,
        "urgency": advice.urgency,
        "under_risk_before": advice.under_risk_before,
        "under_risk_after": advice.under_risk_after,
        "forecast_value": np.asarray(advice.forecast.value)[place_H],
        "forecast_lower": np.asarray(advice.forecast.lower)[place_H],
        "forecast_upper": np.asarray(advice.forecast.upper)[place_H],
        "coverage": advice.forecast.coverage,
        "valid_s": float(step_s),
        "fallback": advice.fallback,
        "reason": [name for name, _ in reasons],
        "reason_weight": [weight for _, weight in reasons],
    }
