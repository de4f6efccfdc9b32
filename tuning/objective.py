"""What a model must offer to be searched: its space, its metrics, and one run of it.

The same objective runs as a Ray Tune trial, in one process under plain Optuna (`tuning.here`), and
in tests. It knows neither: it gets data, values and a seed, reports as it learns, and returns
scores. It keeps its own randomness to the seed, runs on one thread, and never opens a network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from novacron.errors import OutOfRangeError
from novacron.models.search_space import SearchSpace, Values
from tuning.scores import Scores

Direction = Literal["lower", "higher"]
SchedulerKind = Literal["asha", "median", "pbt", "none"]
Block = Literal["search", "finalists", "untouched"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One thing a search looks at; the first of an objective decides."""

    name: str
    better: Direction = "lower"
    unit: str = ""

    @property
    def sign(self) -> float:
        """1 or -1: times it, less is better."""
        return 1.0 if self.better == "lower" else -1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """How much of a training a trial may spend, in the model's own unit.

    Raises:
        OutOfRangeError: Not 1 <= low <= high.
    """

    unit: str
    """Field term: `epochs`, `trees`, `folds`, `env-steps`."""
    low: int
    """After this much a score means something: the first rung of ASHA, the grace of a median."""
    high: int
    """A full training."""

    def __post_init__(self) -> None:
        """Check the order."""
        if not 1 <= self.low <= self.high:
            raise OutOfRangeError(
                field="fidelity", got=(self.low, self.high), expected="1 <= low <= high"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """Where an objective reads."""

    folder: Path | None = None
    """Folder of the public traces; None: generate."""
    seed: int = 7
    """Of generated data, and of what is drawn from real data."""
    small: bool = False
    """Take as little as still trains: quick forms of benchmarks and tests."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Data made once, in the driver; each part goes to the object store as one copy.

    A search trial is only ever handed `search`: what lies in `untouched` cannot reach it.
    """

    search: Any
    """What fits and scores search trials: rolling-origin folds, or groups held out, never the
    untouched block. Picklable; arrays in it are shared read-only between the trials of a node."""
    untouched: Any
    """What the winner and the default are fitted on (the search part) and scored on (the rest)."""
    source: str
    """In words: `real traces: fcc, hsdpa`, or `generator seed 7`."""
    sha256: str
    """Digest of every sample used, or `generated:<seed>`."""
    blocks: Mapping[str, str] = field(default_factory=dict)
    """Block name -> what is in it, for the report: `search` -> `3 folds of 41 traces`."""
    finalists: Any = None
    """What finalists are fitted and scored on: of the search side, scored on groups on which no
    search trial was, so that what fits those by luck falls back. None: the search block again."""

    def part(self, block: Block) -> Any:
        """Return what a trial on a block is handed."""
        if block == "finalists" and self.finalists is not None:
            return self.finalists
        return self.untouched if block == "untouched" else self.search


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run of an objective: settings, seed, block, budget."""

    values: Values
    """Checked against the space; parameters whose condition does not hold are left out."""
    seed: int
    block: Block = "search"
    budget: int | None = None
    """Run up to this much of the fidelity; None where the objective has none."""


class Progress(Protocol):
    """How a run tells where it stands; also how it is told to stop."""

    resume: Path | None
    """Folder with the state that an earlier attempt, or PBT's better trial, saved; None: start."""
    resume_step: int
    """The step of that state; 0 without one."""
    is_judged: bool
    """Whether a report may end the run. Where not, as for finalists, a run need not make what only
    its early reports need."""

    def report(
        self, step: int, scores: Scores, save: Callable[[Path], None] | None = None
    ) -> None:
        """Report scores after `step` of the budget; the steps of a run only grow.

        Args:
            step: Units of fidelity done, 1..budget.
            scores: Every metric of the objective.
            save: Writes the run's state into an empty folder, without pickle of code
                (safetensors, LightGBM text, JSON, npz); called at most once, before `report`
                returns, and only if the state is to be kept.

        Raises:
            TrialStopped: The scheduler gave the trial up, or the search ends. Let it through.
        """
        ...


class TrialStopped(BaseException):
    """Ends a run from inside `Progress.report`; objectives do not catch it."""


class Objective(Protocol):
    """A model that can be searched. Instances hold settings only and are picklable."""

    model: str
    """Name under which it is trained: `bandwidth`."""
    space: SearchSpace
    metrics: tuple[Metric, ...]
    """The first decides; with more than one the search is multi-objective."""
    fidelity: Fidelity | None
    """None: a run reports nothing before its end."""
    scheduler: SchedulerKind
    """Used where the request names none. `pbt` needs `fidelity` and a `save` in every report."""
    perturbed: tuple[str, ...]
    """Parameters that PBT may change in the middle of a run; the others come from the parent."""

    def prepare(self, source: DataSource) -> Prepared:
        """Load or generate the data and cut the blocks.

        Raises:
            NovacronError: The folder does not hold what is needed.
        """
        ...

    def run(self, data: Any, trial: Trial, progress: Progress) -> Scores:
        """Fit with the trial's values and score on its block.

        Args:
            data: `Prepared.part` of the trial's block.
            trial: What to run. Same trial, same scores on the same machine.
            progress: Reports, state to go on from. With `resume` the run goes on after
                `resume_step`, with the trial's own values.

        Returns:
            Every metric at the end of the budget; the same groups in each trial on a block.

        Raises:
            NovacronError: These values cannot be fitted; the trial fails, the search goes on.
        """
        ...

    def config(self, values: Values) -> dict[str, Any]:
        """Return the whole training file with these values, as `ray_jobs.train --config` takes."""
        ...


@runtime_checkable
class Probes(Protocol):
    """An objective that can show in about a second that its metrics give finite numbers."""

    def probe(self, data: Any) -> Scores:
        """Score something trivial (a naive forecast) on `Prepared.search`.

        Where an objective has no probe, the trial of the defaults runs alone before the others.
        """
        ...
