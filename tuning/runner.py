"""Where trials run: under Ray Tune, or one by one in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler

from novacron.models.search_space import SearchSpace
from tuning.attempt import Saving
from tuning.here import run_here
from tuning.journal import Journal
from tuning.objective import Block, Objective, Prepared
from tuning.plan import Plan, Watch
from tuning.request import SearchRequest
from tuning.storage import Storage


class Runner(Protocol):
    """Runs the trials of a plan."""

    @property
    def parallel(self) -> int:
        """Trials at once."""
        ...

    def run(
        self, plan: Plan, block: Block, scheduler: TrialScheduler, watch: Watch, *, name: str
    ) -> None:
        """Run trials until the plan has no more, or it is time to stop."""
        ...


@contextmanager
def open_runner(
    request: SearchRequest,
    objective: Objective,
    space: SearchSpace,
    folder: Storage,
    prepared: Prepared,
) -> Iterator[Runner]:
    """Give the runner that a request names; Ray is connected or started for its length."""
    if request.engine == "here":
        yield _Here(request, objective, prepared, Journal(folder, space))
        return
    from tuning.session import ray_session

    with ray_session(request.parallel):
        yield _OnRay(request, objective, space, folder, prepared)


class _Here:
    def __init__(
        self, request: SearchRequest, objective: Objective, prepared: Prepared, journal: Journal
    ) -> None:
        self._request, self._objective = request, objective
        self._prepared, self._journal = prepared, journal

    @property
    def parallel(self) -> int:
        return 1

    def run(
        self, plan: Plan, block: Block, scheduler: TrialScheduler, watch: Watch, *, name: str
    ) -> None:
        del name
        run_here(
            plan,
            self._objective,
            self._prepared.part(block),
            self._journal,
            scheduler,
            watch,
            saving=Saving(every_s=self._request.save_every_s),
        )


class _OnRay:
    def __init__(
        self,
        request: SearchRequest,
        objective: Objective,
        space: SearchSpace,
        folder: Storage,
        prepared: Prepared,
    ) -> None:
        self._request, self._objective, self._space = request, objective, space
        self._folder, self._prepared = folder, prepared
        self._references: dict[Block, Any] = {}

    @property
    def parallel(self) -> int:
        from tuning.session import cpu_slots

        fitting = max(1, int(cpu_slots() // self._request.cpus_per_trial))
        return min(fitting, self._request.parallel or fitting)

    def run(
        self, plan: Plan, block: Block, scheduler: TrialScheduler, watch: Watch, *, name: str
    ) -> None:
        import ray

        from tuning.on_ray import Ground, run_on_ray

        if block not in self._references:
            self._references[block] = ray.put(self._prepared.part(block))
        is_pbt = isinstance(scheduler, PopulationBasedTraining)
        ground = Ground(
            objective=self._objective,
            space=self._space,
            storage=self._folder,
            data_key=f"{self._folder.root}/{block}",
            # In a list, Ray leaves it a reference instead of unpacking it for every trial.
            data=[self._references[block]],
            threads=self._request.cpus_per_trial,
            # PBT copies the state of the report it looks at, so every report has one.
            saving=Saving(every_s=0.0 if is_pbt else self._request.save_every_s, keeps_all=is_pbt),
        )
        run_on_ray(plan, ground, scheduler, watch, name=name, parallel=self._request.parallel)
