"""Measures a fitted predictor beside its baselines: known VMs later, and VMs it never saw.

Legend: N rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.metrics import Interval, group_ratio
from novacron.models.performance.context import Floats
from novacron.models.performance.core import Core
from novacron.models.performance.degradation import brier_terms, is_worse
from novacron.models.performance.parts import Part, draw_evenly, part_of
from novacron.models.performance.scores import (
    ScoredRows,
    choose_half_lives,
    ewma_of,
    geometric_ratio,
    mean_wape,
    share,
    share_difference,
    wape_ratio,
    within,
)
from novacron.models.performance.scores_table import ScoreTable

Mask = NDArray[np.bool_]

OWN_COUNTS: Final = (0, 1, 2, 5, 10)
"""Own samples of a new VM at which it is measured."""

TOLERANCE_RATIO: Final = 0.05
_BASELINE_ROWS: Final = 12_000
_RATE_ROWS: Final = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One figure with its interval, and what stands beside it."""

    name: str
    value: Interval
    baseline: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownRows:
    """Rows of known VMs with everything that was forecast for them."""

    scored: ScoredRows
    lower_N: Floats
    upper_N: Floats
    probability_N: Floats
    base_rate_N: Floats
    worse_N: Mask
    whole_N: Mask
    """Rows whose whole degradation horizon is known."""

    @property
    def inside(self) -> Mask:
        """Whether the actual value lies in the interval."""
        actual_N = self.scored.actual_N
        return (actual_N >= self.lower_N) & (actual_N <= self.upper_N)


def forecast_known(
    core: Core, table: ScoreTable, masks: tuple[Mask, Mask], most: int, seed: int
) -> KnownRows:
    """Forecast rows of a later part, beside an EWMA chosen on the earlier one.

    Args:
        core: What was fitted on the earlier part.
        table: Numbered as the names of the core.
        masks: Earlier rows, and later ones.
        most: Rows to draw, evenly over the cells.
        seed: Of the drawing.
    """
    early, late = masks
    rng = np.random.default_rng(seed)
    rows = draw_evenly(late & (table.ranks() > 0), table.cell_N, most, rng)
    part = part_of(table, rows, core.config)
    half_lives = baseline_half_lives(core, table, early, rng)
    values = _values(core.by_member(part.context))
    cell_N = table.cell_N[rows]
    level_N = values["level"]
    forecasts = {name: v for name, v in values.items() if v.ndim == 1}
    forecasts["ewma"] = ewma_of(part.context, cell_N, half_lives)
    forecasts |= {
        "last": part.context.own_NT[:, -1],
        "train_median": train_medians(table, early)[rows],
    }
    rate = _base_rates(core, table, early, rng)
    return KnownRows(
        scored=ScoredRows(
            actual_N=part.actual_N, cell_N=cell_N, vm_N=table.vm_N[rows], value=forecasts
        ),
        lower_N=values["lower_upper"][:, 0],
        upper_N=values["lower_upper"][:, 1],
        probability_N=values["degradation"],
        base_rate_N=np.array([rate.get(int(cell), rate[-1]) for cell in cell_N]),
        worse_N=is_worse(part.future_NH, level_N, core.config.degradation),
        whole_N=np.asarray(np.isfinite(part.future_NH).all(axis=1)),
    )


def baseline_half_lives(
    core: Core, table: ScoreTable, early: Mask, rng: np.random.Generator
) -> dict[int, float]:
    """Choose the half-life of each cell's EWMA on rows of the earlier part."""
    rows = draw_evenly(early & (table.ranks() > 0), table.cell_N, _BASELINE_ROWS, rng)
    part = _own_only(table, rows, core)
    return choose_half_lives(part.context, part.actual_N, table.cell_N[rows])


def _own_only(table: ScoreTable, rows: NDArray[np.int64], core: Core) -> Part:
    return part_of(table, rows, core.config.model_copy(update={"peers": 1}))


def train_medians(table: ScoreTable, early: Mask) -> Floats:
    """Return the median of each row's cell on the earlier part."""
    out_N = np.full(len(table), np.nan)
    for cell in np.unique(table.cell_N):
        own = table.cell_N == cell
        if (own & early).any():
            out_N[own] = np.median(table.score_N[own & early])
    return out_N


def _base_rates(
    core: Core, table: ScoreTable, early: Mask, rng: np.random.Generator
) -> dict[int, float]:
    """Return how often each cell degraded on the earlier part, -1 for all: the climatology."""
    rows = draw_evenly(early & (table.ranks() > 0), table.cell_N, _RATE_ROWS // 4, rng)
    part = part_of(table, rows, core.config)
    worse_N = is_worse(
        part.future_NH, core.level.levels(part.context).level_N, core.config.degradation
    )
    cell_N = table.cell_N[rows]
    rates = {int(cell): float(worse_N[cell_N == cell].mean()) for cell in np.unique(cell_N)}
    return rates | {-1: float(worse_N.mean())}


def _values(found: Mapping[str, Floats]) -> dict[str, Floats]:
    values = {name: (value[:, 1] if value.ndim == 2 else value) for name, value in found.items()}
    values["lower_upper"] = found["blend"][:, [0, 2]]
    peers_N = values["peers"]
    values["peers"] = np.where(np.isfinite(peers_N), peers_N, values["fleet"])
    return values


def measure_known(rows: KnownRows, seed: int) -> list[Measured]:
    """Return the figures of known VMs; `blend` is what is served."""
    rng = np.random.default_rng(seed)
    scored = rows.scored
    found = [
        Measured(name="wape_ratio_to_ewma", value=wape_ratio(scored, "blend", "ewma", rng),
                 baseline="EWMA of this VM, half-life by cell from the training part"),
        Measured(
            name="wape_ratio_to_ewma_by_series",
            value=wape_ratio(scored.by_series(), "blend", "ewma", rng),
            baseline="EWMA; the interval resamples VM and benchmark",
        ),
        Measured(name="wape_geometric_ratio_to_ewma",
                 value=geometric_ratio(scored, "blend", "ewma", rng), baseline="the same EWMA"),
    ]  # fmt: skip
    near_N, base_N = (
        within(scored, "blend", TOLERANCE_RATIO),
        within(scored, "ewma", TOLERANCE_RATIO),
    )
    found += [
        Measured(name="share_within_5", value=share(scored, near_N, rng),
                 baseline=f"EWMA {base_N.mean():.4f}"),
        Measured(name="share_within_5_minus_ewma",
                 value=share_difference(scored, near_N, base_N, rng), baseline="EWMA"),
        Measured(name="coverage_80", value=share(scored, rows.inside, rng), baseline="0.8 nominal"),
        Measured(name="degradation_brier_skill", value=brier_skill(rows, rng),
                 baseline="rate of the cell on the training part"),
    ]  # fmt: skip
    members = [n for n in scored.value if n.startswith(("lstm", "lightgbm", "level"))]
    found += [_member(scored, name, "wape_ratio_to_ewma", "ewma", "EWMA", rng) for name in members]
    return found + _means(scored, ("blend", "ewma", "last", "peers", "train_median"), rng)


def _member(
    scored: ScoredRows, name: str, figure: str, base: str, beside: str, rng: np.random.Generator
) -> Measured:
    ratio = wape_ratio(scored, name, base, rng)
    return Measured(name=f"{figure}_{name}", value=ratio, baseline=beside)


def _means(scored: ScoredRows, names: tuple[str, ...], rng: np.random.Generator) -> list[Measured]:
    return [
        Measured(
            name=f"wape_mean_{name}",
            value=mean_wape(scored, name, rng),
            baseline="mean over benchmark, size and region",
        )
        for name in names
    ]


def brier_skill(rows: KnownRows, rng: np.random.Generator) -> Interval:
    """Return 1 - Brier score / Brier score of the cell's training rate, whole VMs resampled."""
    keep = rows.whole_N
    own_N = brier_terms(rows.probability_N[keep], rows.worse_N[keep])
    base_N = brier_terms(rows.base_rate_N[keep], rows.worse_N[keep])
    ratio = group_ratio(own_N, base_N, rows.scored.vm_N[keep], rng)
    return Interval(value=1 - ratio.value, lo=1 - ratio.hi, hi=1 - ratio.lo, n=ratio.n)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnseenRows:
    """Rows of VMs that were never learned from, by how many own samples were shown."""

    by_count: Mapping[int, ScoredRows]
    inside_by_count: Mapping[int, Mask]


def forecast_unseen(
    core: Core, table: ScoreTable, masks: tuple[Mask, Mask], most: int, seed: int
) -> UnseenRows:
    """Forecast later rows of held-out VMs with 0, 1, 2, 5 and 10 own samples shown.

    Args:
        core: Fitted without any row of the VMs.
        table: Numbered as the names of the core; peers are all other VMs, up to each row.
        masks: Earlier rows that were trained on, and the later rows of the held-out VMs.
        most: Rows to draw, evenly over the cells; every count gets the same rows.
        seed: Of the drawing.
    """
    early, late = masks
    rng = np.random.default_rng(seed)
    rows = draw_evenly(late & (table.ranks() >= max(OWN_COUNTS)), table.cell_N, most, rng)
    whole = part_of(table, rows, core.config)
    medians_N = train_medians(table, early)[rows]
    seen = np.isfinite(whole.context.peer_NM).any(axis=1) & np.isfinite(medians_N)
    rows, context, actual_N = rows[seen], whole.context.take(seen), whole.actual_N[seen]
    by_count, inside = {}, {}
    for count in OWN_COUNTS:
        shown = context.shortened(np.full(len(rows), count))
        values = _values(core.by_member(shown))
        forecasts = {name: v for name, v in values.items() if v.ndim == 1 and name != "ewma"}
        forecasts["train_median"] = medians_N[seen]
        own_N = values["ewma"]
        forecasts["own_or_peers"] = np.where(np.isfinite(own_N), own_N, values["peers"])
        by_count[count] = ScoredRows(
            actual_N=actual_N, cell_N=table.cell_N[rows], vm_N=table.vm_N[rows], value=forecasts
        )
        ends_N2 = values["lower_upper"]
        inside[count] = (actual_N >= ends_N2[:, 0]) & (actual_N <= ends_N2[:, 1])
    return UnseenRows(by_count=by_count, inside_by_count=inside)


def join_unseen(parts: list[UnseenRows]) -> UnseenRows:
    """Put the held-out VMs of several fits together."""
    by_count, inside = {}, {}
    for count in OWN_COUNTS:
        rows = [part.by_count[count] for part in parts]
        names = set(rows[0].value).intersection(*(set(one.value) for one in rows))
        by_count[count] = ScoredRows(
            actual_N=np.concatenate([one.actual_N for one in rows]),
            cell_N=np.concatenate([one.cell_N for one in rows]),
            vm_N=np.concatenate([one.vm_N for one in rows]),
            value={name: np.concatenate([one.value[name] for one in rows]) for name in names},
        )
        inside[count] = np.concatenate([part.inside_by_count[count] for part in parts])
    return UnseenRows(by_count=by_count, inside_by_count=inside)


def measure_unseen(rows: UnseenRows, seed: int) -> list[Measured]:
    """Return the figures of unseen VMs: without own samples, and by the number shown."""
    rng = np.random.default_rng(seed)
    none = rows.by_count[0]
    beside = "rolling fleet median of 50"
    found = [
        Measured(name="wape_ratio_to_fleet_median", value=wape_ratio(none, "blend", "peers", rng),
                 baseline=beside),
        Measured(
            name="wape_ratio_to_fleet_median_by_series",
            value=wape_ratio(none.by_series(), "blend", "peers", rng),
            baseline=f"{beside}; the interval resamples VM and benchmark",
        ),
        Measured(name="wape_geometric_ratio_to_fleet_median",
                 value=geometric_ratio(none, "blend", "peers", rng), baseline=beside),
    ]  # fmt: skip
    found += [
        _member(none, name, "wape_ratio_to_fleet_median", "peers", beside, rng)
        for name in ("level", "lstm", "lightgbm")
    ]
    near_N = within(none, "peers", TOLERANCE_RATIO)
    found.append(
        Measured(
            name="share_within_5_unseen",
            value=share(none, within(none, "blend", TOLERANCE_RATIO), rng),
            baseline=f"{beside} {near_N.mean():.4f}",
        )
    )
    found += _means(none, ("peers", "train_median"), rng)
    for count, scored in rows.by_count.items():
        base = mean_wape(scored, "own_or_peers", rng)
        found += [
            Measured(name=f"wape_mean_after_{count}", value=mean_wape(scored, "blend", rng),
                     baseline=f"own EWMA (half-life 8), else fleet median: {base.value:.4f}"),
            Measured(name=f"coverage_80_after_{count}",
                     value=share(scored, rows.inside_by_count[count], rng), baseline="0.8 nominal"),
        ]  # fmt: skip
    return found
