"""Runs the trials of a plan under Ray Tune.

Tune places trials, reuses their actors, restarts lost ones and asks the scheduler; the journal is
what is true. A lost worker's trial goes on elsewhere from its last saved state.
"""

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import ray
import threadpoolctl
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler
from ray.tune.search import Searcher

from novacron.models.search_space import SearchSpace
from tuning.attempt import Parent, Saving, attempt
from tuning.journal import Journal, Record, Report, Spec
from tuning.objective import Objective, TrialStopped
from tuning.plan import Plan, Watch
from tuning.stopping import MEMBER, STEP, TARGET
from tuning.storage import Storage

logger = logging.getLogger(__name__)

_LOST_WORKERS: Final = 5
"""Times that a trial is tried again after its worker died under it."""
_LOST_ACTORS: Final = 5
"""Times that trials are given out anew, which Tune gave up although their workers were merely gone."""
_PAUSE_S: Final = 2.0
_SETTINGS: Final = {
    # The journal has all of it; three loggers a trial would cost more than short trials do.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # `tuning.search` has its own way to end early.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A failed trial ends without a figure.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Tune's snapshots are not read by anyone.
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "20",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
_POINTER: Final = "state.json"
_data: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What a worker needs besides its trial."""

    objective: Objective
    space: SearchSpace
    storage: Storage
    data_key: str
    data: list[Any]
    """A list of one reference to the prepared part in the object store."""
    threads: int
    """CPU slots of a trial, and threads of every numeric library in it."""
    saving: Saving
    """Where all states are kept, each report carries a pointer to its own, for PBT."""


def run_on_ray(
    plan: Plan,
    ground: Ground,
    scheduler: TrialScheduler,
    watch: Watch,
    *,
    name: str,
    parallel: int | None,
) -> None:
    """Run the plan's trials until there is none left, or it is time to stop.

    Args:
        plan: Hands out trials.
        ground: What they need.
        scheduler: Judges reports.
        watch: When to stop, and whom to tell.
        name: Of Tune's own folder below the search's.
        parallel: Most at once; None: as many as the cluster has slots for.
    """
    for again in range(_LOST_ACTORS + 1):
        lost = _run_once(
            plan,
            ground,
            scheduler,
            watch,
            name=f"{name}-again-{again}" if again else name,
            parallel=parallel,
            is_last=again == _LOST_ACTORS,
        )
        if not lost or watch.should_stop():
            return
        logger.warning("%d trials lost their workers and are run again", len(lost))
        plan = _Again(lost, plan)
        # A lost node's workers refuse at once for as long as the cluster takes them for alive.
        time.sleep(_PAUSE_S)


def _run_once(
    plan: Plan,
    ground: Ground,
    scheduler: TrialScheduler,
    watch: Watch,
    *,
    name: str,
    parallel: int | None,
    is_last: bool,
) -> list[Spec]:
    """Run a plan's trials and return those that Tune gave up because their workers were gone."""
    journal = Journal(ground.storage, ground.space)
    ends = _Ends(plan, journal, watch, is_last=is_last)
    is_pbt = isinstance(scheduler, PopulationBasedTraining)
    searcher = None
    space: dict[str, Any] = {}
    if is_pbt:
        # Tune allows no searcher beside PBT: the whole population is named at the start.
        specs = list(iter(plan.next, None))
        if not specs:
            return []
        space = {MEMBER: tune.grid_search([_member(one, ground.space) for one in specs])}
    else:
        searcher = _PlanSearcher(plan, ground.space)
    with _settings(_SETTINGS):
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_on_worker, ground=ground), {"cpu": ground.threads}
            ),
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=1 if is_pbt else -1,
                max_concurrent_trials=None if is_pbt else parallel,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=_run_config(name, ground.storage.below("tune"), ends, watch),
        )
        tuner.fit()
    return ends.lost


def _run_config(name: str, storage: Storage, ends: "_Ends", watch: Watch) -> tune.RunConfig:
    return tune.RunConfig(
        name=name,
        storage_path=storage.root,
        storage_filesystem=storage.filesystem,
        failure_config=tune.FailureConfig(max_failures=_LOST_WORKERS),
        callbacks=[ends],
        stop=_StopAll(watch),
        verbose=0,
    )


class _Again:
    """Trials that lost their workers, then whatever their plan has left."""

    def __init__(self, lost: Sequence[Spec], plan: Plan) -> None:
        self._lost, self._plan = deque(lost), plan

    @property
    def left(self) -> int:
        """Trials that are still to be handed out."""
        return len(self._lost) + self._plan.left

    def next(self) -> Spec | None:
        """Return a trial that was lost, or the plan's next one."""
        return self._lost.popleft() if self._lost else self._plan.next()

    def ended(self, record: Record) -> None:
        """Tell the plan."""
        self._plan.ended(record)


class _DriverOnly:
    """A part of the driver. Tune pickles its driver for a restore that is never asked for.

    What such a part holds, a database's connection or a terminal, stays where it is.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _PlanSearcher(_DriverOnly, Searcher):
    """Passes a plan's trials to Tune. It keeps no state: the journal does."""

    def __init__(self, plan: Plan, space: SearchSpace) -> None:
        super().__init__(metric=TARGET, mode="min")
        self._plan, self._space = plan, space

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002 - Tune's own id is not used
        spec = self._plan.next()
        if spec is None:
            return Searcher.FINISHED
        return {MEMBER: _member(spec, self._space)}

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_text("")

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Ends(_DriverOnly, tune.Callback):
    """Writes down what only the driver knows: trials given up, trials whose workers died."""

    def __init__(self, plan: Plan, journal: Journal, watch: Watch, *, is_last: bool) -> None:
        self._plan, self._journal, self._watch = plan, journal, watch
        self._is_last = is_last
        self.lost: list[Spec] = []
        """Trials that Tune gave up before it had tried them as often as it was told to."""

    def on_trial_complete(
        self,
        iteration: int,  # noqa: ARG002 - Tune's
        trials: list[TuneTrial],  # noqa: ARG002
        trial: TuneTrial,
        **_: Any,
    ) -> None:
        self._close(str(trial), "stopped", "")

    def on_trial_error(
        self,
        iteration: int,  # noqa: ARG002 - Tune's
        trials: list[TuneTrial],  # noqa: ARG002
        trial: TuneTrial,
        **_: Any,
    ) -> None:
        trial_id = str(trial)
        # Of an actor that is unavailable but not dead yet, Tune hears twice, and the second time it
        # gives the trial up.
        is_given_up_early = trial.num_failures <= _LOST_WORKERS and not self._is_last
        if is_given_up_early and not self._journal.is_ended(trial_id):
            record = self._journal.record(trial_id)
            self.lost.append(replace(record.spec, values=record.values))
            return
        self._close(trial_id, "failed", f"its worker died {trial.num_failures} times")

    def _close(self, trial_id: str, state: Any, error: str) -> None:
        if not self._journal.is_ended(trial_id):
            if self._watch.should_stop() and not error:
                return  # cut off, to go on in the next run of the search
            record = self._journal.record(trial_id)
            self._journal.end(
                trial_id, state, values=record.values, seconds=record.seconds, error=error
            )
            self._journal.drop_states(trial_id)
        record = self._journal.record(trial_id)
        self._plan.ended(record)
        self._watch.on_end(record)


class _StopAll(_DriverOnly, tune.Stopper):
    """Ends the whole run when it is time."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __call__(self, *_: Any) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._watch.should_stop()


def _member(spec: Spec, space: SearchSpace) -> dict[str, Any]:
    """Return a trial as Tune's config holds it; PBT changes `values` and nothing else."""
    found = spec.to_dict(space)
    return {"spec": found, "values": found["values"]}


def _trial_name(trial: TuneTrial) -> str:
    # PBT gives a trial another's config; its name stays.
    found = trial.config[MEMBER]["spec"]
    return f"{found['phase']}-{found['number']:05d}-{found['seed']}"


def _on_worker(config: dict[str, Any], ground: Ground) -> None:
    """Run on a worker: one attempt at a trial."""
    member = config[MEMBER]
    spec = Spec.from_dict(member["spec"], ground.space)
    own_id = tune.get_context().get_trial_name()
    journal = Journal(ground.storage, ground.space)
    if own_id != spec.id:
        spec = journal.record(own_id).spec
    spec = replace(spec, values=ground.space.check(member["values"]))
    data = _local(ground)
    channel = _TuneChannel(ground, own_id)
    try:
        with _threads(ground.threads):
            attempt(
                spec,
                ground.objective,
                data,
                journal,
                channel,
                parent=_pointed(),
                saving=ground.saving,
            )
    except TrialStopped:
        return
    record = journal.record(own_id)
    last: dict[str, Any] = {"done": True}
    if record.state == "finished":
        target = ground.objective.metrics[0].name
        last |= {STEP: record.step, TARGET: record.metrics[target]}
    tune.report(last)


class _TuneChannel:
    """Hands reports to Tune, which ends this thread with `SystemExit` when a trial is given up."""

    def __init__(self, ground: Ground, trial_id: str) -> None:
        self._ground, self._trial_id = ground, trial_id
        self._target = ground.objective.metrics[0].name

    def report(self, report: Report) -> None:
        row = {STEP: report.step, TARGET: report.metrics[self._target]}
        if not self._ground.saving.keeps_all:
            tune.report(row)
            return
        with TemporaryDirectory(prefix="novacron-tuning-") as scratch:
            pointer = Storage.open(scratch)
            pointer.write_json(_POINTER, {"trial_id": self._trial_id, "step": report.step})
            tune.report(row, checkpoint=tune.Checkpoint.from_directory(scratch))


def _pointed() -> Parent | None:
    """Return the state that Tune points to: this trial's own, or a better one's that PBT chose."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        found = Storage.open(folder).read_json(_POINTER) or {}
    return Parent(trial_id=found["trial_id"], step=found["step"])


def _local(ground: Ground) -> Any:
    """Return the prepared data; an actor that is reused unpacks it once."""
    if ground.data_key not in _data:
        _data.clear()
        _data[ground.data_key] = ray.get(ground.data[0])
    return _data[ground.data_key]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Hold every numeric library to a number of threads."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)
    with threadpoolctl.threadpool_limits(limits=count):
        yield


@contextmanager
def _settings(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set Tune's own variables for the length of the context, and keep its log to failures."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    tune_log = logging.getLogger("ray.tune")
    level = tune_log.level
    tune_log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        tune_log.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
