"""Runs one unit of the training, or reads it from the checkpoint directory where it is finished."""

import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

import numpy as np
from safetensors.numpy import load_file, save_file

from novacron.errors import MissingDependencyError
from novacron.models.bandwidth.checkpoints import Checkpoints, Unit, unit_facts
from novacron.models.bandwidth.config import BandwidthConfig
from novacron.models.bandwidth.examples import Examples
from novacron.models.bandwidth.lstm_numpy import LstmWeights
from novacron.models.bandwidth.twin import Twin, TwinPlan, rounds_of, train_twin, twin_table

_DRAW_SEED: Final = 7
_LSTM_FILE: Final = "lstm.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressEvent:
    """One step of the training.

    `done` of `total` units are finished; `epoch` of `epochs` of the current one (both 0 for trees
    and for finished units). `loss` is the validation pinball loss in ratios, NaN where there is
    none (stage `final`). `resumed` units were found finished in the checkpoint directory.
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
        """Share of the units that are done, in 0..1."""
        part = self.epoch / self.epochs if self.epochs else 0.0
        return min(1.0, (self.done + part) / self.total)


Progress = Callable[[ProgressEvent], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class LstmUnit:
    """A trained network and the epoch it is from."""

    weights: LstmWeights
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TwinUnit:
    """Grown trees and the rounds by level beyond those it started from."""

    twin: Twin
    rounds: Mapping[float, int]


class _Epoch(Protocol):
    number: int
    of: int
    validation_loss: float


class Units:
    """The units of one training; `cpu_s` collects the CPU seconds of each."""

    def __init__(
        self, config: BandwidthConfig, checkpoints: Checkpoints, progress: Progress, total: int
    ) -> None:
        self.config = config
        self.cpu_s: dict[str, float] = {}
        self._checkpoints = checkpoints
        self._progress = progress
        self._total = total
        self._done = 0

    def lstm(
        self,
        unit: Unit,
        train: Examples,
        validation: Examples | None,
        *,
        start: LstmUnit | None,
        epochs: int | None = None,
    ) -> LstmUnit:
        """Train one network, from `start` on; without a validation part for `epochs`."""

        def run() -> tuple[dict[str, Any], Callable[[Path], None]]:
            trained = self._run_lstm(unit, train, validation, start, epochs)
            arrays = dict(trained.weights.arrays)
            facts = {"loss": trained.loss, "epoch": trained.epoch}
            return facts, lambda directory: save_file(arrays, directory / _LSTM_FILE)

        found = self._finished(unit, run)
        return LstmUnit(
            weights=LstmWeights(arrays=load_file(found / _LSTM_FILE), horizon=self.config.horizon),
            epoch=int(unit_facts(found)["epoch"]),
        )

    def _run_lstm(
        self,
        unit: Unit,
        train: Examples,
        validation: Examples | None,
        start: LstmUnit | None,
        epochs: int | None,
    ) -> Any:
        torch_member = _torch_member()
        settings = self.config.lstm
        rng = np.random.default_rng([_DRAW_SEED, unit.seed])

        def tell(epoch: _Epoch) -> None:
            self._tell(unit, epoch=epoch.number, epochs=epoch.of, loss=epoch.validation_loss)

        return torch_member.train_lstm(
            self._blurred(
                train if start is None else train.sample(settings.tuning_rows, rng), rng
            ),
            validation,
            settings,
            torch_member.Schedule(
                seed=unit.seed,
                epochs=settings.epochs if start is None else settings.tuning_epochs,
                learning_rate=settings.learning_rate if start is None else settings.tuning_rate,
                stop_after=epochs,
            ),
            start=None if start is None else start.weights,
            state_path=self._checkpoints.work_path(unit),
            on_epoch=tell,
        )

    def twin(
        self,
        unit: Unit,
        train: Examples,
        validation: Examples | None,
        *,
        start: TwinUnit | None,
        rounds: Mapping[float, int] | None = None,
    ) -> TwinUnit:
        """Grow the trees, from `start` on; without a validation part for `rounds`."""
        before = None if start is None else start.twin
        plan = TwinPlan(horizon=self.config.horizon, seed=unit.seed, start=before, rounds=rounds)

        def run() -> tuple[dict[str, Any], Callable[[Path], None]]:
            settings = self.config.twin
            rng = np.random.default_rng([_DRAW_SEED, unit.seed, 1])
            blurred = self._blurred(train.sample(settings.examples, rng), rng)
            table = twin_table(blurred, settings.examples, rng)
            check = None if validation is None else twin_table(validation, settings.examples, rng)
            grown, loss = train_twin(table, check, settings, plan)
            return {"loss": loss}, grown.save

        found = Twin.load(self._finished(unit, run), self.config.horizon)
        return TwinUnit(twin=found, rounds=rounds_of(found, before))

    def _blurred(self, train: Examples, rng: np.random.Generator) -> Examples:
        return train.blurred(self.config.level_blur, self.config.features, rng)

    def _finished(
        self, unit: Unit, run: Callable[[], tuple[dict[str, Any], Callable[[Path], None]]]
    ) -> Path:
        found = self._checkpoints.done(unit)
        resumed = found is not None
        if found is None:
            began_s = time.process_time()
            facts, write = run()
            facts["cpu_s"] = time.process_time() - began_s
            found = self._checkpoints.finish(unit, facts, write)
        facts = unit_facts(found)
        self.cpu_s[unit.name] = float(facts["cpu_s"])
        self._done += 1
        self._tell(unit, loss=float(facts["loss"]), resumed=resumed)
        return found

    def _tell(
        self,
        unit: Unit,
        *,
        loss: float,
        epoch: int = 0,
        epochs: int = 0,
        resumed: bool = False,
    ) -> None:
        self._progress(
            ProgressEvent(
                unit=unit.name,
                path_class=unit.path_class,
                member=unit.member,
                seed=unit.seed,
                done=self._done,
                total=self._total,
                epoch=epoch,
                epochs=epochs,
                loss=loss,
                resumed=resumed,
            )
        )


def _torch_member() -> ModuleType:
    try:
        return importlib.import_module("novacron.models.bandwidth.lstm")
    except ModuleNotFoundError as cause:
        raise MissingDependencyError(
            "Training the LSTM needs torch; serving does not.",
            remedy="Install it: pip install 'novacron-ml[torch]', CPU build first.",
        ) from cause
