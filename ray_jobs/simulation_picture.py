"""Draws a simulated run: each metric beside the shipped settings, the gain so far, the knobs."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from novacron.errors import ConfigError
from novacron.params.encode import encode_values, numbers_of
from novacron.params.groups import parameter_group
from rl_envs.rollout import RolloutRow


def check_picture(path: Path) -> None:
    """Refuse a file that is no PNG or cannot be written, before anything is played.

    Raises:
        ConfigError: It has another ending, or its folder cannot be made.
    """
    if path.suffix.lower() != ".png":
        raise ConfigError(field="plot", got=str(path), expected="a file that ends in .png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as cause:
        raise ConfigError(
            field="plot", got=str(path), expected="a file that can be written", remedy=f"{cause}."
        ) from cause


def draw_run(
    target: str, rows: Sequence[RolloutRow], names: Sequence[str], title: str, path: Path
) -> None:
    """Draw the metrics `names`, the summed gain and the knobs over simulated time into a PNG."""
    figure = Figure(figsize=(8.0, 1.7 * (len(names) + 2) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9, wrap=True)
    panels = figure.subplots(len(names) + 2, 1, sharex=True)
    t_s = [row.t_s for row in rows]
    for axes, name in zip(panels, names, strict=False):
        axes.plot(t_s, [row.metrics[name] for row in rows], label="policy")
        shipped = [row.default_metrics[name] for row in rows]
        axes.plot(t_s, shipped, linestyle="--", color="gray", label="shipped")
        # From zero: a hair's breadth must not look like a cliff.
        axes.set_ylim(bottom=0.0)
        axes.set_ylabel(name, fontsize=8)
    panels[0].legend(fontsize=8)
    panels[-2].plot(t_s, list(accumulate(row.reward for row in rows)))
    panels[-2].set_ylabel("gain so far, nats", fontsize=8)
    _draw_knobs(target, rows, panels[-1])
    panels[-1].set_xlabel("simulated s")
    figure.savefig(path, dpi=110)


def _draw_knobs(target: str, rows: Sequence[RolloutRow], axes: Any) -> None:
    """Each knob's place in its range, 0 to 1, on the scale on which it is searched."""
    group = parameter_group(target)
    values = np.stack([numbers_of(group, row.parameters) for row in rows])
    share = (encode_values(group, values) + 1.0) / 2.0
    for column, name in enumerate(group.names):
        axes.step([row.t_s for row in rows], share[:, column], where="mid", label=name)
    axes.set_ylim(-0.05, 1.05)
    axes.set_ylabel("knob in its range", fontsize=8)
    axes.legend(fontsize=6, ncols=3)
