"""Pictures of the simulator's benchmark: law beside measured cells, goodput by number of streams."""

from collections import defaultdict
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.results_format import BenchmarkResult
from rl_envs.testbed.cell import predict_cells
from rl_envs.testbed.fit import MeasuredCell
from rl_envs.testbed.grid import group_key

_COLOURS: Final = {
    "loss_limited": "#1b6ca8",
    "saturated": "#5a8f3d",
    "shallow_buffer": "#c65d21",
    "cross_traffic": "#8e4585",
    "window_limited": "#777777",
    "compressed": "#b59b00",
}
_GROUPS_SHOWN: Final = 12


def draw_fidelity(cells: list[MeasuredCell], path: Path) -> None:
    """Draw every cell's goodput and round trip, law over measurement."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    predicted = predict_cells([cell.cell for cell in cells])
    for axis, name, label in (
        (axes[0], "steady_goodput_mbps", "goodput, Mbit/s"),
        (axes[1], "srtt_ms", "smoothed round trip, ms"),
    ):
        seen = [cell.figures[name] for cell in cells]
        for kind, colour in _COLOURS.items():
            for half, face in (("report", colour), ("fit", "none")):
                at = [i for i, cell in enumerate(cells) if cell.kind == kind and cell.half == half]
                axis.scatter(
                    [seen[i] for i in at], predicted[name][at], s=22, facecolors=face,
                    edgecolors=colour, label=kind.replace("_", " ") if half == "report" else None,
                )  # fmt: skip
        ends = [min(seen), max(seen)]
        axis.plot(ends, ends, color="#999999", linewidth=0.8, zorder=0)
        axis.set(xscale="log", yscale="log", xlabel=f"measured {label}", ylabel="law")
    axes[0].legend(frameon=False, title="filled: never fitted", fontsize=8)
    figure.savefig(path, dpi=80)


def draw_streams(cells: list[MeasuredCell], path: Path) -> None:
    """Draw goodput by number of streams in groups that no coefficient was fitted on."""
    groups: defaultdict[str, list[MeasuredCell]] = defaultdict(list)
    for cell in cells:
        if cell.half == "report":
            groups[group_key(cell.cell)].append(cell)
    largest = sorted(groups.values(), key=len, reverse=True)[:_GROUPS_SHOWN]
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, members in zip(figure.subplots(3, 4).ravel(), largest, strict=False):
        _streams_of_group(axis, sorted(members, key=lambda cell: cell.cell.streams))
    figure.supxlabel("streams")
    figure.supylabel("goodput, Mbit/s: measured (dots), law (line)")
    figure.savefig(path, dpi=80)


def _streams_of_group(axis: Axes, members: list[MeasuredCell]) -> None:
    cell = members[0].cell
    streams = [member.cell.streams for member in members]
    law = predict_cells([member.cell for member in members])["steady_goodput_mbps"]
    colour = _COLOURS[members[0].kind]
    axis.plot(streams, law, color=colour, linewidth=1.0)
    seen = [member.figures["steady_goodput_mbps"] for member in members]
    axis.scatter(streams, seen, s=20, color=colour)
    axis.set(xscale="log", ylim=(0, 1.05 * max(*seen, *law)))
    axis.set_xticks(streams, [str(number) for number in streams])
    axis.set_title(
        f"{cell.algorithm} {cell.capacity_mbps:g} Mbit/s {cell.rtt_ms:g} ms\n"
        f"loss {100 * cell.loss_ratio:g} % buffer {cell.buffer_bdp:g} others {cell.cross_flows}",
        fontsize=7,
    )


def draw_headroom(result: BenchmarkResult, path: Path) -> None:
    """Draw what an oracle, the best fixed knobs and one action are worth, and the speeds."""
    found = {(metric.name, metric.set): metric.value for metric in result.metrics}
    targets = [
        metric.set for metric in result.metrics if metric.name == "oracle_over_default_nats"
    ]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    places = range(len(targets))
    for name, label, shift in (
        ("oracle_over_default_nats", "oracle", -0.2),
        ("best_static_over_default_nats", "best fixed knobs", 0.2),
    ):
        values = [found[name, target] for target in targets]
        left.bar([place + shift for place in places], values, 0.38, label=label)
    left.set_xticks(places, [target.split("_")[0] for target in targets])
    left.set_ylabel("nats over the shipped default")
    left.legend(frameon=False)
    speeds = [m for m in result.metrics if m.name == "env_steps_per_cpu_s"]
    right.bar([m.set.split("_")[0].split(",")[0] for m in speeds], [m.value for m in speeds])
    right.axhline(2e5, color="#999999", linewidth=0.8)
    right.set(yscale="log", ylabel="environment steps per CPU-second, N=1024")
    figure.savefig(path, dpi=80)
