"""Scores one metric, sample after sample: features, forests, tails, and what they say together.

A batch is a stream that is pushed at once: both run this code over the same blocks, so a re-sent
prefix gives the same scores. What a sample is compared with lies before its block.

Legend: T samples, F features, C components.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.anomaly.combine import combined
from novacron.models.anomaly.config import AnomalyConfig
from novacron.models.anomaly.forest import IsolationForest, grow
from novacron.models.anomaly.reference import MetricReference
from novacron.models.anomaly.signals import (
    BLOCK,
    NAMES,
    VALUE_NAMES,
    block_features,
    lookback,
)
from novacron.models.anomaly.stuck import run_lengths, stuck_surprise
from novacron.models.anomaly.subspace import LENGTHS, Subspace, fit_subspace
from novacron.models.anomaly.tails import tail_surprise
from novacron.models.anomaly.warmup import warm_up_surprise

Floats = NDArray[np.float64]

EXPLAINED_FROM: Final = 1.0
"""Surprise from which a sample's features are told apart: below it nothing alerts."""
FIRST_FIT: Final = 2 * BLOCK
"""Samples before the forests answer."""
COMPONENTS: Final = (
    "value_forest",
    "residual_forest",
    "pca_forest",
    "daily_shift",
    "shift_24",
    "change",
    "level_6",
    "stuck",
)
"""What the surprise is made of: three forests, four forecast residuals read directly, and the
length of a run of equal samples."""
_DIRECT: Final = tuple(NAMES.index(name) for name in COMPONENTS[3:7])
_VALUE: Final = slice(0, len(VALUE_NAMES))
_RESIDUAL: Final = slice(len(VALUE_NAMES), len(NAMES))
_MEDIAN_STRIDE: Final = 4
_SKIPPED: Final = LENGTHS[-1]
"""First samples that neither forests nor tails learn from: their windows are not full."""


@dataclass(slots=True)
class _Columns:
    """Rows by absolute number; old ones are forgotten."""

    keep: int
    rows: NDArray[np.float64]
    first: int = 0

    @property
    def end(self) -> int:
        return self.first + len(self.rows)

    def append(self, rows: NDArray[np.float64]) -> None:
        self.rows = np.concatenate([self.rows, rows])
        if len(self.rows) > 2 * self.keep:
            cut = len(self.rows) - self.keep
            self.rows = self.rows[cut:].copy()
            self.first += cut

    def part(self, start: int, end: int) -> NDArray[np.float64]:
        return self.rows[max(start - self.first, 0) : end - self.first]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of the samples just pushed.

    `component_TC` are each -log10 of a tail probability, `surprise_T` what `combined` makes of them.
    `contribution_TF` says, for samples of at least `EXPLAINED_FROM`, how much a forest's score
    falls when that feature alone takes its usual value; 0 elsewhere. `feature_TF` are 0 and
    `warm_T` False while the fallback of `warmup` answers.
    """

    surprise_T: Floats
    component_TC: Floats
    feature_TF: Floats
    contribution_TF: Floats
    warm_T: NDArray[np.bool_]


@dataclass(slots=True)
class _Fitted:
    """What is fitted between two fits."""

    forests: tuple[IsolationForest, IsolationForest, IsolationForest]
    subspaces: tuple[Subspace, ...]
    usual_F: Floats


class MetricScorer:
    """Scores the samples of one metric of one entity, in order of time.

    Args:
        config: Settings.
        day_samples: Samples of a day, for the daily and weekly features.
        metric_number: Place of the metric among those of its entity; metrics draw their forests
            from different random streams.
        reference: What the fleet says of the metric, for its first samples; None has them judged
            by their own past alone.
    """

    def __init__(
        self,
        config: AnomalyConfig,
        day_samples: int,
        metric_number: int = 0,
        reference: MetricReference | None = None,
    ) -> None:
        self._config = config
        self._day = day_samples
        self._number = metric_number
        self._reference = reference
        # A push reads back over a stretch between two fits, and the block before it.
        spare = config.forest.refit_samples + BLOCK
        history = config.forest.history + spare
        kept = max(history, lookback(day_samples) + spare)
        self._value = _Columns(keep=kept, rows=np.empty(0))
        self._run = _Columns(keep=kept, rows=np.empty(0))
        self._feature = _Columns(keep=history, rows=np.empty((0, len(NAMES))))
        self._pca = _Columns(keep=history, rows=np.empty((0, len(LENGTHS))))
        self._raw = _Columns(
            keep=config.tail_history + spare, rows=np.empty((0, len(COMPONENTS) - 1))
        )
        self._fitted: _Fitted | None = None
        self._next_fit = FIRST_FIT

    @property
    def samples(self) -> int:
        """Samples pushed so far."""
        return self._value.end

    def push(self, value_T: Floats) -> Scored:
        """Score the next samples, at least one; all must be finite."""
        parts = []
        done = 0
        while done < len(value_T):
            at = self.samples
            if at == self._next_fit:
                self._fit(at)
            stop = min(at + len(value_T) - done, self._next_fit)
            new_T = value_T[done : done + stop - at]
            done += stop - at
            self._run.append(run_lengths(new_T, self._value.rows[-1:], self._run.rows[-1:]))
            self._value.append(new_T)
            fitted = self._fitted
            parts.append(self._score(fitted, at, stop) if fitted else self._warm_up(at, stop))
        return Scored(
            *(np.concatenate(column) for column in zip(*map(_fields, parts), strict=True))
        )

    def _warm_up(self, start: int, end: int) -> Scored:
        known_H = self._value.part(0, end)
        surprise_T = (
            self._reference.surprise(known_H, start)
            if self._reference
            else warm_up_surprise(known_H, start)
        )
        count = end - start
        return Scored(
            surprise_T,
            np.zeros((count, len(COMPONENTS))),
            np.zeros((count, len(NAMES))),
            np.zeros((count, len(NAMES))),
            np.zeros(count, dtype=bool),
        )

    def _features(self, start: int, end: int) -> Floats:
        """Return features of samples; a block that has begun is computed from its own start."""
        block = start - start % BLOCK
        first = self._value.first
        shift = -(-first // BLOCK) * BLOCK  # the oldest block whose samples are all here
        x_TF = block_features(
            self._value.part(shift, end),
            block - shift,
            end - shift,
            history=self._config.forest.history,
            day_samples=self._day,
        )
        return x_TF[start - block :]

    def _residuals(self, subspaces: tuple[Subspace, ...], start: int, end: int) -> Floats:
        columns = [
            one.residual(self._value.part(start - length + 1, end))
            for one, length in zip(subspaces, LENGTHS, strict=True)
        ]
        return np.stack(columns, axis=1)

    def _fit(self, at: int) -> None:
        """Fit everything on the history before sample `at`."""
        config = self._config.forest
        first = self._fitted is None
        oldest = max(at - config.history, _SKIPPED)
        value_H = self._value.part(at - config.history, at)
        subspaces = tuple(fit_subspace(value_H, length) for length in LENGTHS)
        if first:
            self._feature.append(self._features(0, at))
            unknown = np.zeros((_SKIPPED, len(LENGTHS)))
            known = self._residuals(subspaces, _SKIPPED, at)
            self._pca.append(np.concatenate([unknown, known]))
        feature_HF = self._feature.part(oldest, at)
        learned = (feature_HF[:, _VALUE], feature_HF[:, _RESIDUAL], self._pca.part(oldest, at))
        trees = (config.trees, config.trees, config.subspace_trees)
        value, residual, pca = (
            grow(
                np.ascontiguousarray(x_HF),
                np.random.default_rng([self._config.seed, self._number, at, place]),
                trees=count,
                samples=config.samples,
            )
            for place, (x_HF, count) in enumerate(zip(learned, trees, strict=True))
        )
        usual_F = np.median(feature_HF[::_MEDIAN_STRIDE], axis=0)
        fitted = _Fitted((value, residual, pca), subspaces, usual_F)
        self._fitted = fitted
        self._next_fit = at + min(at, config.refit_samples)
        if first:
            raw_TC = _raw_scores(fitted, self._feature.part(0, at), self._pca.part(0, at))
            self._raw.append(raw_TC)

    def _score(self, fitted: _Fitted, start: int, end: int) -> Scored:
        """Score samples that no fit divides."""
        feature_TF = self._features(start, end)
        pca_TL = self._residuals(fitted.subspaces, start, end)
        raw_TC = _raw_scores(fitted, feature_TF, pca_TL)
        self._feature.append(feature_TF)
        self._pca.append(pca_TL)
        self._raw.append(raw_TC)
        component_TC = self._surprises(raw_TC, start)
        surprise_T = combined(component_TC, start, self._day)
        warm_T = np.ones(end - start, dtype=bool)
        contribution_TF = _contributions(fitted, feature_TF, raw_TC, surprise_T)
        return Scored(surprise_T, component_TC, feature_TF, contribution_TF, warm_T)

    def _surprises(self, raw_TC: Floats, start: int) -> Floats:
        """Judge raw scores from sample `start` on, each block by the history before it."""
        end = start + len(raw_TC)
        component_TC = np.empty((len(raw_TC), len(COMPONENTS)))
        for block in range(start - start % BLOCK, end, BLOCK):
            at, stop = max(block, start), min(end, block + BLOCK)
            rows = slice(at - start, stop - start)
            history_HC = self._raw.part(max(block - self._config.tail_history, _SKIPPED), block)
            for place in range(raw_TC.shape[1]):
                component_TC[rows, place] = tail_surprise(
                    history_HC[:, place], raw_TC[rows, place]
                )
            run_H = self._run.part(max(block - self._config.forest.history, 0), block)
            component_TC[rows, -1] = stuck_surprise(run_H, self._run.part(at, stop))
        return component_TC


def _raw_scores(fitted: _Fitted, feature_TF: Floats, pca_TL: Floats) -> Floats:
    value, residual, pca = fitted.forests
    return np.column_stack(
        [
            value.score(feature_TF[:, _VALUE]),
            residual.score(feature_TF[:, _RESIDUAL]),
            pca.score(pca_TL),
            np.abs(feature_TF[:, _DIRECT]),
        ]
    )


def _contributions(
    fitted: _Fitted, feature_TF: Floats, raw_TC: Floats, surprise_T: Floats
) -> Floats:
    out_TF = np.zeros_like(feature_TF)
    rows = np.flatnonzero(surprise_T >= EXPLAINED_FROM)
    for place, part in enumerate((_VALUE, _RESIDUAL)):
        x_MF = feature_TF[rows, part]
        count = x_MF.shape[1]
        changed_MFF = np.repeat(x_MF[:, None, :], count, axis=1)
        changed_MFF[:, np.arange(count), np.arange(count)] = fitted.usual_F[part]
        score_M = fitted.forests[place].score(changed_MFF.reshape(-1, count))
        fall_MF = raw_TC[rows, place, None] - score_M.reshape(-1, count)
        out_TF[rows, part] = np.maximum(fall_MF, 0)
    return out_TF


def _fields(scored: Scored) -> tuple[NDArray[np.generic], ...]:
    return (
        scored.surprise_T,
        scored.component_TC,
        scored.feature_TF,
        scored.contribution_TF,
        scored.warm_T,
    )
