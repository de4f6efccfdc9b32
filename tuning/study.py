"""A whole search: data once, the search phase, the finalists, the untouched block, the results."""

import fcntl
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from pyarrow.fs import LocalFileSystem

from novacron.errors import ConfigError, InvalidInputError, NotReadyError
from novacron.registry.store import ModelStore
from tuning.attempt import check_scores
from tuning.catalog import objective_of
from tuning.choice import Decision, best_finalist, decide, finalists
from tuning.ending import Ending
from tuning.here import check_here
from tuning.journal import Journal, Phase, Record
from tuning.objective import Block, Objective, Prepared, Probes, SchedulerKind
from tuning.plan import FirstOnly, ListPlan, Plan, SearchPlan, Spending, Watch
from tuning.progress import Listener
from tuning.report import FOLDER as REPORT
from tuning.report import report_files
from tuning.request import SearchRequest
from tuning.results import BEST_SO_FAR, CONFIG, RESULTS, Results
from tuning.run_clock import RunClock
from tuning.runner import Runner, open_runner
from tuning.sampler import Sampler
from tuning.stopping import check_scheduler, replay, scheduler_of
from tuning.storage import Storage
from tuning.tracking import Tracker, tracked

_DRAFT_EVERY_S: Final = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchOutcome:
    """What a search found."""

    document: dict[str, Any]
    """Content of `results.json`."""
    folder: Storage
    """Where everything is."""
    exit_code: int
    """0; 128 and the signal's number where one ended the search early."""

    @property
    def is_gain(self) -> bool:
        """Whether another setting than the default was chosen."""
        return bool((self.document["decision"] or {}).get("is_gain"))

    @property
    def is_finished(self) -> bool:
        """Whether the choice was made."""
        return bool(self.document["status"] == "finished")


def run_search(
    request: SearchRequest, listener: Listener, *, store: ModelStore | None = None
) -> SearchOutcome:
    """Search, or go on with the same search where an earlier run of it stopped.

    Args:
        request: What to do.
        listener: Hears how it goes.
        store: Registry whose MLflow gets the runs; None: none does.

    Raises:
        UnknownNameError: Nothing of that name can be searched.
        ConfigError: A parameter, range, scheduler or storage is not usable, or the metrics give
            no numbers; no trial was started.
        NovacronError: The data are not there, or the default settings cannot be scored.
    """
    objective = objective_of(request.model)
    space = request.space_of(objective)
    kind = request.scheduler or objective.scheduler
    check_scheduler(objective, kind, space)
    request.budget_of(objective)
    if request.engine == "here":
        check_here(kind)
    storage = Storage.open(request.storage)
    storage.check_writable()
    listener.said(f"preparing the data of {objective.model}")
    prepared = objective.prepare(request.source)
    key = request.key(objective, kind, prepared.sha256)
    folder = storage.below(f"{objective.model}-{key}")
    ending = Ending()
    with ExitStack() as stack:
        stack.enter_context(_one_driver(folder))
        stack.enter_context(ending.on_signals())
        journal = Journal(folder, space)
        _probe(objective, prepared)
        runner = stack.enter_context(open_runner(request, objective, space, folder, prepared))
        tracker = None
        if store is not None:
            tracker = stack.enter_context(
                tracked(store, folder, journal, space, model=objective.model, key=key)
            )
            tracker.catch_up(journal.records())
        results = Results(request, objective, space, kind, prepared, key)
        study = _Study(
            request=request,
            objective=objective,
            kind=kind,
            folder=folder,
            journal=journal,
            runner=runner,
            results=results,
            ending=ending,
            listener=listener,
            tracker=tracker,
            clock=RunClock.start(folder),
        )
        document = study.run()
        listener.said("writing the report")
        _report(document, folder)
        if tracker is not None:
            tracker.catch_up(journal.records())
            tracker.finish(document, folder)
    return SearchOutcome(document=document, folder=folder, exit_code=ending.exit_code)


@dataclass(kw_only=True, slots=True)
class _Study:
    request: SearchRequest
    objective: Objective
    kind: SchedulerKind
    folder: Storage
    journal: Journal
    runner: Runner
    results: Results
    ending: Ending
    listener: Listener
    tracker: Tracker | None
    clock: RunClock
    decision: Decision | None = None
    drafted_at: float = -_DRAFT_EVERY_S

    def run(self) -> dict[str, Any]:
        """Go through the phases; an interrupt leaves what is known so far."""
        self._search()
        if not self.ending():
            self.decision = self._choose()
        status = "finished" if self.decision is not None else "interrupted"
        document = self._write(status)
        if self.request.with_report:
            for name, content in report_files(document).items():
                self.folder.write_bytes(f"{REPORT}/{name}", content)
        return document

    def _search(self) -> None:
        records = self.journal.records()
        request, space = self.request, self.journal.space
        sampler = Sampler(
            space,
            self.objective.metrics,
            search=request.search,
            seed=request.seed,
            trials=request.trials,
            parallel=self.runner.parallel,
        )
        spending = Spending(
            trials=request.trials,
            seed=request.seed,
            budget=request.budget_of(self.objective),
            search=request.search,
        )
        plan = SearchPlan(space, self.journal, sampler, records, spending)
        if request.time_s is not None:
            self.ending.limit(max(0.0, request.time_s - self.clock.search_s))
        self._begin("search", plan, total=request.trials)
        if not isinstance(self.objective, Probes) and not self._is_ended(0):
            self._run(FirstOnly(plan), "search", "none")
            self._check_default()
        self._run(plan, "search", self.kind, records)
        if self.kind == "pbt" and not self.ending():
            for record in self.journal.records():
                self.journal.drop_states(record.spec.id)
        self.ending.over()
        self.clock.search_is_over()

    def _choose(self) -> Decision | None:
        """Run the finalists, then the untouched block; None where that was interrupted."""
        target = self.objective.metrics[0]
        records = self.journal.records()
        best = finalists(records, target, self.request.finalists)
        if not best:
            return Decision(number=0, reason="No other setting ran to its end: the default stays.")
        defaults = [one for one in records if one.spec.id == self._id_of(0)]
        runs = self._repeat(defaults + best, "finalists", "finalists")
        if runs is None:
            return None
        winner = best_finalist(runs, [one.spec.number for one in best], target)
        if winner == 0:
            seeds = len(self.request.seeds)
            over = "one seed" if seeds == 1 else f"{seeds} seeds"
            reason = f"Over {over}, no setting beats the default on the finalists' block."
            return Decision(number=0, winner=0, reason=reason)
        chosen = [one for one in defaults + best if one.spec.number in (0, winner)]
        runs = self._repeat(chosen, "untouched", "untouched")
        if runs is None:
            return None
        rng = np.random.default_rng([self.request.seed, 2])
        return decide(runs, winner, self.objective.metrics, rng)

    def _repeat(
        self, records: Sequence[Record], phase: Phase, block: Block
    ) -> list[Record] | None:
        """Run settings once for each seed; None where that was interrupted."""
        specs = [
            replace(
                one.spec, phase=phase, block=block, values=one.values, seed=seed, origin="finalist"
            )
            for one in records
            for seed in self.request.seeds
        ]
        plan = ListPlan(self.journal, specs)
        self._begin(phase, plan, total=len(specs))
        self._run(plan, block, "none")
        if self.ending():
            return None
        return [self.journal.record(one.id) for one in specs]

    def _begin(self, name: str, plan: Plan, *, total: int) -> None:
        self.listener.phase(
            name, total=total, done=total - plan.left, parallel=self.runner.parallel
        )

    def _run(
        self, plan: Plan, block: Block, kind: SchedulerKind, records: Sequence[Record] = ()
    ) -> None:
        if self.ending() or not plan.left:
            return
        scheduler = scheduler_of(
            self.objective,
            kind,
            self.journal.space,
            budget=self.request.budget_of(self.objective),
            seed=self.request.seed,
        )
        replay(scheduler, records, self.objective.metrics[0].name)
        watch = Watch(should_stop=self.ending, on_end=self._ended)
        name = f"run-{self.clock.number:04d}-{block}-{secrets.token_hex(3)}"
        self.runner.run(plan, block, scheduler, watch, name=name)

    def _ended(self, record: Record) -> None:
        self.listener.ended(record, self.ending.left_s)
        if self.tracker is not None and not self.tracker.try_trial(record):
            self.listener.said("MLflow does not answer; what it missed is logged at the end")
        now = time.monotonic()
        if now - self.drafted_at >= _DRAFT_EVERY_S:
            self.drafted_at = now
            self._write("running")

    def _write(self, status: str) -> dict[str, Any]:
        """Write the results and the settings so far."""
        self.clock.note()
        records = self.journal.records()
        document = self.results.document(
            records,
            status=status,
            runs=self.clock.number,
            seconds=self.clock.seconds,
            decision=self.decision,
        )
        found = {one.spec.number: one for one in records if one.spec.phase == "search"}
        best = document["best_so_far"]
        if best is not None:
            why = "Best so far on the search blocks, with one seed: not confirmed."
            text = self.results.config_text(found[best].values, why)
            self.folder.write_text(BEST_SO_FAR, text)
        if self.decision is not None:
            chosen = found.get(self.decision.number)
            # Time may be over before the default has begun.
            values = self.journal.space.default() if chosen is None else chosen.values
            self.folder.write_text(CONFIG, self.results.config_text(values, self.decision.reason))
        self.folder.write_json(RESULTS, document)
        return document

    def _id_of(self, number: int) -> str:
        return f"search-{number:05d}-{self.request.seed}"

    def _is_ended(self, number: int) -> bool:
        return self.journal.is_ended(self._id_of(number))

    def _check_default(self) -> None:
        """Refuse an objective whose own defaults give no figure, before any other trial starts."""
        if not self._is_ended(0):
            return
        record = self.journal.record(self._id_of(0))
        if record.state == "failed":
            # Once it is mended, the same command shall try again.
            self.journal.forget(record.spec.id)
            raise ConfigError(
                field=f"objective {self.objective.model}",
                got=record.error,
                expected="finite metrics from the default settings",
                remedy="No other trial was started.",
            )


def _report(document: dict[str, Any], folder: Storage) -> None:
    """Write the page and its pictures beside the results."""
    with TemporaryDirectory(prefix="novacron-report-") as scratch:
        for name, data in report_files(document).items():
            (Path(scratch) / name).write_bytes(data)
        folder.put_folder(Path(scratch), REPORT)


def _probe(objective: Objective, prepared: Prepared) -> None:
    """Refuse metrics that give no number, before any trial starts."""
    if not isinstance(objective, Probes):
        return
    try:
        check_scores(objective.probe(prepared.search), objective.metrics)
    except InvalidInputError as cause:
        raise ConfigError(
            field=f"objective {objective.model}",
            got=str(cause),
            expected="finite metrics from its probe",
            remedy="No trial was started.",
        ) from cause


@contextmanager
def _one_driver(folder: Storage) -> Iterator[None]:
    """Keep a second driver on this machine out of a search; object stores know no locks."""
    if not isinstance(folder.filesystem, LocalFileSystem):
        yield
        return
    Path(folder.root).mkdir(parents=True, exist_ok=True)
    with (Path(folder.root) / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise NotReadyError(
                f"Another run of this search is at work in {folder.root}.",
                remedy="Wait for it, or end it: what it has found is kept.",
            ) from cause
        yield
