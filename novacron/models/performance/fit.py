"""Fits the predictor unit by unit; an interrupted fit goes on at the first unfinished unit.

Legend: N rows, Q = 3 served levels.
"""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from novacron.errors import MissingDependencyError
from novacron.models.bandwidth.checkpoints import Checkpoints, Unit
from novacron.models.performance.blend import Blend, SideFactors
from novacron.models.performance.config import PerformanceConfig
from novacron.models.performance.context import Floats
from novacron.models.performance.core import Core, cell_numbers
from novacron.models.performance.degradation import (
    Degradation,
    degradation_table,
    fit_degradation,
    is_worse,
)
from novacron.models.performance.examples import Encoded, Examples, ExtraScale, encode
from novacron.models.performance.level import LevelModel
from novacron.models.performance.lstm_numpy import LstmWeights
from novacron.models.performance.parts import Material, Part
from novacron.models.performance.twin import Twin, train_twin

TWIN: Final = "twin"
_LSTM: Final = "lstm"
_GROUP: Final = "scores"
_FILE: Final = "lstm.safetensors"
_MOST_WEIGHT: Final = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """One step of a fit: `step` of `steps` of a unit, its validation loss, rows it read."""

    unit: str
    step: int
    steps: int
    loss: float
    rows: int
    resumed: bool = False


Listener = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Encoded parts, and the level they are relative to; the same for every unit."""

    material: Material
    config: PerformanceConfig
    level: LevelModel
    extra: ExtraScale
    train: Examples
    validation: Examples

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of known benchmarks, sizes and regions."""
        names = self.material.names
        return len(names.benchmarks), len(names.sizes), len(names.regions)


def unit_names(config: PerformanceConfig) -> tuple[str, ...]:
    """Return the units of a fit; they do not depend on each other."""
    return (TWIN, *(f"{_LSTM}-{seed}" for seed in config.seeds))


def prepare_fit(material: Material, config: PerformanceConfig) -> Prepared:
    """Fit the level and encode both parts relative to it."""
    train = material.train
    level = LevelModel.fit(
        train.context,
        train.actual_N,
        material.priors,
        {"benchmarks": len(material.names.benchmarks), "sharpness": config.fleet_sharpness},
    )
    extra = ExtraScale.fit(train.context.extra_NTE)

    def examples(part: Part) -> Examples:
        levels = level.levels(part.context)
        encoded = encode(part.context, levels, config, extra)
        with np.errstate(invalid="ignore"):
            z_N = (part.actual_N - encoded.level_N) / encoded.spread_N
        weight_N = _weights(encoded, config)
        # A row of which nothing is known has no level and teaches nothing.
        known_N = np.isfinite(z_N)
        return Examples(
            inputs=encoded,
            z_N=np.where(known_N, z_N, 0.0).astype(np.float32),
            weight_N=np.where(known_N, weight_N, 0.0).astype(np.float32),
        )

    return Prepared(
        material=material,
        config=config,
        level=level,
        extra=extra,
        train=examples(train),
        validation=examples(material.validation),
    )


def _weights(encoded: Encoded, config: PerformanceConfig) -> Floats:
    with np.errstate(invalid="ignore"):
        share_N = encoded.spread_N / np.maximum(np.abs(encoded.level_N), 1e-12)
    weight_N = np.nan_to_num(share_N) ** config.spread_weight
    mean = float(weight_N.mean())
    return np.minimum(weight_N / mean if mean > 0 else np.ones_like(weight_N), _MOST_WEIGHT)


class Fit:
    """The units of one fit on prepared parts.

    Args:
        prepared: What every unit reads.
        checkpoints: Where finished units are kept; None keeps nothing.
        listen: Told after every step.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        checkpoints: Checkpoints | None = None,
        listen: Listener = lambda _: None,
    ) -> None:
        self._prepared = prepared
        self._checkpoints = checkpoints
        self._listen = listen
        self.cpu_s: dict[str, float] = {}
        """CPU seconds of each unit fitted here."""

    def twin(self) -> Twin:
        """Grow the trees, or read them where they are finished."""
        unit = unit_of(TWIN, self._prepared.config)
        found = self._finished(unit)
        if found is not None:
            self._tell(TWIN, resumed=True)
            return Twin.load(found)
        began_s = time.process_time()
        prepared, config = self._prepared, self._prepared.config
        twin, loss = train_twin(
            _clipped(prepared.train, config),
            _clipped(prepared.validation, config),
            config.twin,
            config.seeds[0],
        )
        self._finish(unit, TWIN, began_s, twin.save)
        self._tell(TWIN, loss=loss, rows=len(prepared.train))
        return twin

    def lstm(self, seed: int) -> LstmWeights:
        """Train one network, or read it where it is finished."""
        prepared, config = self._prepared, self._prepared.config
        name = f"{_LSTM}-{seed}"
        unit = unit_of(name, config)
        found = self._finished(unit)
        if found is not None:
            self._tell(name, steps=config.lstm.epochs, resumed=True)
            return LstmWeights(arrays=load_file(found / _FILE), layers=config.lstm.layers)
        began_s = time.process_time()
        train, check = lstm_rows(prepared, seed)

        def tell(epoch: Any) -> None:
            if epoch.number < epoch.of:
                self._tell(
                    name,
                    step=epoch.number,
                    steps=epoch.of,
                    loss=epoch.validation_loss,
                    rows=len(train),
                )

        weights: LstmWeights = _torch_member().train_lstm(
            train, check, config.lstm, sizes=prepared.sizes, seed=seed, on_epoch=tell
        )
        arrays = dict(weights.arrays)
        self._finish(
            unit,
            name,
            began_s,
            lambda folder: save_file(
                {k: np.ascontiguousarray(v) for k, v in arrays.items()}, folder / _FILE
            ),
        )
        self._tell(name, step=config.lstm.epochs, steps=config.lstm.epochs, rows=len(train))
        return weights

    def run(self, name: str) -> None:
        """Fit one unit by its name."""
        if name == TWIN:
            self.twin()
        else:
            self.lstm(int(name.removeprefix(f"{_LSTM}-")))

    def core(self) -> Core:
        """Fit or read every unit, and choose blend, calibration and degradation on validation."""
        twin = self.twin()
        lstms = tuple(self.lstm(seed) for seed in self._prepared.config.seeds)
        return assemble(self._prepared, twin, lstms)

    def _finished(self, unit: Unit) -> Path | None:
        return None if self._checkpoints is None else self._checkpoints.done(unit)

    def _finish(
        self, unit: Unit, name: str, began_s: float, write: Callable[[Path], None]
    ) -> None:
        self.cpu_s[name] = time.process_time() - began_s
        if self._checkpoints is not None:
            self._checkpoints.finish(unit, {"cpu_s": self.cpu_s[name]}, write)

    def _tell(
        self,
        unit: str,
        *,
        step: int = 1,
        steps: int = 1,
        loss: float = float("nan"),
        rows: int = 0,
        resumed: bool = False,
    ) -> None:
        step = steps if resumed else step
        self._listen(
            Progress(unit=unit, step=step, steps=steps, loss=loss, rows=rows, resumed=resumed)
        )


def unit_of(name: str, config: PerformanceConfig) -> Unit:
    """Return the checkpoint unit of a unit's name."""
    if name == TWIN:
        return Unit(path_class=_GROUP, member=TWIN, seed=config.seeds[0])
    return Unit(path_class=_GROUP, member=_LSTM, seed=int(name.removeprefix(f"{_LSTM}-")))


def lstm_rows(prepared: Prepared, seed: int) -> tuple[Examples, Examples]:
    """Draw the rows that a network learns from, and those that choose its epoch."""
    config = prepared.config
    rng = np.random.default_rng([23, seed])
    train = _sample(_clipped(prepared.train, config), config.lstm.rows, rng)
    check = _sample(_clipped(prepared.validation, config), config.lstm.validation_rows, rng)
    return train, check


def _clipped(examples: Examples, config: PerformanceConfig) -> Examples:
    bound = config.clip_spreads
    return replace(examples, z_N=np.clip(examples.z_N, -bound, bound))


def _sample(examples: Examples, most: int, rng: np.random.Generator) -> Examples:
    """Draw rows that teach something."""
    rows = np.flatnonzero(examples.weight_N > 0)
    if len(rows) > most:
        rows = np.sort(rng.choice(rows, size=most, replace=False))
    return examples.take(rows)


def _torch_member() -> ModuleType:
    try:
        return importlib.import_module("novacron.models.performance.lstm")
    except ModuleNotFoundError as cause:
        raise MissingDependencyError(
            "Training the LSTM needs torch; serving does not.",
            remedy="Install it: pip install 'novacron-ml[torch]', CPU build first.",
        ) from cause


def assemble(
    prepared: Prepared,
    twin: Twin,
    lstms: tuple[LstmWeights, ...],
    degradation: Degradation | None = None,
) -> Core:
    """Choose blend, trust, calibration and degradation, unless given, on the validation part."""
    material, cells = prepared.material, prepared.material.cells
    draft = Core(
        config=prepared.config,
        names=material.names,
        cells=cells,
        level=prepared.level,
        extra=prepared.extra,
        twin=twin,
        lstms=lstms,
        blend=Blend.even(len(cells)),
        sides=SideFactors.neutral(len(cells)),
        degradation=degradation or choose_degradation(prepared, twin),
    )
    keep = prepared.validation.weight_N > 0
    checked = prepared.validation.take(keep)
    encoded, z_N = checked.inputs, checked.z_N.astype(np.float64)
    cell_N = cell_numbers(material.validation.context, cells)[keep]
    places = (encoded.count_group_N, cell_N)
    members = (twin.quantiles(encoded.x_NF), draft.lstm_z(encoded)[0])
    worth_N = encoded.spread_N / np.maximum(np.abs(encoded.level_N), 1e-12)
    blend = Blend.choose(z_N, worth_N, members, places, len(cells))
    raw_NQ = blend.combine(*members, *places)
    sides = SideFactors.fit(z_N, raw_NQ, places, len(cells))
    return replace(draft, blend=blend, sides=sides)


def choose_degradation(prepared: Prepared, twin: Twin) -> Degradation:
    """Fit the probability of degradation on what the trees say."""
    settings = prepared.config.degradation

    def table(examples: Examples, part: Part) -> tuple[Any, NDArray[np.bool_]]:
        whole = np.isfinite(part.future_NH).all(axis=1) & (examples.weight_N > 0)
        kept = examples.take(whole)
        z_NQ = twin.quantiles(kept.inputs.x_NF)
        worse_N = is_worse(part.future_NH[whole], kept.inputs.level_N, settings)
        return degradation_table(kept.inputs, z_NQ, settings), worse_N

    return fit_degradation(
        table(prepared.train, prepared.material.train),
        table(prepared.validation, prepared.material.validation),
        prepared.config.twin,
        prepared.config.seeds[0],
    )
