"""Fits the bandwidth forecaster: unit by unit, resumable after a kill, choices on validation only.

Legend: N rows, H steps ahead, Q = 3 served levels.
"""

import hashlib
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Final, Protocol

import numpy as np
from safetensors.numpy import load_file, save_file

from novacron.errors import ConfigError, MissingDependencyError
from novacron.models.bandwidth.blend import (
    ClassModel,
    Mixture,
    better_when_cold,
    choose_mixture,
    ewma_of_windows,
)
from novacron.models.bandwidth.checkpoints import Checkpoints, Unit, unit_facts
from novacron.models.bandwidth.config import POOLED, BandwidthConfig, served_places
from novacron.models.bandwidth.examples import ClassData, draw, fit_linear, load_class, pool
from novacron.models.bandwidth.lstm_numpy import LstmWeights
from novacron.models.bandwidth.model import BandwidthModel
from novacron.models.bandwidth.scores import ValidationMetric, validation_metrics
from novacron.models.bandwidth.twin import Twin, train_twin, twin_table
from novacron.models.bandwidth.windows import Floats, join_windows
from novacron.models.baselines import BandConfig, EwmaBand, fit_band, fit_ewma
from novacron.models.conformal import CalibrationTable
from novacron.telemetry.digest import traces_sha256
from novacron.telemetry.splits import Split
from novacron.telemetry.traces import Trace

_POOL_SEED: Final = 7
# Keeps the trace numbers of joined classes apart.
_CLASS_STRIDE: Final = 1_000_000
_EVEN: Final = Mixture(twin_weight=0.5, anchor="ewma", anchor_weight=0.0, cold_by_band=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressEvent:
    """One step of the training.

    `done` of `total` units are finished; `epoch` of `epochs` of the current one (both 0 for trees
    and for finished units). `loss` is the validation pinball loss in ratios, NaN where unknown.
    `resumed` units were found finished in the checkpoint directory.
    """

    unit: str
    path_class: str
    member: str
    seed: int
    done: int
    total: int
    epoch: int = 0
    epochs: int = 0
    loss: float = float("nan")
    resumed: bool = False

    @property
    def share(self) -> float:
        """Share of the whole training that is done, in 0..1."""
        part = self.epoch / self.epochs if self.epochs else 0.0
        return min(1.0, (self.done + part) / self.total)


Progress = Callable[[ProgressEvent], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedBandwidth:
    """A fitted model, what it scored on its validation part, and the CPU seconds of each unit."""

    model: BandwidthModel
    metrics: tuple[ValidationMetric, ...]
    cpu_s: Mapping[str, float]


class _Epoch(Protocol):
    number: int
    of: int
    validation_loss: float


def fit_bandwidth(
    traces_by_class: Mapping[str, Sequence[Trace]],
    config: BandwidthConfig,
    *,
    checkpoint_dir: Path,
    progress: Progress = lambda _: None,
) -> FittedBandwidth:
    """Fit the forecaster on traces; the same traces and config give the same model.

    Args:
        traces_by_class: Traces by path class. A part of them is kept for validation, see
            `examples.split_class`; hold back a test part before calling.
        config: All settings.
        checkpoint_dir: Where finished units and the state of the unfinished one are kept. After a
            kill, call again with the same arguments: finished units are skipped, the LSTM goes on
            at its last epoch, and the result is that of an uninterrupted run.
        progress: Told after every epoch and every unit.

    Raises:
        ConfigError: There are no traces, a class is called `pooled`, or the checkpoint directory
            belongs to another training.
        InvalidInputError: A class has too few traces to keep a validation part.
        MissingDependencyError: torch is not installed.
    """
    trainer = trainer_for(traces_by_class, config, checkpoint_dir, progress)
    return trainer.run({name: tuple(traces) for name, traces in sorted(traces_by_class.items())})


def training_key(traces_by_class: Mapping[str, Sequence[Trace]], config: BandwidthConfig) -> str:
    """Return the digest that binds a checkpoint directory to a config and traces."""
    key = hashlib.sha256(config.model_dump_json().encode())
    for name in sorted(traces_by_class):
        key.update(f"{name} {traces_sha256(traces_by_class[name])} ".encode())
    return key.hexdigest()


def trainer_for(
    traces_by_class: Mapping[str, Sequence[Trace]],
    config: BandwidthConfig,
    checkpoint_dir: Path,
    progress: Progress,
) -> "Trainer":
    """Check the classes and open the checkpoint directory."""
    if not traces_by_class or POOLED in traces_by_class:
        raise ConfigError(
            field="traces_by_class",
            got=sorted(traces_by_class) or "no class",
            expected=f"at least one class, none called {POOLED!r}",
        )
    key = training_key(traces_by_class, config)
    return Trainer(config, Checkpoints(checkpoint_dir, key), progress)


class Trainer:
    """The units of one training, in order."""

    def __init__(
        self, config: BandwidthConfig, checkpoints: Checkpoints, progress: Progress
    ) -> None:
        self.config = config
        self.checkpoints = checkpoints
        self.progress = progress
        self.cpu_s: dict[str, float] = {}
        self.total = 1
        self.done = 0

    def run(self, traces: Mapping[str, tuple[Trace, ...]]) -> FittedBandwidth:
        """Fit the units that are not finished, one after another, and put all together."""
        data = {name: load_class(own, self.config) for name, own in traces.items()}
        data |= {POOLED: self._pooled(data)}
        self.total = len(data) * (1 + len(self.config.seeds))
        pooled_lstms = {
            seed: self._lstm(POOLED, data[POOLED], seed, start=None) for seed in self.config.seeds
        }
        pooled_twin = self._twin(POOLED, data[POOLED], start=None)
        classes, metrics = {}, []
        for name, own in data.items():
            lstms, twin = pooled_lstms, pooled_twin
            if name != POOLED:
                lstms = {
                    seed: self._lstm(name, own, seed, start=pooled_lstms[seed])
                    for seed in self.config.seeds
                }
                twin = self._twin(name, own, start=pooled_twin)
            classes[name] = self._assemble(own, twin, tuple(lstms.values()))
            metrics += validation_metrics(name, own.windows, classes[name], self.config)
        return FittedBandwidth(
            model=BandwidthModel(self.config, classes),
            metrics=tuple(metrics),
            cpu_s=dict(self.cpu_s),
        )

    def run_one(self, unit: Unit, traces: Mapping[str, Sequence[Trace]]) -> None:
        """Fit one unit and leave its result in the checkpoint directory."""
        names = sorted(traces) if unit.path_class == POOLED else [unit.path_class]
        loaded = {name: load_class(traces[name], self.config) for name in names}
        pooled = unit.path_class == POOLED
        data = self._pooled(loaded) if pooled else loaded[unit.path_class]
        if unit.member == "twin":
            twin = None if pooled else Twin.load(self._pooled_unit(unit), self.config.horizon)
            self._twin(unit.path_class, data, start=twin)
            return
        lstm = None if pooled else self._loaded_lstm(self._pooled_unit(unit))
        self._lstm(unit.path_class, data, unit.seed, start=lstm)

    def _pooled_unit(self, unit: Unit) -> Path:
        """Return the directory of the finished pooled unit that a unit of a class starts from."""
        pooled = replace(unit, path_class=POOLED)
        found = self.checkpoints.done(pooled)
        if found is None:
            raise ConfigError(
                field="unit",
                got=f"{pooled.name} unfinished",
                expected="the units of the first stage before those of the second",
            )
        return found

    def _loaded_lstm(self, directory: Path) -> LstmWeights:
        arrays = load_file(directory / "lstm.safetensors")
        return LstmWeights(arrays=arrays, horizon=self.config.horizon)

    def _pooled(self, data: Mapping[str, ClassData]) -> ClassData:
        """Join the classes, an equal number of rows of each where there are enough."""
        most = self.config.lstm.rows_per_class
        rng = np.random.default_rng(_POOL_SEED)
        train = pool([own.train.sample(most, rng) for own in data.values()])
        checked = max(1, most // len(data))
        kept = [draw(len(own.windows), checked, rng) for own in data.values()]
        parts = list(zip(data.values(), kept, strict=True))
        return ClassData(
            split=Split(
                train=tuple(t for own in data.values() for t in own.split.train),
                validation=tuple(t for own in data.values() for t in own.split.validation),
            ),
            linear=fit_linear([train], self.config.features),
            train=train,
            validation=pool([own.validation.take(rows) for own, rows in parts]),
            windows=join_windows(
                [
                    replace(kept, trace_N=kept.trace_N + _CLASS_STRIDE * number)
                    for number, kept in enumerate(own.windows.take(rows) for own, rows in parts)
                ]
            ),
        )

    def _lstm(
        self, name: str, data: ClassData, seed: int, start: LstmWeights | None
    ) -> LstmWeights:
        unit = Unit(path_class=name, member="lstm", seed=seed)
        found = self.checkpoints.done(unit)
        if found is None:
            found = self._train_lstm(unit, data, start)
        else:
            self._resumed(unit, found)
        return self._loaded_lstm(found)

    def _train_lstm(self, unit: Unit, data: ClassData, start: LstmWeights | None) -> Path:
        lstm = _torch_member()
        settings = self.config.lstm
        rng = np.random.default_rng([_POOL_SEED, unit.seed])
        train = data.train if start is None else data.train.sample(settings.tuning_rows, rng)
        began_s = time.process_time()

        def tell(epoch: _Epoch) -> None:
            self._tell(unit, epoch=epoch.number, epochs=epoch.of, loss=epoch.validation_loss)

        weights, loss = lstm.train_lstm(
            train,
            data.validation,
            settings,
            lstm.Schedule(
                seed=unit.seed,
                epochs=settings.epochs if start is None else settings.tuning_epochs,
                learning_rate=settings.learning_rate if start is None else settings.tuning_rate,
            ),
            start=start,
            state_path=self.checkpoints.work_path(unit),
            on_epoch=tell,
        )
        return self._finish(
            unit,
            loss,
            time.process_time() - began_s,
            lambda directory: save_file(dict(weights.arrays), directory / "lstm.safetensors"),
        )

    def _twin(self, name: str, data: ClassData, start: Twin | None) -> Twin:
        unit = Unit(path_class=name, member="twin", seed=self.config.seeds[0])
        found = self.checkpoints.done(unit)
        if found is None:
            began_s = time.process_time()
            settings = self.config.twin
            rng = np.random.default_rng([_POOL_SEED, unit.seed, 1])
            twin, loss = train_twin(
                twin_table(data.train.sample(settings.examples, rng), settings.examples, rng),
                twin_table(data.validation, settings.examples, rng),
                settings,
                horizon=self.config.horizon,
                seed=unit.seed,
                start=start,
            )
            found = self._finish(unit, loss, time.process_time() - began_s, twin.save)
        else:
            self._resumed(unit, found)
        return Twin.load(found, self.config.horizon)

    def _finish(
        self, unit: Unit, loss: float, cpu_s: float, write: Callable[[Path], None]
    ) -> Path:
        found = self.checkpoints.finish(unit, {"loss": loss, "cpu_s": cpu_s}, write)
        self.cpu_s[unit.name] = cpu_s
        self.done += 1
        self._tell(unit, loss=loss)
        return found

    def _resumed(self, unit: Unit, found: Path) -> None:
        facts = unit_facts(found)
        self.cpu_s[unit.name] = float(facts["cpu_s"])
        self.done += 1
        self._tell(unit, loss=float(facts["loss"]), resumed=True)

    def _tell(
        self,
        unit: Unit,
        *,
        loss: float,
        epoch: int = 0,
        epochs: int = 0,
        resumed: bool = False,
    ) -> None:
        self.progress(
            ProgressEvent(
                unit=unit.name,
                path_class=unit.path_class,
                member=unit.member,
                seed=unit.seed,
                done=self.done,
                total=self.total,
                epoch=epoch,
                epochs=epochs,
                loss=loss,
                resumed=resumed,
            )
        )

    def _assemble(self, data: ClassData, twin: Twin, lstms: tuple[LstmWeights, ...]) -> ClassModel:
        """Choose half-life, weights, calibration and fallback of one class."""
        band = self._band(data)
        draft = ClassModel(
            spec=self.config.features,
            linear=data.linear,
            twin=twin,
            lstms=lstms,
            served_places=served_places(self.config),
            mixture=_EVEN,
            band=band,
            calibration=CalibrationTable.neutral(self.config.horizon),
        )
        inputs, actual_NH = data.validation.inputs, data.windows.future_NH
        bandwidth_NW = data.windows.channels["bandwidth_mbps"]
        level_N = ewma_of_windows(bandwidth_NW, band.half_life)
        twin_NHQ, lstm_NHQ = draft.twin_mbps(inputs), draft.lstm_mbps(inputs)
        anchors = draft.anchors_mbps(inputs, level_N)
        warm_N = data.windows.origin_N >= self.config.cold_start_samples - 1
        chosen = choose_mixture(
            actual_NH[warm_N],
            twin_NHQ[warm_N],
            lstm_NHQ[warm_N],
            {name: value_NH[warm_N] for name, value_NH in anchors.items()},
        )
        raw_NHQ = chosen.combine(twin_NHQ, lstm_NHQ, anchors)
        calibration = CalibrationTable.fit(actual_NH[warm_N], raw_NHQ[warm_N])
        cold = _cold_by_band(
            actual_NH[~warm_N], calibration.apply(raw_NHQ[~warm_N]), draft, bandwidth_NW[~warm_N]
        )
        return replace(draft, mixture=replace(chosen, cold_by_band=cold), calibration=calibration)

    def _band(self, data: ClassData) -> EwmaBand:
        horizon, warm = self.config.horizon, self.config.cold_start_samples
        ewma = fit_ewma(data.split.train, horizon=horizon, warm=warm)
        config = BandConfig(half_life=ewma.half_life)
        return fit_band(data.split.train, config, horizon=horizon, warm=warm)


def _cold_by_band(
    actual_NH: Floats, model_NHQ: Floats, draft: ClassModel, bandwidth_NW: Floats
) -> bool:
    if len(actual_NH) == 0:
        return False
    return better_when_cold(actual_NH, model_NHQ, draft.band_mbps(bandwidth_NW))


def _torch_member() -> ModuleType:
    try:
        return importlib.import_module("novacron.models.bandwidth.lstm")
    except ModuleNotFoundError as cause:
        raise MissingDependencyError(
            "Training the LSTM needs torch; serving does not.",
            remedy="Install it: pip install 'novacron-ml[torch]', CPU build first.",
        ) from cause
