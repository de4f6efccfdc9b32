"""How far a shipped codec table is from a fresh measurement, and what that costs in decisions."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from rl_envs.physics.codec import CodecCurves
from rl_envs.physics.quantities import FloatArray

WIRE_MB_S: Final = (1.0, 5.0, 25.0, 125.0, 625.0)
"""Wire rates at which the best codec is chosen, 8 Mbit/s to 5 Gbit/s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecAgreement:
    """Median relative error of ratio and of compression speed, and the regret of each decision.

    `regrets` holds, per corpus, chunk size and wire rate, the time lost by choosing the codec with
    the shipped table instead of the fresh one, as a share of the best time.
    """

    ratio_error: float
    speed_error: float
    regrets: FloatArray


def _seconds_per_mb(curves: CodecCurves, wire_mb_s: float) -> FloatArray:
    """Time of a megabyte through one core and the wire, overlapped, [C, L, S], plain data."""
    encode = 1.0 / curves.compress_mb_s_CVLS[:, 0]
    send = 1.0 / (wire_mb_s * curves.ratio_CVLS[:, 0])
    seconds: FloatArray = np.maximum(encode, send)
    return seconds


def compare(shipped: CodecCurves, fresh: CodecCurves) -> CodecAgreement:
    """Compare two tables over the same corpora, codecs and chunk sizes."""
    ratio = np.abs(np.log(shipped.ratio_CVLS / fresh.ratio_CVLS))
    speed = np.abs(np.log(shipped.compress_mb_s_CVLS / fresh.compress_mb_s_CVLS))
    regrets = []
    for wire_mb_s in WIRE_MB_S:
        truth = _seconds_per_mb(fresh, wire_mb_s)
        chosen = np.argmin(_seconds_per_mb(shipped, wire_mb_s), axis=1)
        taken = np.take_along_axis(truth, chosen[:, None, :], axis=1)[:, 0, :]
        regrets.append(taken / truth.min(axis=1) - 1.0)
    return CodecAgreement(
        ratio_error=float(np.expm1(np.median(ratio))),
        speed_error=float(np.expm1(np.median(speed))),
        regrets=np.stack(regrets),
    )
