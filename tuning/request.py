"""What a search is asked for, checked before anything runs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from novacron.errors import ConfigError, OutOfRangeError
from novacron.models.search_space import CategoricalParameter, IntParameter, SearchSpace
from tuning.attempt import SAVE_EVERY_S
from tuning.objective import DataSource, Objective, SchedulerKind
from tuning.sampler import Search

Engine = Literal["ray", "here"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRequest:
    """What to search, how much to spend, where to keep it.

    Raises:
        OutOfRangeError: A number is outside its range.
    """

    model: str
    """A known model, or `package.module:VARIABLE` of an objective."""
    trials: int = 30
    """Settings in all, the default among them. A search that is there is extended by a larger
    number."""
    time_s: float | None = None
    """Wall time of the search phase over all its runs; the finalists come after it."""
    search: Search = "tpe"
    scheduler: SchedulerKind | None = None
    """None: the objective's own."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of the finalists, on their block and on the untouched one."""
    finalists: int = 3
    seed: int = 7
    """Of the search: sampler, search trials, and data drawn where `data_seed` names none."""
    data_seed: int | None = None
    """Of generated data and of what is drawn of real data: several searches on the same blocks."""
    budget: int | None = None
    """Less than a full training, in units of the objective's fidelity."""
    storage: str = "runs/tune"
    """Folder or URI below which each search has a folder of its own."""
    data: Path | None = None
    """Folder of the public traces; None: generated data."""
    small: bool = False
    only: tuple[str, ...] = ()
    """Search these parameters; the others stay at their defaults."""
    ranges: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Parameter -> narrower `low`, `high`, `step` or `choices`."""
    engine: Engine = "ray"
    parallel: int | None = None
    """Most trials at once; None: as many as the cluster has CPU slots for."""
    cpus_per_trial: int = 1
    save_every_s: float = SAVE_EVERY_S
    with_report: bool = True
    """Draw the page with its pictures at the end."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, got, is_fine, expected in (
            ("trials", self.trials, self.trials >= 1, "at least 1"),
            ("time", self.time_s, self.time_s is None or self.time_s > 0, "more than 0 s"),
            ("finalists", self.finalists, self.finalists >= 1, "at least 1"),
            ("seeds", self.seeds, bool(self.seeds), "at least one seed"),
            ("seeds", self.seeds, len(set(self.seeds)) == len(self.seeds), "each seed once"),
            ("seeds", self.seeds, all(one >= 0 for one in self.seeds), "seeds of at least 0"),
            ("seed", self.seed, self.seed >= 0, "at least 0"),
            ("data-seed", self.data_seed, (self.data_seed or 0) >= 0, "at least 0"),
            ("parallel", self.parallel, self.parallel is None or self.parallel >= 1, "at least 1"),
            ("cpus-per-trial", self.cpus_per_trial, self.cpus_per_trial >= 1, "at least 1"),
        ):
            if not is_fine:
                raise OutOfRangeError(field=name, got=got, expected=expected)

    @property
    def source(self) -> DataSource:
        """Where the objective reads."""
        seed = self.seed if self.data_seed is None else self.data_seed
        return DataSource(folder=self.data, seed=seed, small=self.small)

    def space_of(self, objective: Objective) -> SearchSpace:
        """Return the objective's space with this request's ranges and choice of parameters.

        Raises:
            ConfigError: A parameter or a range is unknown, or nothing is left to search.
            OutOfRangeError: A range is wider than the declared one.
        """
        space = objective.space.narrowed(self.ranges)
        return space.only(self.only) if self.only else space

    def budget_of(self, objective: Objective) -> int | None:
        """Return the full budget of a trial.

        Raises:
            ConfigError: There is a budget, and the objective knows none.
            OutOfRangeError: It is outside the objective's fidelity.
        """
        fidelity = objective.fidelity
        if self.budget is None:
            return None if fidelity is None else fidelity.high
        if fidelity is None:
            raise ConfigError(
                field="budget", got=self.budget, expected="none: this model always trains whole"
            )
        if not fidelity.low <= self.budget <= fidelity.high:
            raise OutOfRangeError(
                field="budget",
                got=self.budget,
                expected=f"{fidelity.low} to {fidelity.high} {fidelity.unit}",
            )
        return self.budget

    def key(self, objective: Objective, scheduler: SchedulerKind, data_sha256: str) -> str:
        """Return a digest of all that decides which search this is; how much it may spend is not.

        The same command, or one that asks for more trials, time or seeds, goes on with the search.
        """
        space = self.space_of(objective)
        decisive = (
            objective.model,
            space.table(),
            sorted((name, str(value)) for name, value in space.kept.items()),
            [(one.name, one.better) for one in objective.metrics],
            self.search,
            scheduler,
            self.seed,
            self.budget_of(objective),
            self.small,
            data_sha256,
        )
        return hashlib.sha256(json.dumps(decisive, default=str).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """One `--range` of the command line."""

    name: str
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split `NAME=LOW..HIGH` or `NAME=A,B`.

        Raises:
            ConfigError: It is neither.
        """
        name, sign, rest = text.partition("=")
        if not sign or not name or not rest:
            raise ConfigError(
                field="range",
                got=text,
                expected="NAME=LOW..HIGH for numbers, NAME=A,B for choices",
            )
        return cls(name=name.strip(), text=rest.strip())

    def change(self, space: SearchSpace) -> dict[str, Any]:
        """Return what `SearchSpace.narrowed` takes for this parameter.

        Raises:
            ConfigError: The parameter is unknown, or the text does not fit its kind.
        """
        parameter = space.parameter(self.name)
        if isinstance(parameter, CategoricalParameter):
            return {"choices": tuple(each.strip() for each in self.text.split(","))}
        low, dots, high = self.text.partition("..")
        kind = int if isinstance(parameter, IntParameter) else float
        try:
            if not dots:
                raise ValueError("no `..`")
            return {"low": kind(low), "high": kind(high)}
        except ValueError as cause:
            raise ConfigError(
                field=f"range of {self.name}", got=self.text, expected="LOW..HIGH, e.g. 16..64"
            ) from cause


def ranges_of(texts: tuple[str, ...], space: SearchSpace) -> dict[str, dict[str, Any]]:
    """Return the ranges of a command line by parameter.

    Raises:
        ConfigError: See `Range`.
    """
    found = (Range.parse(text) for text in texts)
    return {one.name: one.change(space) for one in found}
