"""Forecasts of the capacity benchmark, each made once and kept: a killed run goes on.

One record is one forecaster on one series from one origin.
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.capacity_baselines import POINT_BASELINES, default_prophet
from novacron.models.capacity.config import CapacityConfig
from novacron.models.capacity.ensemble import Outlook
from novacron.models.capacity.history import History, to_history
from novacron.models.capacity.model import CapacityModel
from novacron.models.capacity.remembered import RememberedMembers
from novacron.telemetry.datasets.demand import Demand

Floats = NDArray[np.float64]

OWN: Final = "ensemble"
_COVERAGES: Final = (0.80, 0.95)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What forecasters said from one origin, and what followed."""

    demand: Demand
    history: History
    actual_H: Floats
    said: Mapping[str, Floats]
    """Forecaster -> value_H."""
    intervals: Mapping[str, Mapping[float, tuple[Floats, Floats]]]
    outlook: Outlook


def make_records(
    demands: Sequence[Demand], model: CapacityModel, folder: Path, *, baselines: bool = True
) -> Iterator[Record]:
    """Forecast every series from every origin, saying how far it is.

    Args:
        demands: The series.
        model: The ensemble to judge.
        folder: Keeps what members and baselines said.
        baselines: Ask the costly baselines too.
    """
    scored = [one for one in demands if one.origins]
    total = sum(len(one.origins) for one in scored)
    started, done = time.monotonic(), 0
    for demand in scored:
        series = to_history(demand.series)
        own = _with_holidays(model, demand)
        members = RememberedMembers(own.members(), folder / "members")
        for origin in demand.origins:
            history = series.until(origin)
            actual_H = series.value_T[origin : origin + demand.horizon]
            outlook = own.outlook(history, demand.horizon, members=members)
            if outlook is None or np.isnan(actual_H).all():
                continue
            said, intervals = _all_said(history, demand.horizon, outlook, folder, baselines)
            done += 1
            _tell(done, total, started, demand)
            yield Record(
                demand=demand, history=history, actual_H=actual_H, said=said, intervals=intervals,
                outlook=outlook,
            )  # fmt: skip


def _with_holidays(model: CapacityModel, demand: Demand) -> CapacityModel:
    place = {"country": demand.country, "subdivision": demand.subdivision}
    config = CapacityConfig.model_validate(model.config.model_dump() | place)
    return CapacityModel(config, model.priors, model.boosters)


def _all_said(
    history: History, horizon: int, outlook: Outlook, folder: Path, baselines: bool
) -> tuple[dict[str, Floats], dict[str, Mapping[float, tuple[Floats, Floats]]]]:
    said = {OWN: outlook.value()}
    said |= {
        f"{name}_alone": outlook.link.inverse(one.z_H)
        for name, one in outlook.members.items()
        if name != "weekday_mean"
    }
    intervals: dict[str, Mapping[float, tuple[Floats, Floats]]] = {
        OWN: {level: outlook.interval(level) for level in _COVERAGES}
    }
    if not baselines:
        said["weekday_mean"] = POINT_BASELINES["weekday_mean"](history, horizon)
        return said, intervals
    kept = _baselines(history, horizon, folder / "baselines")
    said |= {name: line for name, line in kept.items() if "/" not in name}
    intervals["prophet_default"] = {
        level: (kept[f"prophet_default/{level}/lower"], kept[f"prophet_default/{level}/upper"])
        for level in _COVERAGES
    }
    return said, intervals


def _baselines(history: History, horizon: int, folder: Path) -> dict[str, Floats]:
    """Return every baseline's forecast, from disk where it was made before."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = (history.start.isoformat(), history.step_s, len(history), horizon)
    path = folder / f"{_digest(facts, history)}.json"
    if path.exists():
        return {name: np.array(line) for name, line in json.loads(path.read_text()).items()}
    found = {name: ask(history, horizon) for name, ask in POINT_BASELINES.items()}
    value_H, bands = default_prophet(history, horizon)
    found["prophet_default"] = value_H
    for level, (lower_H, upper_H) in bands.items():
        found[f"prophet_default/{level}/lower"] = lower_H
        found[f"prophet_default/{level}/upper"] = upper_H
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps({name: line.tolist() for name, line in found.items()}))
    draft.replace(path)
    return found


def _digest(facts: Sequence[Any], history: History) -> str:
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(np.ascontiguousarray(history.value_T).tobytes())
    return digest.hexdigest()[:24]


def _tell(done: int, total: int, started: float, demand: Demand) -> None:
    spent = time.monotonic() - started
    sys.stderr.write(f"\r{done}/{total} origins, {spent:.0f} s, {demand.group[:40]:40s}")
    if done == total:
        sys.stderr.write("\n")
    sys.stderr.flush()
