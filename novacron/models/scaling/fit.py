"""Fits the scaling model on the older part of several series and calibrates it on the newer part.

Legend: N rows, F features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import SchemaError
from novacron.models.scaling.config import HORIZON_S, ForecastConfig, ScalingConfig
from novacron.models.scaling.demand import Demand
from novacron.models.scaling.density import fit_density
from novacron.models.scaling.features import (
    CLOCK,
    Frame,
    ahead_max,
    base_frame,
    feature_names,
    span_features,
)
from novacron.models.scaling.fitted import Fitted
from novacron.models.scaling.members import choose_weights, fit_members

Floats = NDArray[np.float64]
Listen = Callable[[str], None]

STAGES: Final = ("density", "members", "weights")
_LEAST_ROWS: Final = 200
_SPAN_SEED: Final = 11
_BLIND_RATIO: Final = 0.25
_CLOCK_COLUMNS: Final = [feature_names().index(name) for name in CLOCK]


@dataclass(frozen=True, kw_only=True, slots=True)
class FitPart:
    """A series with the step before which it is trained on; the rest calibrates."""

    demand: Demand
    train_until: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows for boosting: features, score of the span's highest demand, weight."""

    x_NF: Floats
    score_N: Floats
    weight_N: Floats


def spans(horizon_steps: int) -> list[tuple[int, int, float]]:
    """Return (first, width, share of origins) of the spans that are trained on.

    An order that arrives in one or two steps is the common case: all origins. Longer delays, held
    orders, the rest of the hour and single steps of the forecast get fewer.
    """
    hour = horizon_steps
    near = [(1, 1, 1.0), (2, 1, 1.0), (3, 1, 0.3), (4, 1, 0.3)]
    held = [(1, 3, 0.3), (2, 3, 0.3)]
    whole = [(first, hour - first + 1, 0.3) for first in (1, 2) if first < hour]
    far = [(first, 1, 0.15) for first in range(5, hour + 1)]
    return [span for span in (*near, *held, *whole, *far) if span[0] + span[1] - 1 <= hour]


def rows_of(
    demand: Demand, begin: int, stop: int, config: ForecastConfig, rng: np.random.Generator
) -> Table:
    """Draw rows from origins begin .. stop - 1 whose spans end before `stop`."""
    frame = base_frame(demand)
    thinning = min(1.0, config.most_origins_per_series / max(1, stop - begin))
    tables = []
    for first, width, share in spans(HORIZON_S // demand.step_s):
        origins = np.arange(begin, max(begin, stop - first - width + 1))
        drawn = round(len(origins) * share * thinning)
        if drawn:
            at_N = np.sort(rng.choice(origins, drawn, replace=False))
            tables.append(_rows(frame, at_N, first, width))
    if not tables:
        return Table(x_NF=np.empty((0, 1)), score_N=np.empty(0), weight_N=np.empty(0))
    x_NF = np.concatenate([x for x, _ in tables])
    score_N = np.concatenate([score for _, score in tables])
    kept = np.isfinite(score_N)
    # Some series come without a clock: the trees must know what to do then.
    blind_N = np.flatnonzero(rng.random(len(x_NF)) < _BLIND_RATIO)
    for column in _CLOCK_COLUMNS:
        x_NF[blind_N, column] = np.nan
    # A long series counts more than a short one, but not in proportion.
    weight_N = np.full(int(kept.sum()), 1 / np.sqrt(max(1, int(kept.sum()))))
    return Table(x_NF=x_NF[kept], score_N=score_N[kept], weight_N=weight_N)


def _rows(frame: Frame, at_N: NDArray[np.intp], first: int, width: int) -> tuple[Floats, Floats]:
    x_NF = span_features(frame, first, width)[at_N]
    score_N = frame.score(ahead_max(frame.value_T, first, width))[at_N]
    known = np.isfinite(frame.value_T[at_N])
    return x_NF, np.where(known, score_N, np.nan)


def _pooled(tables: Sequence[Table]) -> Table:
    held = [table for table in tables if len(table.score_N)]
    rows = sum(len(table.score_N) for table in held)
    if rows < _LEAST_ROWS:
        raise SchemaError(
            field="history",
            got=f"{rows} rows to learn from",
            expected=f"at least {_LEAST_ROWS}",
            remedy="Give a longer history (about a day at 5 minutes), or load a trained bundle.",
        )
    weight_N = np.concatenate([table.weight_N for table in held])
    return Table(
        x_NF=np.concatenate([table.x_NF for table in held]),
        score_N=np.concatenate([table.score_N for table in held]),
        weight_N=weight_N / weight_N.mean(),
    )


def fit_scaling(
    parts: Mapping[str, FitPart],
    config: ScalingConfig,
    listen: Listen = lambda _stage: None,
) -> Fitted:
    """Fit density and members on the training parts, weights on the calibration parts.

    Raises:
        SchemaError: The series together are too short.
    """
    settings = config.forecast
    rng = np.random.default_rng([_SPAN_SEED, settings.seed])
    warm = {name: _warm(part) for name, part in parts.items()}
    train = _pooled(
        [rows_of(p.demand, warm[name], p.train_until, settings, rng) for name, p in parts.items()]
    )
    density = fit_density(train.x_NF, train.score_N, train.weight_N, settings)
    listen(STAGES[0])
    single = train.x_NF[:, -1] == 1.0
    members = fit_members(
        train.x_NF[single], train.score_N[single], train.weight_N[single], settings
    )
    listen(STAGES[1])
    held = [rows_of(p.demand, p.train_until, len(p.demand), settings, rng) for p in parts.values()]
    if sum(len(table.score_N) for table in held) >= _LEAST_ROWS:
        check = _pooled(held)
        alone = check.x_NF[:, -1] == 1.0
        x_NF = check.x_NF[alone]
        median_N = density.quantiles(density.probabilities(x_NF), np.array([0.5]))[:, 0]
        weights = choose_weights(
            check.score_N[alone], members.scores(x_NF, median_N), check.weight_N[alone]
        )
        members = replace(members, weights=weights)
    listen(STAGES[2])
    return Fitted(config=config, density=density, members=members)


def _warm(part: FitPart) -> int:
    """Return the first origin that is learnt from: a day of history, less in short series."""
    return min(part.demand.day_steps, part.train_until // 4)
