"""The tensors of the served scaling model.

Legend: N rows, T samples of a window, H marks of five minutes in the hour ahead, R reasons.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.base import Datatype, Tensors, TensorSpec
from novacron.models.scaling.config import (
    COARSEST_STEP_S,
    DAY_S,
    FINEST_STEP_S,
    HORIZON_S,
    POLICIES,
    PolicyName,
)

MARKS: Final = HORIZON_S // FINEST_STEP_S
REASONS: Final = 3
LONGEST_DAYS: Final = 14
MOST_STEPS: Final = LONGEST_DAYS * DAY_S // FINEST_STEP_S
DEFAULT_POLICY: Final[PolicyName] = "hybrid"


def _spec(name: str, unit: str, doc: str, shape: tuple[int, ...], **more: Any) -> TensorSpec:
    datatype: Datatype = "BYTES" if unit == "name" else "FP64"
    return TensorSpec(name=name, datatype=datatype, shape=shape, unit=unit, doc=doc, **more)


INPUTS: Final[tuple[TensorSpec, ...]] = (
    _spec(
        "usage", "any", "demand on an even clock, oldest first, in any unit that adds up", (-1, -1),
        low=0.0,
    ),
    _spec(
        "step_s", "s", "time between two samples of the row; whole steps make a day", (-1,),
        low=1e-3, high=float(COARSEST_STEP_S),
    ),
    TensorSpec(
        name="is_present", datatype="BOOL", shape=(-1, -1), unit="bool", required=False,
        doc="false where a sample is missing and its usage means nothing",
    ),
    _spec(
        "newest_time_of_day_s", "s", "seconds since midnight of the newest sample", (-1,),
        low=0.0, high=float(DAY_S), required=False,
    ),
    _spec("policy", "name", "one of " + ", ".join(POLICIES), (-1,), required=False),
    _spec(
        "capacity", "as usage", "capacity that stands now, above 0", (-1,), low=1e-9,
    ),
    _spec(
        "boot_delay_s", "s", "time between an order and its arrival; 0: the model's default", (-1,),
        low=0.0, high=float(HORIZON_S), required=False,
    ),
    _spec(
        "unit_capacity", "as usage", "capacity of one instance: scale out and in; 0: up and down",
        (-1,), low=0.0, required=False,
    ),
)  # fmt: skip

OUTPUTS: Final[tuple[TensorSpec, ...]] = (
    _spec("action", "name", "scale_up, scale_down, scale_out, scale_in or no_action", (-1,)),
    _spec("target_capacity", "as usage", "capacity to order now", (-1,)),
    _spec("urgency", "0..1", "chance of a shortage, halved every 15 min away", (-1,)),
    _spec("under_risk_before", "0..1", "chance of a shortage at arrival, capacity as is", (-1,)),
    _spec("under_risk_after", "0..1", "the same at the target", (-1,)),
    _spec("forecast_value", "as usage", "demand at 5, 10 .. 60 min", (-1, MARKS)),
    _spec("forecast_lower", "as usage", "lower end of its interval", (-1, MARKS)),
    _spec("forecast_upper", "as usage", "upper end of its interval", (-1, MARKS)),
    _spec("coverage", "0..1", "nominal coverage of the interval", (-1,)),
    _spec("valid_s", "s", "ask again after this time", (-1,)),
    _spec("fallback", "name", "what answered instead of the model, or empty", (-1,)),
    _spec("reason", "name", "what moved the forecast most, strongest first", (-1, REASONS)),
    _spec("reason_weight", "score", "its part in the forecast (tree SHAP)", (-1, REASONS)),
)


def optional(tensors: Tensors, name: str, rows: int, default: float | str) -> NDArray[Any]:
    """Return a tensor, or its default for every row."""
    if name in tensors:
        return np.asarray(tensors[name])
    if isinstance(default, str):
        return np.full(rows, default, dtype=object)
    return np.full(rows, default, dtype=np.float64)
