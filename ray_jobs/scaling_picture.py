"""Draws replays of the scaling model for the report of a training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """Demand of a series and the capacity that stood at each step."""

    name: str
    demand: NDArray[np.float64]
    capacity: NDArray[np.float64]


def draw_replays(replays: Sequence[Replayed], newest: int) -> Figure:
    """Return one panel a series with its newest steps."""
    figure = Figure(figsize=(8.0, 1.8 * len(replays)), layout="constrained")
    for axes, one in zip(
        figure.subplots(len(replays), 1, squeeze=False)[:, 0], replays, strict=True
    ):
        steps = np.arange(-min(newest, len(one.demand)), 0)
        axes.step(steps, one.capacity[-newest:], where="post", label="capacity", linewidth=1.0)
        axes.plot(steps, one.demand[-newest:], label="demand", linewidth=0.8)
        axes.set_title(one.name, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.axes[0].legend(fontsize=7)
    figure.axes[-1].set_xlabel("steps before the newest sample")
    return figure
