"""Traces to train on: real ones where a folder is named, generated ones otherwise, and which."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from novacron.errors import ConfigError
from novacron.telemetry.datasets.throughput import load_traces
from novacron.telemetry.digest import traces_sha256
from novacron.telemetry.synthesize.traces import generate_traces
from novacron.telemetry.traces import Trace, by_class
from ray_jobs.locations import DATA_DIR_VARIABLE, data_dir

GENERATOR: Final = "generator"


class GeneratorConfig(BaseModel):
    """Generated traces, for machines without the public ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0)
    """Same seed, same bytes."""
    links: int = Field(default=40, ge=3, le=100_000)
    """Number of paths, one trace each."""
    hours: float = Field(default=2.0, gt=0, le=8784)
    """Length of each."""
    step_s: float = Field(default=5.0, gt=0, le=3600)
    """Seconds between samples."""


class DataConfig(BaseModel):
    """The `data` block of a training config."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sets: tuple[str, ...] = Field(min_length=1)
    """Public sets to use where there is a folder of them."""
    max_traces_per_set: int | None = Field(default=None, ge=3)
    """Use that many, spread evenly over the set; None: all."""
    test_share: float = Field(default=0.2, gt=0, lt=0.5)
    """Share of the recordings of each class that training never sees; the figures are theirs."""
    generator: GeneratorConfig = GeneratorConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """What a model is trained on."""

    traces_by_class: Mapping[str, tuple[Trace, ...]]
    source: str
    """In words: `real traces: fcc, hsdpa`, or `generator seed 7`."""
    sha256: str
    """Digest of every sample used."""
    other_rows: int = 0
    """Samples that are no traces, where a trainer brings its own."""
    folder: Path | None = None
    """Where a trainer of its own reads real data; None: it generates what it learns from."""

    @property
    def rows(self) -> int:
        """Samples in all."""
        traces = sum(len(trace) for traces in self.traces_by_class.values() for trace in traces)
        return traces + self.other_rows


def load_training_data(config: DataConfig, named: str | None) -> TrainingData:
    """Load or generate the traces.

    Args:
        config: Which sets, how many.
        named: A folder, `generator`, or None for `$NOVACRON_DATA_DIR` where that is set and the
            generator where it is not.

    Raises:
        DatasetNotFoundError: The folder, or a set in it, is not there.
        ConfigError: `named` is neither a folder nor `generator`.
    """
    folder = data_folder(named)
    if folder is None:
        wanted = config.generator
        traces = generate_traces(
            wanted.seed, n_links=wanted.links, hours=wanted.hours, step_s=wanted.step_s
        )
        source = f"generator seed {wanted.seed}"
    else:
        traces = tuple(
            trace
            for name in config.sets
            for trace in _spread(load_traces(folder, name), config.max_traces_per_set)
        )
        source = f"real traces: {', '.join(config.sets)}"
    return TrainingData(
        traces_by_class=by_class(traces), source=source, sha256=traces_sha256(traces)
    )


def data_folder(named: str | None) -> Path | None:
    """Return the folder of real data that a request means, or None where it means generated data.

    Args:
        named: A folder, `generator`, or None for `$NOVACRON_DATA_DIR` where that is set.

    Raises:
        DatasetNotFoundError: `$NOVACRON_DATA_DIR` names a folder that is not there.
        ConfigError: `named` is neither a folder nor `generator`.
    """
    if named == GENERATOR:
        return None
    if named is None:
        return data_dir()
    if not Path(named).is_dir():
        raise ConfigError(
            field="data",
            got=named,
            expected=f"a folder of data, or {GENERATOR!r}",
            remedy=f"Leave it out to use ${DATA_DIR_VARIABLE} where that is set.",
        )
    return Path(named).resolve()


def _spread(traces: tuple[Trace, ...], limit: int | None) -> tuple[Trace, ...]:
    """Keep `limit` traces at even distances, so that a set in order of date keeps its span."""
    if limit is None or len(traces) <= limit:
        return traces
    return tuple(traces[i * len(traces) // limit] for i in range(limit))
