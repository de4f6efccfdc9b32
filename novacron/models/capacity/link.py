"""The scale on which members work: logarithms of demand, logits of bounded usage.

On it the spread of a series is even, sums are products, and no bound can be crossed. The inverse of
a median is a median, so point forecasts stay medians.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError

Floats = NDArray[np.float64]
LinkKind = Literal["log", "logit", "identity"]

_EDGE_RATIO: Final = 1e-3
_ZERO_SHARE: Final = 0.05
_UNIT_SLACK: Final = 1.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A monotone transform of values.

    `log`: log(y + offset). `logit`: log(p / (1 - p)) of p = y / high, kept .001 away from 0 and 1.
    `identity`: for series with negative values.
    """

    kind: LinkKind
    offset: float = 0.0
    high: float = 1.0

    def forward(self, value: Floats) -> Floats:
        """Return values on the scale of the members; NaN stays NaN."""
        if self.kind == "identity":
            return np.asarray(value, dtype=np.float64)
        if self.kind == "log":
            return np.asarray(np.log(np.maximum(value + self.offset, 1e-12)))
        share = np.clip(value / self.high, _EDGE_RATIO, 1 - _EDGE_RATIO)
        return np.asarray(np.log(share / (1 - share)))

    def inverse(self, z: Floats) -> Floats:
        """Return values in their own unit; demand never falls below 0."""
        if self.kind == "identity":
            return np.asarray(z, dtype=np.float64)
        if self.kind == "log":
            return np.asarray(np.maximum(np.exp(np.minimum(z, 700.0)) - self.offset, 0.0))
        return np.asarray(self.high / (1 + np.exp(-np.clip(z, -700.0, 700.0))))


def choose_link(value_T: Floats, high: float | None) -> Link:
    """Choose by the range of a history; a bound makes it a logit.

    Raises:
        OutOfRangeError: A bounded metric lies outside its bounds: it is in another unit.
    """
    least, most = float(np.nanmin(value_T)), float(np.nanmax(value_T))
    if high is not None:
        if most > _UNIT_SLACK * high or least < 0:
            raise OutOfRangeError(
                field="history",
                got=most if most > high else least,
                expected=f"values in [0, {high:g}]",
                remedy="Percent become ratios by dividing by 100."
                if least >= 0 and most <= 100 * _UNIT_SLACK * high
                else "Check the unit.",
            )
        return Link(kind="logit", high=high)
    if least < 0:
        return Link(kind="identity")
    positive = value_T[value_T > 0]
    if positive.size == 0:
        return Link(kind="identity")
    typical = float(np.median(positive))
    near_zero = least < _EDGE_RATIO * typical
    return Link(kind="log", offset=_ZERO_SHARE * typical if near_zero else 0.0)
