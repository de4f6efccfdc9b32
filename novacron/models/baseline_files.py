"""Baselines as JSON text: a baseline can be named as a fallback, kept and compared like a model."""

import dataclasses
import json
from typing import Any, Final, cast

import numpy as np

from novacron.errors import ArtifactError
from novacron.models.baselines import (
    Ewma,
    EwmaBand,
    Forecaster,
    HarmonicMean,
    HoltWinters,
    LastValue,
    MeanSoFar,
    RidgeLags,
)
from novacron.models.rolling_median import RollingMedian

KINDS: Final[dict[str, type]] = {
    made.__name__: made
    for made in (
        LastValue,
        HarmonicMean,
        MeanSoFar,
        Ewma,
        EwmaBand,
        HoltWinters,
        RidgeLags,
        RollingMedian,
    )
}


def dump_baseline(baseline: Forecaster) -> str:
    """Return a baseline as JSON; the same baseline gives the same text."""
    fields = dataclasses.asdict(cast(Any, baseline))
    values = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in fields.items()}
    return json.dumps({"kind": type(baseline).__name__, **values}, sort_keys=True)


def load_baseline(text: str) -> Forecaster:
    """Read what `dump_baseline` wrote.

    Raises:
        ArtifactError: The text is not JSON, or names an unknown kind or field.
    """
    try:
        values = json.loads(text)
        kind = KINDS[values.pop("kind")]
        arrays = {k: np.asarray(v) if isinstance(v, list) else v for k, v in values.items()}
        return cast(Forecaster, kind(**arrays))
    except (ValueError, KeyError, TypeError) as cause:
        raise ArtifactError(
            f"This is not a stored baseline: {cause}.", remedy="Fit it again."
        ) from cause
