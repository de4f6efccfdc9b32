"""Searches the bandwidth forecaster: members pooled over path classes, real epochs as fidelity.

Recordings are the groups. Of those that training may see, a quarter is the untouched block; of the
others a part is learned from, a part chooses rounds, epoch and blend, and a part scores. What the
benchmark or the training job report on is left out before that: the newest fifth of FCC and HSDPA
recordings, and every recording that the job's split by hash holds back.

Legend: N rows, H steps ahead, Q = 3 served levels, T steps read by the LSTM.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.bandwidth.blend import ClassModel, Mixture, ewma_of_windows
from novacron.models.bandwidth.choices import choose_blend, fit_class_band
from novacron.models.bandwidth.config import SERVED_LEVELS, BandwidthConfig, served_places
from novacron.models.bandwidth.examples import Examples, fit_linear, pool, to_examples
from novacron.models.bandwidth.linear import LinearForecast
from novacron.models.bandwidth.lstm_numpy import LstmWeights
from novacron.models.bandwidth.scores import band_of_windows
from novacron.models.bandwidth.twin import Twin, TwinPlan, train_twin, twin_table
from novacron.models.bandwidth.windows import (
    ModelInputs,
    WindowSet,
    cut_windows,
    encode_all,
    join_windows,
)
from novacron.models.baselines import EwmaBand
from novacron.models.conformal import CalibrationTable
from novacron.models.metrics import wql_terms
from novacron.telemetry.datasets.throughput import load_traces
from novacron.telemetry.digest import traces_sha256
from novacron.telemetry.splits import split_by_group
from novacron.telemetry.synthesize.traces import generate_traces
from novacron.telemetry.traces import Trace, by_class
from tuning.objective import DataSource, Fidelity, Metric, Prepared, Progress, SchedulerKind, Trial
from tuning.objectives.files import block_of, with_values
from tuning.scores import GroupScores, Scores
from tuning.spaces import space_of

Floats = NDArray[np.float64]

METRIC: Final = "wql_ratio_to_ewma_band"
SETS: Final = ("fcc", "hsdpa", "puffer_train")
_HELD_BACK_BY_DATE: Final = ("fcc", "hsdpa")
_COARSE_STEP_S: Final = 3.0
_EPOCHS: Final = 8
_TWIN_EXAMPLES: Final = 8_000
_COLD: Final = 8
_EVEN: Final = Mixture(twin_weight=0.5, anchor="ewma", anchor_weight=0.0, cold_by_band=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Size:
    """How much is taken of the data: a trial on two cores stays within seconds."""

    traces: int
    """Most traces of each class."""
    fit_rows: int
    """Windows of each class to learn from; a third as many choose, and as many score."""


_FULL: Final = _Size(traces=160, fit_rows=1000)
_SMALL: Final = _Size(traces=24, fit_rows=300)


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """Windows of all classes, class by class, with their inputs; `x_NTC` holds the whole history.

    `class_N` numbers the class of each row, `group_N` names its trace.
    """

    windows: WindowSet
    inputs: ModelInputs
    class_N: NDArray[np.int64]
    group_N: NDArray[np.str_]


@dataclass(frozen=True, kw_only=True, slots=True)
class BandwidthData:
    """What one trial gets: rows to learn from, to choose by, and to be scored on."""

    fit: Side
    choose: Side
    score: Side
    band: EwmaBand
    """Fitted on the traces to learn from: the yardstick."""
    band_loss_N: Floats
    """What the band loses on each row to be scored."""


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
        size = _SMALL if source.small else _FULL
        if source.folder is None:
            links = 2 * size.traces // 3
            named = {"generated": generate_traces(source.seed, n_links=links, hours=0.5)}
            said = f"generator seed {source.seed}"
        else:
            named = {name: open_part(name, load_traces(source.folder, name)) for name in SETS}
            said = f"real traces: {', '.join(SETS)}"
        chosen = [t for traces in named.values() for t in _spread(traces, size.traces)]
        parts = _cut(chosen)
        learned = parts["fit"] + parts["score"]
        return Prepared(
            search=_prepared(parts["fit"], parts["choose"], parts["score"], size),
            untouched=_prepared(learned, parts["choose"], parts["untouched"], size),
            source=said,
            sha256=traces_sha256(chosen),
            blocks={
                "search": f"{len(parts['fit'])} traces to learn from, {len(parts['choose'])} to "
                f"choose by, {len(parts['score'])} to score on",
                "untouched": f"{len(parts['untouched'])} traces that no search trial sees; "
                "the others are learned from",
            },
        )

    def run(self, data: BandwidthData, trial: Trial, progress: Progress) -> Scores:
        """Grow the trees, train the network epoch by epoch, score the blend after each.

        Raises:
            MissingDependencyError: torch is not installed.
        """
        config = self._config(trial)
        fit, linear_of = _examples(data.fit, config)
        choose, score = linear_of(data.choose), linear_of(data.score)
        twin = (
            Twin.load(progress.resume / "twin", config.horizon)
            if progress.resume
            else _grown(fit, choose, config, trial.seed)
        )
        judge = _Judge(data, config, twin, choose, score)
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder) / "lstm.safetensors"
            if progress.resume:
                shutil.copyfile(progress.resume / state.name, state)

            def save(target: Path) -> None:
                shutil.copyfile(state, target / state.name)
                twin.save(target / "twin")

            found: Scores = {}
            budget = trial.budget or _EPOCHS
            train = _Epochs(fit, choose, config, trial.seed, state)
            for epoch in range(progress.resume_step + 1, budget + 1):
                weights, ran = train.upto(epoch)
                # A network that stopped early has said its last word.
                found = judge.scores(weights) if ran or not found else found
                progress.report(epoch if ran else budget, found, save)
                if not ran:
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


class _Judge:
    """Blends and scores; what the trees say is computed once."""

    def __init__(
        self,
        data: BandwidthData,
        config: BandwidthConfig,
        twin: Twin,
        choose: Examples,
        score: Examples,
    ) -> None:
        self._data, self._config, self._twin = data, config, twin
        self._sides = ((data.choose, choose), (data.score, score))
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


def _prepared(
    fit: Sequence[Trace], choose: Sequence[Trace], score: Sequence[Trace], size: _Size
) -> BandwidthData:
    config = BandwidthConfig()
    band = fit_class_band(fit, config)
    sides = [
        _side(fit, size.fit_rows, config),
        _side(choose, size.fit_rows // 3, config),
        _side(score, size.fit_rows, config),
    ]
    scored = sides[2]
    bandwidth_NW = scored.windows.channels["bandwidth_mbps"]
    loss_NH = wql_terms(
        scored.windows.future_NH,
        band_of_windows(band, bandwidth_NW),
        SERVED_LEVELS,
    )
    return BandwidthData(
        fit=sides[0], choose=sides[1], score=scored, band=band, band_loss_N=loss_NH.sum(axis=1)
    )


def _side(traces: Sequence[Trace], rows: int, config: BandwidthConfig) -> Side:
    whole = config.model_copy(
        update={"lstm": config.lstm.model_copy(update={"steps": config.features.history})}
    )
    windows, class_N, group_N = [], [], []
    for number, (_, own) in enumerate(sorted(by_class(traces).items())):
        cut = cut_windows(own, config.features, config.horizon, most=rows)
        cut = cut.take(cut.origin_N >= _COLD - 1)
        windows.append(cut)
        class_N.append(np.full(len(cut), number))
        group_N.append(np.array([trace.trace_id for trace in own])[cut.trace_N])
    joined = join_windows(windows)
    return Side(
        windows=joined,
        inputs=encode_all(whole, joined),
        class_N=np.concatenate(class_N),
        group_N=np.concatenate(group_N),
    )


def _cut(traces: Sequence[Trace]) -> dict[str, tuple[Trace, ...]]:
    """Deal the recordings of each class out to the four parts, by the hash of their names."""
    parts: dict[str, tuple[Trace, ...]] = dict.fromkeys(
        ("fit", "choose", "score", "untouched"), ()
    )
    for own in by_class(traces).values():
        outer = split_by_group(
            own, validation_share=0.25, test_share=0.25, order="hashed", seed=11
        )
        inner = split_by_group(outer.train, validation_share=0.3, order="hashed", seed=12)
        for name, found in zip(
            parts, (inner.train, inner.validation, outer.validation, outer.test), strict=True
        ):
            parts[name] += found
    return parts


def open_part(name: str, traces: Sequence[Trace]) -> tuple[Trace, ...]:
    """Return the recordings of a set that neither the benchmark nor the training job tests on."""
    left = set()
    for own in by_class(traces).values():
        job = split_by_group(own, validation_share=0.2, test_share=0.2, order="hashed")
        left |= {trace.trace_id for trace in job.train + job.validation}
    if name in _HELD_BACK_BY_DATE:
        fine = [trace for trace in traces if trace.step_s < _COARSE_STEP_S]
        coarse = [trace for trace in traces if trace.step_s >= _COARSE_STEP_S]
        sides = [split_by_group(part, validation_share=0.2) for part in (fine, coarse) if part]
        left &= {trace.trace_id for side in sides for trace in side.train}
    return tuple(trace for trace in traces if trace.trace_id in left)


def _spread(traces: Sequence[Trace], most: int) -> tuple[Trace, ...]:
    """Keep at most so many, at even distances."""
    if len(traces) <= most:
        return tuple(traces)
    return tuple(traces[i * len(traces) // most] for i in range(most))


OBJECTIVE: Final = BandwidthObjective()
