"""Which trial comes next: the default first, then what an earlier run left unfinished, then new."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from novacron.models.search_space import SearchSpace
from tuning.journal import Journal, Record, Spec
from tuning.sampler import Sampler, Search


class Plan(Protocol):
    """Hands trials to a runner and hears of their ends; lives in the driver alone."""

    @property
    def left(self) -> int:
        """Trials that are still to be handed out."""
        ...

    def next(self) -> Spec | None:
        """Return a trial to run, noted in the journal; None: there is no further one."""
        ...

    def ended(self, record: Record) -> None:
        """Learn from a trial that ended."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """How a runner asks whether to go on, and whom it tells."""

    should_stop: Callable[[], bool]
    """Asked all the time; trials that run when it turns true stay unfinished."""
    on_end: Callable[[Record], None]
    """Hears of each trial's end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spending:
    """How much a search phase may run."""

    trials: int
    """Settings in all, the default among them."""
    seed: int
    """Of every search trial's run: settings differ, their luck does not."""
    budget: int | None
    """Full budget of a trial, where there is one."""
    search: Search
    """How new settings arise."""


class SearchPlan:
    """The search phase.

    Args:
        space: What is searched.
        journal: Where asked trials are noted.
        sampler: Suggests; it is told here of all that has ended before.
        records: All trials of the journal.
        spending: How many trials, and each one's budget.
    """

    def __init__(
        self,
        space: SearchSpace,
        journal: Journal,
        sampler: Sampler,
        records: Sequence[Record],
        spending: Spending,
    ) -> None:
        mine = [one for one in records if one.spec.phase == "search"]
        self._space, self._journal, self._sampler = space, journal, sampler
        self._spending = spending
        self._numbers = {one.spec.number for one in mine}
        self._unfinished = deque(one for one in mine if one.state == "unfinished")
        sampler.tell(mine)

    @property
    def left(self) -> int:
        """Trials that are still to be handed out."""
        return len(self._unfinished) + max(0, self._spending.trials - len(self._numbers))

    def next(self) -> Spec | None:
        """Return the next trial; the values of an unfinished one are those of its last report."""
        if 0 not in self._numbers:
            return self._new(0)
        if self._unfinished:
            record = self._unfinished.popleft()
            self._sampler.running(record.spec.id, record.spec.values)
            return replace(record.spec, values=record.values)
        if len(self._numbers) >= self._spending.trials:
            return None
        return self._new(max(self._numbers) + 1)

    def ended(self, record: Record) -> None:
        """Tell the sampler."""
        self._sampler.tell([record])

    def _new(self, number: int) -> Spec:
        spec = Spec(
            number=number,
            phase="search",
            values=self._space.default(),
            seed=self._spending.seed,
            block="search",
            budget=self._spending.budget,
            origin="default" if number == 0 else self._spending.search,
        )
        if number:
            spec = replace(spec, values=self._sampler.ask(spec.id, number))
        self._journal.start(spec)
        self._numbers.add(number)
        return spec


class ListPlan:
    """Given trials, each once: finalists, the untouched block, a PBT population."""

    def __init__(self, journal: Journal, specs: Sequence[Spec]) -> None:
        self._journal = journal
        self._left = deque(one for one in specs if not journal.is_ended(one.id))

    @property
    def left(self) -> int:
        """Trials that are still to be handed out."""
        return len(self._left)

    def next(self) -> Spec | None:
        """Return the next trial of the list."""
        if not self._left:
            return None
        spec = self._left.popleft()
        self._journal.start(spec)
        return spec

    def ended(self, record: Record) -> None:
        """Take note of nothing: no later trial depends on it."""


class FirstOnly:
    """The first trial of another plan, to be run alone."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.left = 1

    def next(self) -> Spec | None:
        """Return the other plan's next trial, once."""
        self.left, is_first = 0, self.left == 1
        return self._plan.next() if is_first else None

    def ended(self, record: Record) -> None:
        """Tell the other plan."""
        self._plan.ended(record)
