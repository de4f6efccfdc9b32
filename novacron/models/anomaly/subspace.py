"""How far a window of the newest samples lies from the few shapes that windows usually have.

Sub-PCA, one of the best detectors of TSB-AD (Liu and Paparrizos, NeurIPS 2024): windows are
centred, the leading components kept, and the rest of the energy is the score.

Legend: N windows, L steps of a window, C components.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LENGTHS: Final = (12, 48)
"""Steps of the windows at the two scales."""
COMPONENTS: Final = 3
_MOST_WINDOWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Subspace:
    """Mean window, spread, and leading components of what windows looked like."""

    mean_L: Floats
    spread: float
    component_CL: Floats

    def residual(self, value_T: Floats) -> Floats:
        """Return the root mean square of what the components leave of each window of a stretch.

        Args:
            value_T: Samples; the first window ends at sample L - 1.

        Returns:
            One value for each sample from L - 1 on, in spreads of the fit.
        """
        length = len(self.mean_L)
        count = len(value_T) - length + 1
        energy_N = np.zeros(count)
        projected_CN = np.zeros((len(self.component_CL), count))
        # Step by step instead of a matrix product: BLAS rounds differently for one window than for
        # many, and a stream must give the very scores of a batch.
        for step in range(length):
            z_N = (value_T[step : step + count] - self.mean_L[step]) / self.spread
            energy_N += z_N * z_N
            projected_CN += self.component_CL[:, step, None] * z_N
        for projected_N in projected_CN:
            energy_N -= projected_N * projected_N
        return np.sqrt(np.maximum(energy_N, 0) / length)


def fit_subspace(value_T: Floats, length: int) -> Subspace:
    """Fit the subspace of windows of `length` steps; needs at least two windows."""
    window_NL = np.lib.stride_tricks.sliding_window_view(value_T, length)
    window_NL = window_NL[:: max(1, len(window_NL) // _MOST_WINDOWS)]
    mean_L = window_NL.mean(axis=0)
    spread = float(window_NL.std())
    # A constant history: whatever differs from it is far away, and nothing is divided by zero.
    spread = spread if spread > 0 else max(float(np.abs(mean_L).max()), 1.0) * 1e-9
    z_NL = (window_NL - mean_L) / spread
    _, vector_LL = np.linalg.eigh(z_NL.T @ z_NL / len(z_NL))
    return Subspace(mean_L, spread, np.ascontiguousarray(vector_LL[:, -COMPONENTS:].T))
