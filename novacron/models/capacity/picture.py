"""Pictures of forecasts and plans: the fan, the thresholds, and when they are reached."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from novacron.models.capacity.answers import CapacityForecast, CapacityPlan, Need

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE: Final = "#1b6ca8"
_COLOURS: Final = {"warning": "#c98a1b", "critical": "#b3261e"}
_PAST_STEPS_PER_AHEAD: Final = 3


def draw_plan(plan: CapacityPlan, path: Path, histories: dict[str, Any] | None = None) -> None:
    """Write one PNG with a panel per metric.

    Args:
        plan: What to draw.
        path: Where.
        histories: By metric, a pandas series on times whose end is drawn before the forecast.
    """
    from matplotlib.figure import Figure

    metrics = list(plan.needs)
    figure = Figure(figsize=(9.0, 3.2 * len(metrics)), layout="constrained")
    panels = figure.subplots(len(metrics), 1, squeeze=False)[:, 0]
    for axes, metric in zip(panels, metrics, strict=True):
        need = plan.needs[metric]
        draw_fan(axes, need.forecast, (histories or {}).get(metric))
        draw_crossings(axes, need)
        axes.set_title(f"{metric}: {need.urgency}", fontsize=10)
        axes.legend(fontsize=7, loc="upper left")
    figure.savefig(path, dpi=90)


def draw_fan(axes: "Axes", forecast: CapacityForecast, history: Any = None) -> None:
    """Draw value and both intervals; before them the end of the history, where there is one."""
    at = np.array([moment.replace(tzinfo=None) for moment in forecast.at], dtype="datetime64[s]")
    axes.fill_between(
        at, forecast.lower_95, forecast.upper_95, color=_BLUE, alpha=0.15, linewidth=0,
        label="95 % interval",
    )  # fmt: skip
    axes.fill_between(
        at, forecast.lower, forecast.upper, color=_BLUE, alpha=0.3, linewidth=0,
        label="80 % interval",
    )  # fmt: skip
    axes.plot(at, forecast.value, color=_BLUE, linewidth=1.4, label="forecast")
    if history is not None:
        past = history.iloc[-_PAST_STEPS_PER_AHEAD * len(at) :]
        index = past.index.tz_localize(None) if past.index.tz is not None else past.index
        axes.plot(index, past.to_numpy(), color="#444444", linewidth=0.8, label="history")
    axes.set_ylabel(forecast.unit or forecast.metric)
    axes.tick_params(labelsize=8)


def draw_crossings(axes: "Axes", need: Need) -> None:
    """Draw the thresholds, and from the 10 % to the 90 % quantile of the date they are reached."""
    end = np.datetime64(need.forecast.at[-1].replace(tzinfo=None), "s")
    for one in need.crossings:
        colour = _COLOURS[one.level]
        axes.axhline(one.threshold, color=colour, linewidth=1, linestyle="--")
        soonest, median, latest = (
            None if date is None else np.datetime64(date.replace(tzinfo=None), "s")
            for date in one.dates.values()
        )
        label = f"{one.level} {one.threshold:g}: {one.probability:.0%}"
        if soonest is None:
            axes.plot([], [], color=colour, linestyle="--", label=label)
            continue
        reach = [soonest, end if latest is None else latest]
        axes.plot(reach, [one.threshold] * 2, color=colour, linewidth=4, alpha=0.5, label=label)
        if median is not None:
            axes.plot([median], [one.threshold], marker="v", color=colour, markersize=8)
