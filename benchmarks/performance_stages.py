"""Stages of the performance benchmark: fits and their forecasts, kept in a folder as arrays.

A stage that is in the folder is read back, so an interrupted run goes on where it was.

Legend: N rows, S shown rows of one series.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.bandwidth.checkpoints import Checkpoints
from novacron.models.performance.config import PerformanceConfig
from novacron.models.performance.core import Core
from novacron.models.performance.fit import Fit, prepare_fit
from novacron.models.performance.measure import (
    KnownRows,
    UnseenRows,
    forecast_known,
    forecast_unseen,
)
from novacron.models.performance.parts import cut_in_time, gather
from novacron.models.performance.scores import ScoredRows
from novacron.models.performance.scores_table import ScoreTable, contexts_of

Mask = NDArray[np.bool_]
Arrays = dict[str, NDArray[Any]]

FAN_ROWS: Final = 90
_ROW_SEED: Final = 31
_FLAGS: Final = ("lower_N", "upper_N", "probability_N", "base_rate_N", "worse_N", "whole_N")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is run: scores, settings, how many rows are scored, and where stages are kept."""

    table: ScoreTable
    config: PerformanceConfig
    seeds: tuple[int, ...]
    """LSTM seeds of the known VMs; each fold of unseen VMs takes the first."""
    test_share: float
    known_rows: int
    unseen_rows: int
    folds: tuple[str, ...]
    """Last parts of VM names: the VMs of a fold are held out in every size and region."""
    key: str
    folder: Path

    def masks(self) -> tuple[Mask, Mask]:
        """Return the earlier rows, and the later ones after a purged gap."""
        return cut_in_time(self.table, self.test_share, self.config.purge_samples)

    def held(self, fold: str) -> Mask:
        """Return the rows of the VMs of a fold."""
        chosen = [n for n, name in enumerate(self.table.vm_names) if name.endswith(f"|{fold}")]
        return np.isin(self.table.vm_N, chosen)


def fit_stage(plan: Plan, name: str, rows: Mask, seeds: tuple[int, ...]) -> tuple[Core, float]:
    """Fit on rows, units kept in the folder; return the core and the CPU seconds of new units."""
    config = plan.config.model_copy(update={"seeds": seeds})
    checkpoints = Checkpoints(plan.folder / name, plan.key)
    fit = Fit(prepare_fit(gather(plan.table, config, rows), config), checkpoints=checkpoints)
    core = fit.core()
    return core, sum(fit.cpu_s.values())


def known_stage(plan: Plan, log: Callable[[str], None]) -> tuple[KnownRows, Arrays]:
    """Return the forecasts of later rows of known VMs, and fans of some series."""
    path = plan.folder / "known.npz"
    if not path.exists():
        early, late = plan.masks()
        core, cpu_s = fit_stage(plan, "known", early, plan.seeds)
        log(f"fitted known VMs: {cpu_s:.0f} s of CPU for new units")
        rows = forecast_known(core, plan.table, (early, late), plan.known_rows, _ROW_SEED)
        arrays = {name: getattr(rows, name) for name in _FLAGS} | _scored_arrays(rows.scored)
        _write(path, arrays | _fans(core, plan.table, late))
    found = _read(path)
    scored = _scored(found)
    known = KnownRows(scored=scored, **{name: found[name] for name in _FLAGS})
    return known, {name: value for name, value in found.items() if name.startswith("fan")}


def unseen_stage(plan: Plan, fold: str, log: Callable[[str], None]) -> UnseenRows:
    """Return the forecasts of later rows of the VMs of a fold, by own samples shown."""
    path = plan.folder / f"unseen-{fold}.npz"
    if not path.exists():
        early, late = plan.masks()
        held = plan.held(fold)
        core, cpu_s = fit_stage(plan, f"unseen-{fold}", early & ~held, plan.seeds[:1])
        log(f"fitted without VMs {fold}: {cpu_s:.0f} s of CPU for new units")
        rows = forecast_unseen(
            core, plan.table, (early & ~held, late & held), plan.unseen_rows, _ROW_SEED
        )
        arrays: Arrays = {}
        for count, scored in rows.by_count.items():
            own = _scored_arrays(scored) | {"inside": rows.inside_by_count[count]}
            arrays |= {f"{count}:{name}": value for name, value in own.items()}
        _write(path, arrays)
    found = _read(path)
    counts = sorted({int(name.split(":", 1)[0]) for name in found})
    parts = {count: _below(found, f"{count}:") for count in counts}
    return UnseenRows(
        by_count={count: _scored(part) for count, part in parts.items()},
        inside_by_count={count: part["inside"] for count, part in parts.items()},
    )


def _fans(core: Core, table: ScoreTable, late: Mask) -> Arrays:
    """Forecast the last rows of the longest series of each of four benchmarks."""
    out: Arrays = {}
    picked = np.linspace(0, len(table.names.benchmarks) - 1, 4).astype(int)
    for place, benchmark in enumerate(np.unique(picked)):
        own = late & (table.benchmark_N == benchmark)
        if not own.any():
            continue
        series = np.bincount(table.series_N[own]).argmax()
        rows = np.flatnonzero(own & (table.series_N == series))[-FAN_ROWS:]
        answers = core.answer(contexts_of(table, rows, core.config))
        out |= {
            f"fan{place}_name": np.array(json.dumps(table.names.benchmarks[benchmark])),
            f"fan{place}_ts": table.ts_N[rows],
            f"fan{place}_actual": table.score_N[rows],
            f"fan{place}_q": answers.q_NQ,
        }
    return out


def _scored_arrays(scored: ScoredRows) -> Arrays:
    arrays: Arrays = {f"value:{name}": value for name, value in scored.value.items()}
    return arrays | {
        f.name: getattr(scored, f.name) for f in fields(ScoredRows) if f.name != "value"
    }


def _scored(found: Mapping[str, NDArray[Any]]) -> ScoredRows:
    return ScoredRows(
        actual_N=found["actual_N"],
        cell_N=found["cell_N"],
        vm_N=found["vm_N"],
        value=_below(found, "value:"),
    )


def _below(found: Mapping[str, NDArray[Any]], prefix: str) -> Arrays:
    return {n.removeprefix(prefix): v for n, v in found.items() if n.startswith(prefix)}


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp.npz")
    np.savez_compressed(draft, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    draft.replace(path)


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def hindsight(scored: ScoredRows) -> ScoredRows:
    """Add what no flat forecast can beat: the median of each cell's own test rows, known after."""
    median_N = np.empty(len(scored.actual_N))
    for cell in np.unique(scored.cell_N):
        own = scored.cell_N == cell
        median_N[own] = np.median(scored.actual_N[own])
    return replace(scored, value={**scored.value, "hindsight": median_N})
