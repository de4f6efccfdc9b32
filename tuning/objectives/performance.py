"""Searches the performance predictor: real epochs as fidelity, cut in time, VMs as groups.

Of the rows that training may see (neither the latest fifth nor the VMs that the training job holds
out), the latest quarter of each benchmark, size and region is the untouched block, and the latest
quarter before it scores search trials, each behind a purged gap. Half of the scored rows come without
a history of their own, as those of a new VM. Rows to learn from are drawn, so that a trial takes
seconds.

Legend: N rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.performance.config import PerformanceConfig
from novacron.models.performance.fit import (
    Fit,
    assemble,
    choose_degradation,
    lstm_rows,
    prepare_fit,
)
from novacron.models.performance.generated import generate_scores
from novacron.models.performance.parts import Part, cut_in_time, draw_evenly, gather, part_of
from novacron.models.performance.scores_table import ScoreTable
from novacron.models.performance.sides import split_sides
from novacron.models.search_space import Values
from novacron.telemetry.datasets.vm import adapt_azure_noise
from tuning.objective import DataSource, Fidelity, Metric, Prepared, Progress, SchedulerKind, Trial
from tuning.objectives.files import arrays_sha256, block_of, with_values
from tuning.scores import GroupScores, Scores
from tuning.spaces import space_of

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

METRIC: Final = "wape"
_EPOCHS: Final = 4
_LATE: Final = 0.25
_HELD_OUT_VMS: Final = 1
_TEST_SHARE: Final = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class _Size:
    lstm_rows: int
    twin_rows: int
    check_rows: int
    scored_rows: int
    history: int
    peers: int


_FULL: Final = _Size(
    lstm_rows=1200, twin_rows=6000, check_rows=3000, scored_rows=2000, history=64, peers=256
)
_SMALL: Final = _Size(
    lstm_rows=150, twin_rows=500, check_rows=300, scored_rows=200, history=8, peers=32
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PerformanceData:
    """A table, the rows that a trial learns from, and what it is scored on."""

    table: ScoreTable
    fit_N: Mask
    known: Part
    new: Part
    """The same rows without a history of their own."""
    vm: tuple[str, ...]
    scale_N: Floats
    """Mean of each scored row's benchmark, size and region."""
    size: _Size


class PerformanceObjective:
    """Implements `tuning.objective.Objective`."""

    model = "performance"
    metrics = (Metric(name=METRIC),)
    fidelity = Fidelity(unit="epochs", low=1, high=_EPOCHS)
    scheduler: SchedulerKind = "asha"
    perturbed: tuple[str, ...] = ()

    def __init__(self) -> None:
        space = space_of(self.model)
        # Epochs are the fidelity of the search.
        self.space = space.only([name for name in space.names if name != "lstm.epochs"])

    def prepare(self, source: DataSource) -> Prepared:
        """Load or generate the scores and cut the blocks.

        Raises:
            DatasetNotFoundError: The folder does not hold them.
        """
        size = _SMALL if source.small else _FULL
        if source.folder is None:
            frame = generate_scores(source.seed, samples=240 if source.small else 480)
            said = f"generated scores, seed {source.seed}"
        else:
            frame = adapt_azure_noise(source.folder).table.to_pandas()
            said = "real scores: azure_noise"
        table = ScoreTable.from_frame(frame)
        config = _base(size)
        purge = config.purge_samples
        open_N = split_sides(
            table, held_out_vms=_HELD_OUT_VMS, test_share=_TEST_SHARE, purge_samples=purge
        ).early
        searched_N, untouched_N = cut_in_time(table, _LATE, purge, open_N)
        fit_N, score_N = cut_in_time(table, _LATE, purge, searched_N)
        rng = np.random.default_rng(source.seed)
        return Prepared(
            search=_data(table, (fit_N, score_N), size, rng),
            untouched=_data(table, (searched_N, untouched_N), size, rng),
            source=said,
            sha256=arrays_sha256({"score": table.score_N, "ts": table.ts_N}),
            blocks={
                "search": f"{int(fit_N.sum())} rows to learn from, {int(score_N.sum())} later ones",
                "untouched": f"{int(untouched_N.sum())} rows later than those",
            },
        )

    def run(self, data: PerformanceData, trial: Trial, progress: Progress) -> Scores:
        """Grow the trees, train the network, score the blend after each epoch.

        Raises:
            MissingDependencyError: torch is not installed.
        """
        from novacron.models.performance.lstm import Epoch, train_lstm

        config = self._config(trial, data.size)
        prepared = prepare_fit(gather(data.table, config, data.fit_N), config)
        twin = Fit(prepared).twin()
        degradation = choose_degradation(prepared, twin)
        budget = trial.budget or _EPOCHS
        found: dict[int, Scores] = {}

        def judge(epoch: Epoch) -> None:
            core = assemble(prepared, twin, (epoch.best(),), degradation)
            found[epoch.number] = _scores(data, core.by_member)
            if epoch.number < budget:
                progress.report(epoch.number, found[epoch.number])

        train, check = lstm_rows(prepared, trial.seed)
        train_lstm(
            train, check, config.lstm, sizes=prepared.sizes, seed=trial.seed,
            stop_after=budget, on_epoch=judge,
        )  # fmt: skip
        # A network that stopped early has said its last word.
        last = found[max(found)]
        progress.report(budget, last)
        return last

    def config(self, values: Values) -> dict[str, Any]:
        """Return the training file with these values."""
        return with_values("train/performance", self.space, values)

    def _config(self, trial: Trial, size: _Size) -> PerformanceConfig:
        block = block_of(self.space, trial.values)
        base = _base(size)
        lstm = base.lstm.model_dump() | block.get("lstm", {}) | {"epochs": _EPOCHS}
        lstm["steps"] = min(lstm["steps"], size.history)
        settings = base.model_dump() | block
        settings |= {
            "lstm": lstm,
            "twin": base.twin.model_dump() | block.get("twin", {}),
            "seeds": (trial.seed,),
        }
        return PerformanceConfig.model_validate(settings)


def _base(size: _Size) -> PerformanceConfig:
    return PerformanceConfig.model_validate(
        {
            "lstm": {
                "steps": min(16, size.history),
                "rows": size.lstm_rows,
                "validation_rows": size.check_rows // 2,
            },
            "twin": {"rows": size.twin_rows},
            "validation_rows": size.check_rows,
            "history": size.history,
            "peers": size.peers,
            "purge_samples": min(size.history, PerformanceConfig().purge_samples),
        }
    )


def _data(
    table: ScoreTable, sides: tuple[Mask, Mask], size: _Size, rng: np.random.Generator
) -> PerformanceData:
    fit_N, score_N = sides
    config = _base(size)
    rows = draw_evenly(score_N & (table.ranks() > 0), table.cell_N, size.scored_rows, rng)
    mean = np.bincount(table.cell_N[fit_N], weights=table.score_N[fit_N]) / np.maximum(
        np.bincount(table.cell_N[fit_N]), 1
    )
    # A cell that is not learned from has no mean yet; its own scores stand in for the scale only.
    cell_N = table.cell_N[rows]
    inside_N = cell_N < len(mean)
    scale_N = np.where(inside_N, mean[np.minimum(cell_N, len(mean) - 1)], 0.0)
    return PerformanceData(
        table=table,
        fit_N=fit_N,
        known=part_of(table, rows, config),
        new=part_of(table, rows, config, keep_K=np.zeros(len(rows), dtype=np.int64)),
        vm=tuple(table.vm_names[number] for number in table.vm_N[rows]),
        scale_N=np.where(scale_N > 0, scale_N, table.score_N[rows]),
        size=size,
    )


def _scores(data: PerformanceData, forecast: Callable[[Any], Any]) -> Scores:
    """Return the absolute error relative to the mean of the cell, by VM."""
    off = []
    for part in (data.known, data.new):
        median_N = forecast(part.context)["blend"][:, 1]
        off.append(np.abs(part.actual_N - median_N) / data.scale_N)
    return {METRIC: GroupScores.of_rows(data.vm * 2, np.concatenate(off))}


OBJECTIVE: Final = PerformanceObjective()
