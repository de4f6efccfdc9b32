"""The units of a training one by one, for whoever runs them side by side in several processes.

`fit_bandwidth` on the same directory then finds all of them finished and puts them together.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from novacron.errors import ConfigError
from novacron.models.bandwidth.checkpoints import Checkpoints, Stage, Unit
from novacron.models.bandwidth.config import POOLED, BandwidthConfig
from novacron.models.bandwidth.examples import Examples, load_class
from novacron.models.bandwidth.fit import pool_classes, pool_whole, training_key
from novacron.models.bandwidth.units import LstmUnit, Progress, TwinUnit, Units
from novacron.telemetry.traces import Trace

TracesByClass = Mapping[str, Sequence[Trace]]


def training_stages(
    classes: Iterable[str], config: BandwidthConfig
) -> tuple[tuple[Unit, ...], ...]:
    """Return all units in the order in which they may run; those of one group side by side.

    The members of a class start from the pooled ones of their stage, and the final ones take as
    long as was chosen.
    """
    names = sorted(classes)

    def units_of(name: str, stage: Stage) -> list[Unit]:
        lstms = [
            Unit(path_class=name, member="lstm", seed=seed, stage=stage) for seed in config.seeds
        ]
        twin = Unit(path_class=name, member="twin", seed=config.seeds[0], stage=stage)
        return [*lstms, twin]

    chosen = [unit for name in names for unit in units_of(name, "choose")]
    if not config.refit:
        return tuple(units_of(POOLED, "choose")), tuple(chosen)
    final = [unit for name in names for unit in units_of(name, "final")]
    return (
        tuple(units_of(POOLED, "choose")),
        (*chosen, *units_of(POOLED, "final")),
        tuple(final),
    )


def is_unit_finished(
    traces_by_class: TracesByClass, config: BandwidthConfig, unit: Unit, checkpoint_dir: Path
) -> bool:
    """Tell whether the checkpoint directory holds the result of a unit."""
    checkpoints = Checkpoints(checkpoint_dir, training_key(traces_by_class, config))
    return checkpoints.done(unit) is not None


def fit_unit(
    traces_by_class: TracesByClass,
    config: BandwidthConfig,
    unit: Unit,
    *,
    checkpoint_dir: Path,
    progress: Progress = lambda _: None,
) -> None:
    """Fit one unit into the checkpoint directory, where `fit_bandwidth` finds it finished.

    Other units may be fitted into the directory at the same time by other processes.

    Args:
        traces_by_class: All traces, as for `fit_bandwidth`.
        config: All settings.
        unit: One of `training_stages`; those of the groups before its own must be finished.
        checkpoint_dir: As for `fit_bandwidth`.
        progress: Told after every epoch and at the end; its counts are of this unit alone.

    Raises:
        ConfigError: As `fit_bandwidth`, or a unit that this one builds on is not finished.
    """
    checkpoints = Checkpoints(checkpoint_dir, training_key(traces_by_class, config))
    for needed in _needed_by(unit):
        if checkpoints.done(needed) is None:
            raise ConfigError(
                field="unit",
                got=f"{needed.name} unfinished",
                expected=f"it finished before {unit.name}",
            )
    train, validation = _sides(traces_by_class, config, unit)
    silent = Units(config, checkpoints, lambda _: None, total=1)
    loud = Units(config, checkpoints, progress, total=1)
    if unit.member == "lstm":
        start = _finished_lstm(silent, _pooled_unit(unit), train)
        like = _finished_lstm(silent, _chosen_unit(unit), train)
        epochs = None if like is None else like.epoch
        loud.lstm(unit, train, validation, start=start, epochs=epochs)
        return
    base = _finished_twin(silent, _pooled_unit(unit), train, start=None)
    chosen = _chosen_unit(unit)
    before = None if chosen is None else _pooled_unit(chosen)
    chosen_base = _finished_twin(silent, before, train, start=None)
    like_twin = _finished_twin(silent, chosen, train, start=chosen_base)
    rounds = None if like_twin is None else like_twin.rounds
    loud.twin(unit, train, validation, start=base, rounds=rounds)


def _pooled_unit(unit: Unit) -> Unit | None:
    """Return the unit that a unit of a class starts from."""
    if unit.path_class == POOLED:
        return None
    return Unit(path_class=POOLED, member=unit.member, seed=unit.seed, stage=unit.stage)


def _chosen_unit(unit: Unit) -> Unit | None:
    """Return the unit that says how long a final one takes."""
    if unit.stage == "choose":
        return None
    return Unit(path_class=unit.path_class, member=unit.member, seed=unit.seed, stage="choose")


def _needed_by(unit: Unit) -> list[Unit]:
    found = [_pooled_unit(unit), _chosen_unit(unit)]
    return [one for one in found if one is not None]


def _finished_lstm(units: Units, unit: Unit | None, unused: Examples) -> LstmUnit | None:
    """Read a finished network; nothing is trained, so the examples are not looked at."""
    return None if unit is None else units.lstm(unit, unused, None, start=None)


def _finished_twin(
    units: Units, unit: Unit | None, unused: Examples, *, start: TwinUnit | None
) -> TwinUnit | None:
    return None if unit is None else units.twin(unit, unused, None, start=start)


def _sides(
    traces_by_class: TracesByClass, config: BandwidthConfig, unit: Unit
) -> tuple[Examples, Examples | None]:
    """Return what a unit is trained and checked on; only the classes it needs are read."""
    is_pooled = unit.path_class == POOLED
    names = sorted(traces_by_class) if is_pooled else [unit.path_class]
    data = {name: load_class(tuple(traces_by_class[name]), config) for name in names}
    if unit.stage == "choose":
        own = pool_classes(data, config) if is_pooled else data[unit.path_class]
        return own.train, own.validation
    whole = [own.whole(config.features)[0] for own in data.values()]
    return (pool_whole(whole, config)[0] if is_pooled else whole[0]), None
