"""Renders the tables of an environment's data sheet from the parameter and observation tables."""

from typing import Any

from novacron.params.encode import ObservationSpec
from novacron.params.spec import ParameterGroup
from rl_envs.targets.base import Target


def action_table(group: ParameterGroup) -> list[str]:
    """Return the rows: index, knob, unit, what -1 and 1 stand for, scale."""
    rows = ["| action | knob | unit | at -1 | at 1 | scale |", "|---|---|---|---|---|---|"]
    for index, knob in enumerate(group):
        low, high = (f"{knob.low:g}", f"{knob.high:g}")
        if knob.kind == "enum":
            low, high = knob.choices[0], knob.choices[-1]
        scale = {"enum": "equal bins", "log2": "log, whole"}.get(knob.kind, "linear")
        rows.append(f"| {index} | {knob.name} | {knob.unit} | {low} | {high} | {scale} |")
    return rows


def observation_table(spec: ObservationSpec) -> list[str]:
    """Return the rows of one frame: index, name, unit, low, high, where it is read."""
    rows = ["| obs | name | unit | low | high | source |", "|---|---|---|---|---|---|"]
    for index, channel in enumerate(spec.channels):
        rows.append(
            f"| {index} | {channel.name} | {channel.unit} | {channel.low:g} "
            f"| {channel.high:g} | {channel.source} |"
        )
    first = len(spec.channels)
    last = first + len(spec.group) - 1
    rows.append(f"| {first}-{last} | the knobs in force | cube | -1 | 1 | as the actions |")
    rows.append(f"| {last + 1} | missing_ratio | 0..1 | 0 | 1 | channels without a value |")
    return rows


def objective_line(target: Target[Any, Any]) -> str:
    """Return the reward's weights in one line."""
    parts = [f"{weight:g} {name}" for name, weight in target.weights.items()]
    return "Weights: " + ", ".join(parts) + "."


def data_sheet(target: Target[Any, Any]) -> list[str]:
    """Return the lines that an environment's docstring must contain."""
    return [
        *action_table(target.group),
        *observation_table(target.observation),
        objective_line(target),
    ]
