"""Searches the bandwidth forecaster: members pooled over path classes, real epochs as fidelity.

Recordings are the groups; `tuning.objectives.bandwidth_blocks` says which are seen where.

Legend: N rows, H steps ahead, Q = 3 served levels, T steps read by the LSTM.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.bandwidth.blend import ClassModel, Mixture, ewma_of_windows
from novacron.models.bandwidth.choices import choose_blend
from novacron.models.bandwidth.config import SERVED_LEVELS, BandwidthConfig, served_places
from novacron.models.bandwidth.examples import Examples, fit_linear, pool, to_examples
from novacron.models.bandwidth.linear import LinearForecast
from novacron.models.bandwidth.lstm_numpy import LstmWeights
from novacron.models.bandwidth.twin import Twin, TwinPlan, train_twin, twin_table
from novacron.models.conformal import CalibrationTable
from novacron.models.metrics import wql_terms
from novacron.telemetry.datasets.throughput import load_traces
from novacron.telemetry.digest import traces_sha256
from novacron.telemetry.synthesize.traces import generate_traces
from tuning.objective import DataSource, Fidelity, Metric, Prepared, Progress, SchedulerKind, Trial
from tuning.objectives.bandwidth_blocks import (
    FULL,
    SETS,
    SMALL,
    BandwidthData,
    Side,
    block_data,
    cut_recordings,
    open_part,
    spread,
)
from tuning.objectives.files import block_of, with_values
from tuning.scores import GroupScores, Scores
from tuning.spaces import space_of

Floats = NDArray[np.float64]

METRIC: Final = "wql_ratio_to_ewma_band"
_EPOCHS: Final = 8
_TWIN_EXAMPLES: Final = 8_000
_DRAFT: Final = 3
"""A draft of the trees has so many times fewer rows and rounds, at as many times the rate."""
_DRAFT_MOST_RATE: Final = 0.5
_DRAFT_EPOCHS: Final = 3
"""Up to here reports are made beside a draft: the rungs of ASHA, the first and the third epoch."""
_EVEN: Final = Mixture(twin_weight=0.5, anchor="ewma", anchor_weight=0.0, cold_by_band=False)


class BandwidthObjective:
    """Implements `tuning.objective.Objective`."""

    model = "bandwidth"
    metrics = (Metric(name=METRIC),)
    fidelity = Fidelity(unit="epochs", low=1, high=_EPOCHS)
    scheduler: SchedulerKind = "asha"
    perturbed = ("lstm.learning_rate", "lstm.weight_decay", "lstm.dropout_ratio")

    def __init__(self) -> None:
        # Classes are tuned from the pooled network after a search; epochs are its fidelity.
        left_out = ("lstm.epochs", "lstm.tuning_epochs", "lstm.tuning_rate")
        space = space_of(self.model)
        self.space = space.only([name for name in space.names if name not in left_out])

    def prepare(self, source: DataSource) -> Prepared:
        """Load or generate traces, cut the blocks, encode the windows once.

        Raises:
            DatasetNotFoundError: The folder does not hold the traces.
        """
        size = SMALL if source.small else FULL
        if source.folder is None:
            links = 2 * size.traces // 3
            named = {"generated": generate_traces(source.seed, n_links=links, hours=0.5)}
            said = f"generator seed {source.seed}"
        else:
            named = {name: open_part(name, load_traces(source.folder, name)) for name in SETS}
            said = f"real traces: {', '.join(SETS)}"
        chosen = [one for traces in named.values() for one in spread(traces, size.traces)]
        fit, choose, score, untouched = cut_recordings(chosen).values()
        count = f"{len(fit)} recordings to learn from, {len(choose)} to choose by"
        return Prepared(
            search=block_data(fit, choose, score, size, size.fit_rows),
            finalists=block_data(score, choose, fit, size, size.fit_rows),
            untouched=block_data(fit + score, choose, untouched, size, size.untouched_rows),
            source=said,
            sha256=traces_sha256(chosen),
            blocks={
                "search": f"{count}, {len(score)} to score on",
                "finalists": "those to learn from and those to score on in each other's place",
                "untouched": f"{len(untouched)} recordings that no search trial sees; "
                "the others are learned from",
            },
        )

    def run(self, data: BandwidthData, trial: Trial, progress: Progress) -> Scores:
        """Train the network epoch by epoch, grow the trees, score the blend.

        The first reports are made with a draft of the trees; whole ones are grown for trials that
        outlive them.

        Raises:
            MissingDependencyError: torch is not installed.
        """
        config = self._config(trial)
        fit, like = _examples(data.fit, config)
        sides = ((data.choose, like(data.choose)), (data.score, like(data.score)))
        members = _Members(data, config, fit, sides, trial.seed)
        budget = trial.budget or _EPOCHS
        if progress.resume and (progress.resume / "twin").exists():
            members.twin = Twin.load(progress.resume / "twin", config.horizon)
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder) / "lstm.safetensors"
            if progress.resume:
                shutil.copyfile(progress.resume / state.name, state)

            def save(target: Path) -> None:
                shutil.copyfile(state, target / state.name)
                if members.twin is not None:
                    members.twin.save(target / "twin")

            found: Scores = {}
            train = _Epochs(fit, sides[0][1], config, trial.seed, state)
            first = progress.resume_step + 1 if progress.is_judged else budget
            for epoch in range(first, budget + 1):
                weights, ran = train.upto(epoch)
                is_last = epoch == budget or not ran
                judge = members.judge(is_draft=epoch <= _DRAFT_EPOCHS and not is_last)
                found = judge.scores(weights)
                progress.report(budget if is_last else epoch, found, save)
                if is_last:
                    break
        return found

    def config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the training file with these values."""
        return with_values("train/bandwidth", self.space, values)

    def probe(self, data: BandwidthData) -> Scores:
        """Score the yardstick against itself."""
        return {METRIC: _scores(data, data.band_loss_N)}

    def _config(self, trial: Trial) -> BandwidthConfig:
        block = block_of(self.space, trial.values)
        lstm = {**block.get("lstm", {}), "epochs": _EPOCHS}
        twin = {**block.get("twin", {}), "examples": _TWIN_EXAMPLES}
        settings = {**block, "lstm": lstm, "twin": twin, "seeds": (trial.seed,), "refit": False}
        return BandwidthConfig.model_validate(settings)


class _Epochs:
    """Trains the network in steps of an epoch, going on from its state file."""

    def __init__(
        self, fit: Examples, choose: Examples, config: BandwidthConfig, seed: int, state: Path
    ) -> None:
        rng = np.random.default_rng([seed, 1])
        self._fit = fit.blurred(config.level_blur, config.features, rng)
        self._choose, self._config, self._seed, self._state = choose, config, seed, state

    def upto(self, epoch: int) -> tuple[LstmWeights, bool]:
        """Return the best weights after `epoch` epochs, and whether one was run."""
        from novacron.models.bandwidth.lstm import Schedule, train_lstm

        ran: list[int] = []
        trained = train_lstm(
            self._fit,
            self._choose,
            self._config.lstm,
            Schedule(
                seed=self._seed,
                epochs=_EPOCHS,
                learning_rate=self._config.lstm.learning_rate,
                stop_after=epoch,
            ),
            state_path=self._state,
            on_epoch=lambda one: ran.append(one.number),
        )
        return trained.weights, bool(ran)


class _Members:
    """Grows trees when they are asked for, and judges a network beside them."""

    def __init__(
        self,
        data: BandwidthData,
        config: BandwidthConfig,
        fit: Examples,
        sides: tuple["_Scored", "_Scored"],
        seed: int,
    ) -> None:
        self._data, self._config, self._fit, self._sides = data, config, fit, sides
        self._seed = seed
        self._judges: dict[bool, _Judge] = {}
        self.twin: Twin | None = None

    def judge(self, *, is_draft: bool) -> "_Judge":
        """Return the judge beside a draft of the trees, or beside whole ones."""
        if is_draft not in self._judges:
            config = _draft(self._config) if is_draft else self._config
            twin = None if is_draft else self.twin
            twin = twin or _grown(self._fit, self._sides[0][1], config, self._seed)
            if not is_draft:
                self.twin = twin
            self._judges[is_draft] = _Judge(self._data, self._config, twin, self._sides)
        return self._judges[is_draft]


_Scored = tuple[Side, Examples]


class _Judge:
    """Blends and scores; what the trees say is computed once."""

    def __init__(
        self,
        data: BandwidthData,
        config: BandwidthConfig,
        twin: Twin,
        sides: tuple[_Scored, _Scored],
    ) -> None:
        self._data, self._config, self._twin = data, config, twin
        self._sides = sides
        draft = self._model(())
        self._twin_mbps = [draft.twin_mbps(examples.inputs) for _, examples in self._sides]
        self._anchors = [
            draft.anchors_mbps(
                examples.inputs,
                ewma_of_windows(side.windows.channels["bandwidth_mbps"], data.band.half_life),
            )
            for side, examples in self._sides
        ]

    def _model(self, lstms: tuple[LstmWeights, ...]) -> ClassModel:
        return ClassModel(
            spec=self._config.features,
            linear=LinearForecast(weight_KH=np.zeros((0, 0))),
            twin=self._twin,
            lstms=lstms,
            served_places=served_places(self._config),
            mixture=_EVEN,
            band=self._data.band,
            calibration=CalibrationTable.neutral(self._config.horizon),
        )

    def scores(self, weights: LstmWeights) -> Scores:
        """Choose the blend on one side and score it on the other."""
        model = self._model((weights,))
        lstm = [model.lstm_mbps(examples.inputs) for _, examples in self._sides]
        chosen, calibration = choose_blend(
            self._data.choose.windows.future_NH, self._twin_mbps[0], lstm[0], self._anchors[0]
        )
        q_NHQ = calibration.apply(chosen.combine(self._twin_mbps[1], lstm[1], self._anchors[1]))
        loss_NH = wql_terms(self._data.score.windows.future_NH, q_NHQ, SERVED_LEVELS)
        return {METRIC: _scores(self._data, loss_NH.sum(axis=1))}


def _scores(data: BandwidthData, loss_N: Floats) -> GroupScores:
    """Sum losses by trace; each class is scaled so that all of them count alike."""
    class_N = data.score.class_N
    total = np.bincount(class_N, weights=data.band_loss_N)
    scale_N = 1.0 / np.maximum(total, 1e-9)[class_N]
    return GroupScores.of_rows(data.score.group_N, loss_N * scale_N, data.band_loss_N * scale_N)


def _draft(config: BandwidthConfig) -> BandwidthConfig:
    """Return settings of fewer trees on fewer rows, each kept to a larger share."""
    twin = config.twin
    less = {
        "examples": twin.examples // _DRAFT,
        "rounds": max(1, twin.rounds // _DRAFT),
        "patience": max(1, twin.patience // _DRAFT),
        "min_rows_per_leaf": max(1, twin.min_rows_per_leaf // _DRAFT),
        "learning_rate": min(_DRAFT_MOST_RATE, twin.learning_rate * _DRAFT),
    }
    return config.model_copy(update={"twin": twin.model_copy(update=less)})


def _grown(fit: Examples, choose: Examples, config: BandwidthConfig, seed: int) -> Twin:
    rng = np.random.default_rng([seed, 2])
    blurred = fit.blurred(config.level_blur, config.features, rng)
    table = twin_table(blurred, config.twin.examples, rng)
    check = twin_table(choose, config.twin.examples, rng)
    return train_twin(table, check, config.twin, TwinPlan(horizon=config.horizon, seed=seed))[0]


def _examples(side: Side, config: BandwidthConfig) -> tuple[Examples, Callable[[Side], Examples]]:
    """Return the examples to learn from, and a function that brings other sides to the same form."""
    known = _weighted(side, config)
    linear = fit_linear([known], config.features)

    def like(other: Side) -> Examples:
        return _weighted(other, config).with_linear(linear, config.features)

    return known.with_linear(linear, config.features), like


def _weighted(side: Side, config: BandwidthConfig) -> Examples:
    inputs = replace(side.inputs, x_NTC=side.inputs.x_NTC[:, -config.lstm.steps :])
    parts = []
    for number in np.unique(side.class_N):
        rows_N = side.class_N == number
        parts.append(to_examples(side.windows.take(rows_N), config, inputs.take(rows_N)))
    # Rows of a side stand class by class, so the joined order is the side's own.
    return pool(parts)


OBJECTIVE: Final = BandwidthObjective()
