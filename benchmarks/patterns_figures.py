"""Pictures of the pattern benchmark: confusion matrix, reliability, noise curve."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from novacron.models.classification import reliability

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def draw_confusion(counts_KK: Ints, names: Sequence[str], path: Path) -> None:
    """Draw counts as shares of each true type."""
    figure = Figure(figsize=(8.0, 7.2), layout="constrained")
    axes = figure.subplots()
    share_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    axes.imshow(share_KK, cmap="Blues", vmin=0, vmax=1)
    places = range(len(names))
    axes.set_xticks(places, names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    for row in places:
        for column in places:
            if counts_KK[row, column]:
                dark = share_KK[row, column] > 0.5
                axes.text(
                    column, row, str(counts_KK[row, column]), ha="center", va="center",
                    fontsize=7, color="white" if dark else "black",
                )  # fmt: skip
    axes.set_xlabel("answered")
    axes.set_ylabel("generated as")
    figure.savefig(path, dpi=110)


def draw_reliability(curves: Sequence[tuple[str, Floats, NDArray[np.bool_]]], path: Path) -> None:
    """Draw the share right over the confidence for several sets: (name, confidence, right)."""
    figure = Figure(figsize=(5.5, 5.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="calibrated")
    for name, confidence_N, right_N in curves:
        mean_B, right_B, count_B = reliability(confidence_N, right_N)
        held_B = count_B > 0
        axes.plot(mean_B[held_B], right_B[held_B], marker="o", markersize=4, label=name)
        for x, y, count in zip(mean_B[held_B], right_B[held_B], count_B[held_B], strict=True):
            axes.annotate(
                str(count), (x, y), fontsize=6, xytext=(3, -8), textcoords="offset points"
            )
    axes.set_xlabel("confidence")
    axes.set_ylabel("share right (numbers: windows)")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def draw_noise(
    levels: Sequence[float], f1: Sequence[float], period: Sequence[float], path: Path
) -> None:
    """Draw what gets worse as the noise grows."""
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(levels, f1, marker="o", label="macro F1")
    axes.plot(levels, period, marker="s", label="periodic windows answered within 2 %")
    axes.axvspan(0.08, 1.0, color="grey", alpha=0.15, label="levels seen in training")
    axes.set_xlabel("noise level (1: the strongest seen in training)")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
