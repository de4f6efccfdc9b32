"""The units of a training one by one, for whoever runs them side by side in several processes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from novacron.models.bandwidth.checkpoints import Checkpoints, Unit
from novacron.models.bandwidth.config import POOLED, BandwidthConfig
from novacron.models.bandwidth.fit import Progress, trainer_for, training_key
from novacron.telemetry.traces import Trace


def training_stages(
    classes: Iterable[str], config: BandwidthConfig
) -> tuple[tuple[Unit, ...], tuple[Unit, ...]]:
    """Return the units of a training in two stages; those of one stage can run side by side.

    The second stage tunes, for each class, the pooled members of the first.
    """

    def units_of(name: str) -> list[Unit]:
        twin = Unit(path_class=name, member="twin", seed=config.seeds[0])
        lstms = [Unit(path_class=name, member="lstm", seed=seed) for seed in config.seeds]
        return [*lstms, twin]

    tuned = [unit for name in sorted(classes) for unit in units_of(name)]
    return tuple(units_of(POOLED)), tuple(tuned)


def fit_unit(
    traces_by_class: Mapping[str, Sequence[Trace]],
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
        unit: One of `training_stages`; for one of a class the pooled one must be finished.
        checkpoint_dir: As for `fit_bandwidth`.
        progress: Told after every epoch and at the end; its counts are of this unit alone.

    Raises:
        ConfigError: As `fit_bandwidth`, or the pooled unit is not finished.
    """
    trainer = trainer_for(traces_by_class, config, checkpoint_dir, progress)
    trainer.run_one(unit, traces_by_class)


def is_unit_finished(
    traces_by_class: Mapping[str, Sequence[Trace]],
    config: BandwidthConfig,
    unit: Unit,
    checkpoint_dir: Path,
) -> bool:
    """Tell whether the checkpoint directory holds the result of a unit."""
    key = training_key(traces_by_class, config)
    return Checkpoints(checkpoint_dir, key).done(unit) is not None
