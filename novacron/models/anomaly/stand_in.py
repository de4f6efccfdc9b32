"""Stands in for a detector that cannot answer: the Student t law around the history's median."""

from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from novacron.models.anomaly.explain import usual_range
from novacron.models.anomaly.inputs import ANY_VALUE
from novacron.models.anomaly.model import LONGEST_HISTORY, AnomalyModel
from novacron.models.anomaly.stream import day_samples, p_value
from novacron.models.anomaly.warmup import FALLBACK, warm_up_surprise
from novacron.models.base import Tensors

Floats = NDArray[np.float64]

NAME: Final = FALLBACK
_STEP_S: Final = 60.0


def answer(model: AnomalyModel, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
    """Judge the newest sample of each row by those before it; see `novacron.models.stand_ins`."""
    value_NW = cast(Floats, tensors[ANY_VALUE])[:, -LONGEST_HISTORY:]
    count, steps = value_NW.shape
    step_N = cast(Floats, tensors.get("step_s", np.full(count, _STEP_S)))
    score_N = np.array([warm_up_surprise(value_W, steps - 1)[-1] for value_W in value_NW])
    usual_N2 = np.array(
        [
            usual_range(value_W[-day_samples(float(step_s)) - 1 : -1])
            for value_W, step_s in zip(value_NW, step_N, strict=True)
        ]
    )
    threshold_N = np.array([model.detector.threshold_at(float(step_s)) for step_s in step_N])
    return {
        "score": score_N,
        "p_value": p_value(score_N, 1),
        "threshold": threshold_N,
        "alert": score_N >= threshold_N,
        "value": value_NW[:, -1],
        "lower": usual_N2[:, 0],
        "upper": usual_N2[:, 1],
        "fallback": np.full(count, NAME, dtype=object),
    }
