"""What a search finds: gain over the default and over random search, on blocks it never saw.

Both run one trial at a time in this process (the search with `engine="here"`), so that process CPU
time is theirs. Random search trains every setting whole, without early stopping, until it has had the
CPU time of the other; both confirm the same number of finalists over the same seeds on the same block,
beside the same default. Several searches with seeds of their own are pooled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.tuning_control import Control, Price, Runs, Searched, price_of, run_control
from benchmarks.tuning_listening import CPU_FILE, CpuListener, cpu_of
from tuning.catalog import objective_of
from tuning.objective import Metric, Objective, Prepared
from tuning.request import SearchRequest
from tuning.scores import GroupScores, over_seeds, resampled_differences
from tuning.search import data_folder
from tuning.spaces import stored
from tuning.study import run_search

_DRAW_SEED: Final = 5
_RESAMPLES: Final = 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class GainPlan:
    """How one model is searched."""

    name: str
    """What it is called here."""
    objective: str
    """As `tuning.catalog.objective_of` takes it."""
    trials: int
    """Settings of a search, the default among them."""
    searches: tuple[int, ...] = (7, 8)
    """Seeds of the searches: each has a random search of its own beside it."""
    most_control: int = 60
    """Most settings of a random search; it ends as soon as it has had the CPU time."""
    seeds: tuple[int, ...] = (1, 2)
    """Of finalists."""
    finalists: int = 3
    data_seed: int = 7
    """Of the blocks, the same for all searches."""
    least_ratio: float = 4.0
    """Full trainings have had so many times the CPU time of a search to its best, or more."""
    most_further: int = 45
    """Most trainings beyond those of the random searches, to get there."""
    small: bool = False
    data: str | None = None
    """`generator`, or None for the folder that the environment names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A value with its interval over groups and searches; larger is better."""

    value: float
    lo: float
    hi: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OneSearch:
    """What came of the search with one seed, and of the random search beside it."""

    seed: int
    winner: int
    """Number of the best confirmed setting; 0: the default."""
    is_chosen: bool
    """Whether the search took it: its gain over the default is sure."""
    reason: str
    cpu_s: float
    control_cpu_s: float
    trials: int
    control_trials: int
    stopped_early: int
    best_at_cpu_s: float
    """CPU time after which the search had its best setting of the search block."""
    exhaustive_cpu_s: float
    exhaustive_hits: int
    """See `benchmarks.tuning_control.Price`."""
    values: dict[str, Any]
    """Of the winner."""
    random_is_default: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class GainResult:
    """What was measured of one model."""

    name: str
    metric: str
    source: str
    sha256: str
    default: float
    found: float
    random: float
    """The metric on the untouched block, over all seeds and searches: default, settings found,
    random search's."""
    over_default: Figure
    over_random: Figure
    random_over_default: Figure
    """Relative to the value of the default; above 0 is better."""
    delivered_over_default: Figure
    delivered_over_random: Figure
    """The same of what the searches deliver: a setting whose gain over the default on this block is
    sure, else the default. The block has then been chosen on, by both alike."""
    exhaustive_trainings: int
    searches: tuple[OneSearch, ...]


def measure_gain(plan: GainPlan, room: Path) -> GainResult:
    """Search, search at random at the same cost, and compare both with the default.

    Args:
        plan: How.
        room: Folder of the searches; a killed measurement goes on from it.
    """
    objective = objective_of(plan.objective)
    prepared = objective.prepare(_request(plan, room, plan.searches[0]).source)
    metric = objective.metrics[0]
    digest = prepared.sha256[-12:].replace(":", "-")
    runs = Runs(objective, prepared, room / f"random-{digest}.jsonl")
    searches, controls = [], []
    for seed in plan.searches:
        searches.append(_searched(plan, objective, room, seed, digest))
        controls.append(
            run_control(
                runs, searches[-1], metric, most=plan.most_control, finalists=plan.finalists,
                seeds=plan.seeds,
            )
        )  # fmt: skip
    price = price_of(
        runs, searches, controls, metric, least_ratio=plan.least_ratio, most=plan.most_further
    )
    return _result(plan, prepared, runs, metric, searches, controls, price)


def _searched(
    plan: GainPlan, objective: Objective, room: Path, seed: int, digest: str
) -> Searched:
    cpu = room / f"search-{seed}-{digest}-{CPU_FILE}"
    outcome = run_search(_request(plan, room, seed), CpuListener(cpu))
    if not outcome.is_finished:
        # A signal ended the search: the same command goes on with it.
        raise KeyboardInterrupt
    return Searched(objective, outcome, seed, cpu_of(cpu))


def _request(plan: GainPlan, room: Path, seed: int) -> SearchRequest:
    return SearchRequest(
        model=plan.objective,
        trials=plan.trials,
        search="tpe",
        seeds=plan.seeds,
        finalists=plan.finalists,
        seed=seed,
        data_seed=plan.data_seed,
        storage=str(room / "searches"),
        data=data_folder(plan.data),
        small=plan.small,
        engine="here",
    )


def _result(
    plan: GainPlan,
    prepared: Prepared,
    runs: Runs,
    metric: Metric,
    searches: Sequence[Searched],
    controls: Sequence[Control],
    price: Price,
) -> GainResult:
    known = [scores for one in searches if (scores := one.scores("untouched", 0)) is not None]
    default = (
        known[0] if known else runs.over(runs.objective.space.default(), plan.seeds, "untouched")
    )
    found, drawn = [], []
    for one, control in zip(searches, controls, strict=True):
        scores = one.scores("untouched", one.winner) if one.winner else default
        found.append(scores or runs.over(one.values(one.winner), plan.seeds, "untouched"))
        chosen = control.chosen
        drawn.append(runs.over(chosen, plan.seeds, "untouched") if chosen else default)
    defaults = [default] * len(searches)
    delivered, delivered_drawn = (
        [delivered_by(each, default, metric) for each in some] for some in (found, drawn)
    )
    return GainResult(
        name=plan.name,
        metric=metric.name,
        source=prepared.source,
        sha256=prepared.sha256,
        default=default.value,
        found=over_seeds(found).value,
        random=over_seeds(drawn).value,
        over_default=gain(found, defaults, default, metric),
        over_random=gain(found, drawn, default, metric),
        random_over_default=gain(drawn, defaults, default, metric),
        delivered_over_default=gain(delivered, defaults, default, metric),
        delivered_over_random=gain(delivered, delivered_drawn, default, metric),
        exhaustive_trainings=price.trainings,
        searches=tuple(
            _one(runs, metric, one, controls[place], price.hits[place], price.cpu_s[place])
            for place, one in enumerate(searches)
        ),
    )


def _one(
    runs: Runs, metric: Metric, found: Searched, control: Control, hits: int, price_s: float
) -> OneSearch:
    trials = found.records("search")
    return OneSearch(
        seed=found.seed,
        winner=found.winner,
        is_chosen=found.is_chosen,
        reason=found.reason,
        cpu_s=found.search_cpu_s(),
        control_cpu_s=control.cpu_s,
        trials=len(trials),
        control_trials=len(control.trainings),
        stopped_early=sum(one.state == "stopped" for one in trials),
        best_at_cpu_s=found.best_at_cpu_s(metric),
        exhaustive_cpu_s=price_s,
        exhaustive_hits=hits,
        values=stored(runs.objective.space, found.values(found.winner)),
        random_is_default=control.chosen is None,
    )


def gain(
    ones: Sequence[GroupScores], others: Sequence[GroupScores], unit: GroupScores, metric: Metric
) -> Figure:
    """Return how much better the ones are than the others, relative to the value of the default.

    The value is the mean over searches; the interval resamples groups, the same for all searches,
    and searches.
    """
    scale = -metric.sign * (abs(unit.value) or 1.0)
    rng = np.random.default_rng(_DRAW_SEED)
    gap_SB = _gaps(ones, others, rng) / scale
    count = len(ones)
    weight_BS = rng.multinomial(count, np.full(count, 1 / count), size=gap_SB.shape[1]) / count
    lo, hi = np.quantile((weight_BS.T * gap_SB).sum(axis=0), [0.025, 0.975])
    value = np.mean([a.value - b.value for a, b in zip(ones, others, strict=True)]) / scale
    # Adding 0 turns -0 into 0.
    return Figure(value=float(value) + 0.0, lo=lo + 0.0, hi=hi + 0.0, n=len(unit.groups))


def _gaps(
    ones: Sequence[GroupScores], others: Sequence[GroupScores], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the difference of each pair in each resample of the groups."""
    count = len(ones[0].groups)
    draws_BG = rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    return np.array(
        [
            resampled_differences(one, other, draws_BG, groups=ones[0].groups)
            for one, other in zip(ones, others, strict=True)
        ]
    )


def delivered_by(one: GroupScores, default: GroupScores, metric: Metric) -> GroupScores:
    """Return a setting's scores where its gain over the default is sure, else the default's."""
    return one if gain([one], [default], default, metric).lo > 0 else default


def to_json(result: GainResult) -> dict[str, Any]:
    """Return JSON-able fields."""
    return asdict(result)


def from_json(found: Mapping[str, Any]) -> GainResult:
    """Read what `to_json` wrote."""
    figures = {name: Figure(**one) for name, one in found.items() if _is_figure(one)}
    searches = tuple(OneSearch(**one) for one in found["searches"])
    return GainResult(**{**found, **figures, "searches": searches})


def _is_figure(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"value", "lo", "hi", "n"}
