"""Pictures of a search, drawn from its results alone: history, coordinates, importance, slices, front."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from tuning.importance import Document, Importance, finished_trials

_MOST_AXES: Final = 9
_MOST_SLICES: Final = 8
_COLUMNS: Final = 4
_BLUE: Final = "#1f6fb2"
_RED: Final = "#b3261e"
_GREY: Final = "0.65"
_MAP: Final = "viridis_r"

Trials = Sequence[Mapping[str, Any]]


def draw_history(document: Document) -> Figure:
    """Draw every search trial in order, the best so far, the default, and those given up."""
    figure = Figure(figsize=(8.0, 3.8), layout="constrained")
    axes = figure.subplots()
    target = document["metrics"][0]
    whole = finished_trials(document)
    number = [one["number"] for one in whole]
    value = [one["metrics"][target["name"]] for one in whole]
    stopped = [
        one
        for one in document["trials"]
        if one["phase"] == "search" and one["state"] == "stopped" and one["metrics"]
    ]
    if stopped:
        axes.scatter(
            [one["number"] for one in stopped],
            [one["metrics"][target["name"]] for one in stopped],
            marker="x", color=_GREY, label="stopped early, at its last report",
        )  # fmt: skip
    axes.scatter(number, value, color=_BLUE, s=18, label="trained whole")
    if value:
        best = np.minimum.accumulate(value) if _is_lower(target) else np.maximum.accumulate(value)
        axes.step(number, best, where="post", color=_RED, label="best so far")
        if number[0] == 0:
            axes.axhline(value[0], color="0.3", linestyle=":", label="default")
    axes.set_xlabel("setting, in the order tried")
    axes.set_ylabel(_label(target))
    axes.legend(fontsize=8)
    return figure


def draw_coordinates(document: Document, ranked: Sequence[Importance]) -> Figure:
    """Draw each finished setting as a line over the most important parameters, best ones on top."""
    whole, target = finished_trials(document), document["metrics"][0]
    names = _shown(document, whole, ranked, _MOST_AXES)
    figure = Figure(figsize=(max(7.0, 1.25 * len(names) + 2), 4.6), layout="constrained")
    axes = figure.subplots()
    value = np.array([one["metrics"][target["name"]] for one in whole], dtype=np.float64)
    if not len(value) or not names:
        axes.text(0.5, 0.5, "no finished setting", ha="center")
        return figure
    norm, colours = Normalize(value.min(), value.max()), colormaps[_MAP]
    scales = {row["name"]: row["scale"] for row in document["space"]}
    places = {name: _places([one["values"].get(name) for one in whole], scales[name])
              for name in names}  # fmt: skip
    order = np.argsort(value)[::-1] if _is_lower(target) else np.argsort(value)
    shade = norm(value) if _is_lower(target) else 1.0 - norm(value)
    for row in order:
        line = [places[name][row] for name in names]
        axes.plot(
            range(len(names)), line, color=colours(1.0 - shade[row]), alpha=0.8, linewidth=1.3
        )
    for place, name in enumerate(names):
        axes.axvline(place, color="0.8", linewidth=0.8)
        given = [one["values"].get(name) for one in whole if name in one["values"]]
        for at, text in _ends(given, scales[name]):
            axes.text(place, at, text, fontsize=7, ha="center",
                      va="bottom" if at > 0.5 else "top")  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=25, ha="right", fontsize=8)
    axes.set_yticks([])
    axes.set_ylim(-0.12, 1.12)
    mapped = ScalarMappable(norm, colours if not _is_lower(target) else colours.reversed())
    figure.colorbar(mapped, ax=axes, label=_label(target))
    return figure


def draw_importance(ranked: Sequence[Importance]) -> Figure:
    """Draw both measures of importance side by side."""
    rows = list(ranked)[::-1]
    figure = Figure(figsize=(7.5, max(2.4, 0.32 * len(rows) + 1.2)), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(rows))
    axes.barh(place + 0.2, [one.fanova for one in rows], 0.38, color=_BLUE, label="fANOVA")
    axes.barh(place - 0.2, [one.ped_anova for one in rows], 0.38, color="#e08a1e",
              label="PED-ANOVA, best quarter")  # fmt: skip
    axes.set_yticks(place, [one.name for one in rows], fontsize=8)
    axes.set_xlabel("share")
    axes.legend(fontsize=8)
    return figure


def draw_slices(document: Document, ranked: Sequence[Importance]) -> Figure:
    """Draw the metric over each of the most important parameters."""
    whole, target = finished_trials(document), document["metrics"][0]
    names = _shown(document, whole, ranked, _MOST_SLICES)
    scales = {row["name"]: row["scale"] for row in document["space"]}
    rows = max(1, -(-len(names) // _COLUMNS))
    figure = Figure(figsize=(11.0, 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in grid[len(names) :]:
        axes.axis("off")
    for axes, name in zip(grid, names, strict=False):
        mine = [one for one in whole if name in one["values"]]
        given = [one["values"][name] for one in mine]
        value = [one["metrics"][target["name"]] for one in mine]
        shade = [one["number"] for one in mine]
        axes.scatter(given, value, c=shade, cmap="Blues", s=16, edgecolors="0.4", linewidths=0.3)
        if scales[name] == "log":
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        if scales[name] == "choice":
            axes.tick_params(axis="x", labelsize=7)
        axes.set_title(name, fontsize=9)
    grid[0].set_ylabel(_label(target), fontsize=8)
    return figure


def draw_front(document: Document) -> Figure:
    """Draw the first two metrics of every finished setting and those that none other beats."""
    first, second = document["metrics"][:2]
    whole = finished_trials(document)
    best = set(document["pareto"])
    figure = Figure(figsize=(6.5, 4.4), layout="constrained")
    axes = figure.subplots()
    for is_best, colour, label in ((False, _GREY, "beaten"), (True, _BLUE, "pareto front")):
        mine = [one for one in whole if (one["number"] in best) == is_best]
        axes.scatter(
            [one["metrics"][second["name"]] for one in mine],
            [one["metrics"][first["name"]] for one in mine],
            color=colour, label=label, s=24,
        )  # fmt: skip
    default = [one for one in whole if one["number"] == 0]
    for one in default:
        axes.scatter(one["metrics"][second["name"]], one["metrics"][first["name"]], marker="*",
                     s=120, color=_RED, label="default")  # fmt: skip
    axes.set_xlabel(_label(second))
    axes.set_ylabel(_label(first))
    axes.legend(fontsize=8)
    return figure


def _is_lower(metric: Mapping[str, Any]) -> bool:
    return bool(metric["better"] == "lower")


def _label(metric: Mapping[str, Any]) -> str:
    unit = f", {metric['unit']}" if metric["unit"] else ""
    return f"{metric['name']}{unit} ({metric['better']} is better)"


def _shown(
    document: Document, trials: Trials, ranked: Sequence[Importance], most: int
) -> list[str]:
    """Return the parameters to draw: by importance, else in the order of the space."""
    names = [one.name for one in ranked] or [row["name"] for row in document["space"]]
    return [name for name in names if any(name in one["values"] for one in trials)][:most]


def _places(values: Sequence[Any], scale: str) -> list[float]:
    """Return where values stand on an axis of height 1; NaN where a parameter did not count."""
    given = [value for value in values if value is not None]
    if scale == "choice":
        labels = sorted({str(value) for value in given})
        span = max(1, len(labels) - 1)
        return [
            float("nan") if value is None else labels.index(str(value)) / span for value in values
        ]
    at = np.array([np.nan if value is None else float(value) for value in values])
    at = np.log(at) if scale == "log" else at
    low, high = np.nanmin(at), np.nanmax(at)
    return [float(one) for one in (at - low) / (high - low if high > low else 1.0)]


def _ends(values: Sequence[Any], scale: str) -> list[tuple[float, str]]:
    if scale == "choice":
        labels = sorted({str(value) for value in values})
        span = max(1, len(labels) - 1)
        return [(place / span, label) for place, label in enumerate(labels)]
    return [(-0.02, f"{min(values):.3g}"), (1.02, f"{max(values):.3g}")]
