"""What population-based training finds beside TPE with ASHA, on the same blocks.

Tune's PBT needs members side by side, so it runs on Ray; its time is the sum over the workers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.tuning_gain import Figure, GainPlan, gain
from benchmarks.tuning_listening import Told
from tuning.catalog import objective_of
from tuning.choice import scores_of
from tuning.journal import Journal
from tuning.request import SearchRequest
from tuning.search import data_folder
from tuning.study import run_search

MEMBERS: Final = 8
_SEED: Final = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class PbtResult:
    """What a population brought."""

    name: str
    members: int
    trained_s: float
    """Wall time of all members, over the workers; two run at a time."""
    over_default: Figure
    """Of the best confirmed member, trained from the start with the values it ended with."""
    copies: int
    """Members that went on from the state of a better one at least once."""
    reason: str


def measure_pbt(plan: GainPlan, room: Path) -> PbtResult:
    """Train one population on the blocks of a plan and confirm what it ends with.

    Args:
        plan: Of the model; its number of trials is not used.
        room: Folder of the search; a killed one goes on from it.
    """
    objective = objective_of(plan.objective)
    outcome = run_search(
        SearchRequest(
            model=plan.objective, trials=MEMBERS, scheduler="pbt", seeds=plan.seeds,
            finalists=plan.finalists, seed=_SEED, data_seed=plan.data_seed, storage=str(room),
            data=data_folder(plan.data), small=plan.small, engine="ray", parallel=2,
        ),
        Told(),
    )  # fmt: skip
    if not outcome.is_finished:
        raise KeyboardInterrupt
    records = Journal(outcome.folder, objective.space).records()
    members = [one for one in records if one.spec.phase == "search"]
    held = [one for one in records if one.spec.phase == "untouched"]
    decision = outcome.document["decision"]
    metric, over = objective.metrics[0], Figure(value=0.0, lo=0.0, hi=0.0, n=0)
    found, default = scores_of(held, int(decision["winner"] or 0)), scores_of(held, 0)
    if found is not None and default is not None:
        one, other = found[metric.name], default[metric.name]
        over = gain([one], [other], other, metric)
    return PbtResult(
        name=plan.name,
        members=len(members),
        trained_s=sum(one.seconds for one in members),
        over_default=over,
        copies=sum(bool(one.parent) for one in members),
        reason=str(decision["reason"]),
    )
