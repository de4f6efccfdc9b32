"""Fits the bandwidth forecaster in two stages: choose on validation, then train on everything.

Both stages go unit by unit and can be killed at any time; see `fit_bandwidth`.

Legend: N rows, H steps ahead, Q = 3 served levels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from novacron.errors import ConfigError
from novacron.models.bandwidth.blend import ClassModel
from novacron.models.bandwidth.checkpoints import Checkpoints, Stage, Unit
from novacron.models.bandwidth.choices import choose_class, fit_class_band
from novacron.models.bandwidth.config import POOLED, BandwidthConfig
from novacron.models.bandwidth.examples import (
    ClassData,
    Examples,
    draw,
    fit_linear,
    load_class,
    pool,
)
from novacron.models.bandwidth.linear import LinearForecast
from novacron.models.bandwidth.model import BandwidthModel
from novacron.models.bandwidth.scores import ValidationMetric, validation_metrics
from novacron.models.bandwidth.units import LstmUnit, Progress, ProgressEvent, TwinUnit, Units
from novacron.models.bandwidth.windows import join_windows
from novacron.telemetry.digest import traces_sha256
from novacron.telemetry.splits import Split
from novacron.telemetry.traces import Trace

__all__ = ["FittedBandwidth", "Progress", "ProgressEvent", "fit_bandwidth"]

_POOL_SEED: Final = 7
# Keeps the trace numbers of joined classes apart.
_CLASS_STRIDE: Final = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedBandwidth:
    """A fitted model, what it scored on its validation part, and the CPU seconds of each unit.

    The metrics are those of the stage that did not see the validation part.
    """

    model: BandwidthModel
    metrics: tuple[ValidationMetric, ...]
    cpu_s: Mapping[str, float]


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
    if not traces_by_class or POOLED in traces_by_class:
        raise ConfigError(
            field="traces_by_class",
            got=sorted(traces_by_class) or "no class",
            expected=f"at least one class, none called {POOLED!r}",
        )
    ordered = {name: tuple(traces_by_class[name]) for name in sorted(traces_by_class)}
    key = training_key(ordered, config)
    members = (len(ordered) + 1) * (1 + len(config.seeds))
    units = Units(
        config,
        Checkpoints(checkpoint_dir, key),
        progress,
        total=members * (2 if config.refit else 1),
    )
    data = {name: load_class(traces, config) for name, traces in ordered.items()}
    data[POOLED] = pool_classes(data, config)
    return _fit(data, config, units)


def training_key(traces_by_class: Mapping[str, Sequence[Trace]], config: BandwidthConfig) -> str:
    """Return the digest that binds a checkpoint directory to a config and traces."""
    key = hashlib.sha256(config.model_dump_json().encode())
    for name in sorted(traces_by_class):
        key.update(f"{name} {traces_sha256(traces_by_class[name])} ".encode())
    return key.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Members:
    """The members of all classes: one network per class and seed, one twin per class."""

    lstms: Mapping[str, Mapping[int, LstmUnit]]
    twins: Mapping[str, TwinUnit]


def _fit(data: Mapping[str, ClassData], config: BandwidthConfig, units: Units) -> FittedBandwidth:
    sides = {name: (own.train, own.validation) for name, own in data.items()}
    chosen = _members(sides, "choose", None, units)
    classes: dict[str, ClassModel] = {}
    metrics: list[ValidationMetric] = []
    for name, own in data.items():
        lstms = tuple(unit.weights for unit in chosen.lstms[name].values())
        classes[name] = choose_class(own, chosen.twins[name].twin, lstms, config)
        metrics += validation_metrics(name, own.windows, classes[name], config)
    if config.refit:
        classes = _refitted(classes, data, chosen, units)
    return FittedBandwidth(
        model=BandwidthModel(config, classes), metrics=tuple(metrics), cpu_s=dict(units.cpu_s)
    )


def _members(
    sides: Mapping[str, tuple[Examples, Examples | None]],
    stage: Stage,
    like: _Members | None,
    units: Units,
) -> _Members:
    """Train the pooled members, then each class from them; `like` says how long."""
    lstms: dict[str, dict[int, LstmUnit]] = {}
    twins: dict[str, TwinUnit] = {}
    seeds = units.config.seeds
    for name in [POOLED, *(n for n in sides if n != POOLED)]:
        train, validation = sides[name]
        lstms[name] = {
            seed: units.lstm(
                Unit(path_class=name, member="lstm", seed=seed, stage=stage),
                train,
                validation,
                start=None if name == POOLED else lstms[POOLED][seed],
                epochs=None if like is None else like.lstms[name][seed].epoch,
            )
            for seed in seeds
        }
        twins[name] = units.twin(
            Unit(path_class=name, member="twin", seed=seeds[0], stage=stage),
            train,
            validation,
            start=None if name == POOLED else twins[POOLED],
            rounds=None if like is None else like.twins[name].rounds,
        )
    return _Members(lstms=lstms, twins=twins)


def _refitted(
    classes: Mapping[str, ClassModel],
    data: Mapping[str, ClassData],
    chosen: _Members,
    units: Units,
) -> dict[str, ClassModel]:
    """Train on both parts as long as was chosen; weights and calibration stay as chosen."""
    config = units.config
    whole = {n: own.whole(config.features) for n, own in data.items() if n != POOLED}
    whole[POOLED] = pool_whole([examples for examples, _ in whole.values()], config)
    sides = {name: (examples, None) for name, (examples, _) in whole.items()}
    final = _members(sides, "final", chosen, units)
    return {
        name: replace(
            part,
            linear=whole[name][1],
            twin=final.twins[name].twin,
            lstms=tuple(unit.weights for unit in final.lstms[name].values()),
            band=fit_class_band(data[name].split.train + data[name].split.validation, config),
        )
        for name, part in classes.items()
    }


def pool_whole(
    parts: Sequence[Examples], config: BandwidthConfig
) -> tuple[Examples, LinearForecast]:
    """Join the whole classes for the pooled members of the final stage."""
    rng = np.random.default_rng(_POOL_SEED)
    joined = pool([part.sample(config.lstm.rows_per_class, rng) for part in parts])
    return joined, fit_linear([joined], config.features)


def pool_classes(data: Mapping[str, ClassData], config: BandwidthConfig) -> ClassData:
    """Join the classes, an equal number of rows of each where there are enough.

    Training rows carry the linear forecast of their own class, as when a class is tuned from
    here. Validation rows carry that of the joined classes, as paths of an unknown class do.
    """
    most = config.lstm.rows_per_class
    rng = np.random.default_rng(_POOL_SEED)
    train = pool([own.train.sample(most, rng) for own in data.values()])
    checked = max(1, most // len(data))
    parts = [(own, draw(len(own.windows), checked, rng)) for own in data.values()]
    windows = [own.windows.take(rows) for own, rows in parts]
    linear = fit_linear([train], config.features)
    return ClassData(
        split=Split(
            train=tuple(t for own in data.values() for t in own.split.train),
            validation=tuple(t for own in data.values() for t in own.split.validation),
        ),
        linear=linear,
        train=train,
        validation=pool([own.validation.take(rows) for own, rows in parts]).with_linear(
            linear, config.features
        ),
        windows=join_windows(
            [
                replace(kept, trace_N=kept.trace_N + _CLASS_STRIDE * number)
                for number, kept in enumerate(windows)
            ]
        ),
    )
