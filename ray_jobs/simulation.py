"""Plays one episode of the simulated WAN and answers with every decision and the figures over all.

All rates, times and costs are simulated; the shipped settings run beside in the same world.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from rich.console import Group, RenderableType

from novacron.errors import (
    DatasetNotFoundError,
    OutOfRangeError,
    SchemaError,
    UnreadableInputError,
)
from novacron.telemetry.datasets.throughput import load_traces
from novacron.telemetry.traces import Trace
from ray_jobs.answers import Answer, facts, table
from ray_jobs.locations import DATA_DIR_VARIABLE, data_dir
from ray_jobs.simulation_picture import check_picture, draw_run
from rl_envs.rollout import (
    Policy,
    RolloutRow,
    fixed_policy,
    random_policy,
    replayable,
    simulate,
)

SHOWN: Final = {
    "throughput_mbps": "throughput\nMbit/s",
    "latency_ms": "latency\nms",
    "loss_ratio": "loss\nratio",
    "cost_usd_per_gb": "cost\nUSD/GB",
}
"""Metrics shown over time, of those the target has, and their headings; the totals show all."""
SHOWN_ROWS: Final = 12
MAX_STEPS: Final = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationRequest:
    """What to play. `policy` is `default`, `random`, or a JSON object of fixed knobs."""

    target: str
    scenario: str
    split: str
    policy: str
    seed: int
    steps: int | None
    trace_set: str | None


def simulation_answer(request: SimulationRequest, *, plot: Path | None) -> Answer:
    """Play the episode; with `plot`, also draw it into that PNG file.

    Raises:
        UnknownNameError: No such target, scenario, split or knob.
        OutOfRangeError: A knob or the number of steps is outside its range, or NaN.
        UnreadableInputError: The policy is neither a known word nor JSON.
        SchemaError: The policy is not an object, or no trace can be replayed.
        DatasetNotFoundError: No such set of traces, or its files are not there.
        ConfigError: The picture cannot be written there.
    """
    if plot is not None:
        check_picture(plot)
    if request.steps is not None and not 1 <= request.steps <= MAX_STEPS:
        raise OutOfRangeError(
            field="steps", got=request.steps, expected=f"a whole number in [1, {MAX_STEPS}]"
        )
    policy = policy_of(request.target, request.policy, request.seed)
    replayed, refused_count = None, 0
    if request.trace_set is not None:
        replayed, refused_count = _traces(request, request.trace_set)
    rows = simulate(
        request.target,
        policy,
        scenario=request.scenario,
        split=request.split,
        seed=request.seed,
        steps=request.steps,
        traces=replayed,
    )
    totals = totals_of(rows)
    payload: dict[str, Any] = {
        "simulated": asdict(request) | {"steps": len(rows)},
        "duration_s": rows[-1].t_s,
        "gain_nats": sum(row.reward for row in rows),
        "totals": totals,
        "decisions": [asdict(row) for row in rows],
    }
    if replayed is not None:
        payload["traces"] = {"usable": len(replayed), "refused": refused_count}
    if plot is not None:
        draw_run(request.target, rows, shown_metrics(rows), _title(request), plot)
        payload["plot"] = str(plot)
    return Answer(payload=payload, view=_view(request, rows, payload))


def policy_of(target: str, policy: str, seed: int) -> Policy:
    """Return the policy that the command line names.

    Raises:
        UnknownNameError: No such target or knob.
        OutOfRangeError: A knob is outside its range, or not tunable.
        UnreadableInputError: It is neither a known word nor JSON.
        SchemaError: It is JSON, but not an object.
    """
    if policy == "default":
        return fixed_policy(target, {})
    if policy == "random":
        return random_policy(target, seed)
    try:
        values = json.loads(policy)
    except (ValueError, RecursionError) as cause:
        raise UnreadableInputError(
            field="policy",
            got=policy,
            expected="default, random, or a JSON object of knobs",
            remedy=f"It does not parse: {cause}.",
        ) from cause
    if not isinstance(values, dict):
        raise SchemaError(field="policy", got=values, expected="a JSON object of knobs by name")
    return fixed_policy(target, values)


def _traces(request: SimulationRequest, set_name: str) -> tuple[tuple[Trace, ...], int]:
    """Return the traces that can be replayed, and how many others there are."""
    folder = data_dir()
    if folder is None:
        raise DatasetNotFoundError(
            "The folder of the traces is not named.", remedy=f"Set {DATA_DIR_VARIABLE}."
        )
    usable, refused = replayable(request.target, load_traces(folder, set_name), request.steps)
    if not usable:
        raise SchemaError(
            field="traces",
            got=set_name,
            expected="at least one trace that covers the episode without a gap",
            remedy=f"Play fewer --steps. First reason: {next(iter(refused.values()), 'empty')}",
        )
    return usable, len(refused)


def totals_of(rows: Sequence[RolloutRow]) -> dict[str, dict[str, float]]:
    """Return least, mean and greatest of each metric, and the mean under the shipped settings."""
    totals = {}
    for name in rows[0].metrics:
        values = [row.metrics[name] for row in rows]
        totals[name] = {
            "min": min(values),
            "mean": fmean(values),
            "max": max(values),
            "shipped_mean": fmean(row.default_metrics[name] for row in rows),
        }
    return totals


def shown_metrics(rows: Sequence[RolloutRow]) -> tuple[str, ...]:
    """Return the metrics of this target that are shown over time."""
    return tuple(name for name in SHOWN if name in rows[0].metrics)


def _title(request: SimulationRequest) -> str:
    capacity = f", traces {request.trace_set}" if request.trace_set else ""
    return (
        f"{request.target} over {request.scenario} ({request.split}{capacity}), "
        f"policy {request.policy}, seed {request.seed}: simulated"
    )


def _view(
    request: SimulationRequest, rows: Sequence[RolloutRow], payload: Mapping[str, Any]
) -> Group:
    stride = max(-(-len(rows) // SHOWN_ROWS), 1)
    sampled = [*rows[::stride]]
    if sampled[-1] is not rows[-1]:
        sampled.append(rows[-1])
    parts: list[RenderableType] = [
        _knobs_table(rows, sampled),
        _series_table(request, rows, sampled),
        _totals_table(payload),
    ]
    if "plot" in payload:
        parts.append(f"Drawn in {payload['plot']}")
    return Group(*parts)


def _knobs_table(rows: Sequence[RolloutRow], sampled: Sequence[RolloutRow]) -> RenderableType:
    first = rows[0]
    if all(row.parameters == first.parameters for row in rows):
        cells = [
            (name, value, first.default_parameters[name])
            for name, value in first.parameters.items()
        ]
        return table("Knobs, the same throughout", ("knob", "set", "shipped"), cells)
    changing = [(f"{row.t_s:g}", *row.parameters.values()) for row in sampled]
    shipped = ("shipped", *first.default_parameters.values())
    return table("Knobs", ("end s", *first.parameters), [*changing, shipped])


def _series_table(
    request: SimulationRequest, rows: Sequence[RolloutRow], sampled: Sequence[RolloutRow]
) -> RenderableType:
    names = shown_metrics(rows)
    cells = [
        (
            f"{row.t_s:g}",
            *(f"{row.metrics[name]:.3g} ({row.default_metrics[name]:.3g})" for name in names),
            f"{row.reward:+.3f}",
        )
        for row in sampled
    ]
    title = f"{_title(request)}\n{len(sampled)} of {len(rows)} decisions; shipped in brackets"
    headings = ("end\ns", *(SHOWN[name] for name in names), "gain\nnats")
    return table(title, headings, cells)


def _totals_table(payload: Mapping[str, Any]) -> RenderableType:
    columns = ("min", "mean", "max", "shipped_mean")
    cells = [
        (name, *(f"{total[column]:.4g}" for column in columns))
        for name, total in payload["totals"].items()
    ]
    summary: dict[str, object] = {
        "decisions": payload["simulated"]["steps"],
        "simulated seconds": f"{payload['duration_s']:g}",
        "gain over shipped, nats": f"{payload['gain_nats']:+.3f}",
    }
    if "traces" in payload:
        counts = payload["traces"]
        summary["traces usable, refused"] = f"{counts['usable']}, {counts['refused']}"
    return Group(table("Over the run", ("metric", *columns), cells), facts("Totals", summary))
