"""The models that estimate what a placement leads to, fitted on simulated outcomes.

Legend: N placements, T targets, C columns. Every target is a grade 0..1, so that the score of a
candidate is a weighted sum of what the trees say, and its SHAP values are the weighted sums of
theirs. Grades are turned back into units for the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from novacron.models.placement.boosting import (
    contributions,
    fit_lightgbm,
    fit_sklearn,
    predict,
)
from novacron.models.placement.columns import Columns, raw_rows
from novacron.models.placement.config import OutcomeConfig, WeightsConfig
from novacron.models.placement.contention import Outcome, simulate
from novacron.models.placement.factors import FACTORS, PLACE
from novacron.models.placement.worlds import (
    Sizes,
    draw_demand,
    draw_hardware,
    node_factors,
    pair_factors,
    with_residents,
    workload_factors,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TARGETS: Final = ("throughput", "latency", "reliability", "efficiency", "power")
HALF_LATENCY_MS: Final = 20.0
HALF_POWER_W: Final = 50.0
MOST_THROUGHPUT: Final = 1.5
LEAST_THROUGHPUT: Final = 0.03
"""Throughput is graded by its logarithm, from this (0) to the most (1): twice as slow costs the
same wherever it happens."""
_SPAN: Final = float(np.log(MOST_THROUGHPUT / LEAST_THROUGHPUT))
_NODES: Final = 24
_EDGE: Final = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Simulated placements; those of one fleet share its nodes and what is known of them."""

    raw_NR: Floats
    grade_NT: Floats
    fleet_N: Ints

    def take(self, which_N: NDArray[np.bool_]) -> "Examples":
        """Return some of them."""
        return Examples(
            raw_NR=self.raw_NR[which_N],
            grade_NT=self.grade_NT[which_N],
            fleet_N=self.fleet_N[which_N],
        )


def grades(outcome: Outcome) -> Floats:
    """Return the grade of each target; a higher one is better."""
    return np.column_stack(
        [
            np.clip(1 - np.log(MOST_THROUGHPUT / outcome.throughput) / _SPAN, 0, 1),
            1 / (1 + outcome.latency_ms / HALF_LATENCY_MS),
            outcome.reliability,
            outcome.efficiency,
            1 / (1 + outcome.power_w / HALF_POWER_W),
        ]
    )


def in_units(grade_NT: Floats) -> Floats:
    """Return throughput (1: a free reference node), ms, probability, 0..1, W."""
    safe_NT = np.clip(grade_NT, _EDGE, 1 - _EDGE)
    return np.column_stack(
        [
            MOST_THROUGHPUT * np.exp(-_SPAN * (1 - np.clip(grade_NT[:, 0], 0, 1))),
            HALF_LATENCY_MS * (1 / safe_NT[:, 1] - 1),
            np.clip(grade_NT[:, 2], 0, 1),
            np.clip(grade_NT[:, 3], 0, 1),
            HALF_POWER_W * (1 / safe_NT[:, 4] - 1),
        ]
    )


def draw_examples(sizes: Sizes, config: OutcomeConfig, seed: int) -> Examples:
    """Simulate placements: fleets of 24 nodes with residents, one more workload on each node."""
    fleets = -(-config.examples // _NODES)
    parts = [
        _draw_fleet(sizes, config, np.random.default_rng([seed, fleet])) for fleet in range(fleets)
    ]
    return Examples(
        raw_NR=np.concatenate([raw for raw, _ in parts]),
        grade_NT=np.concatenate([grade for _, grade in parts]),
        fleet_N=np.repeat(np.arange(fleets), _NODES),
    )


def _draw_fleet(
    sizes: Sizes, config: OutcomeConfig, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    hardware = draw_hardware(sizes, _NODES, rng)
    overcommit = float(rng.choice([1.0, 1.5, 2.0]))
    mean_cores = float(sizes.request_N2[:, 0].mean())
    residents = rng.poisson(
        rng.uniform(0, 1) * overcommit * float(hardware.state.cores.sum()) / mean_cores
    )
    intensity = float(rng.uniform(0.5, 3.5))
    work = draw_demand(sizes, max(int(residents), 1), rng, intensity)
    # Some nodes are more popular than others, as under any placement that is not perfect.
    popular_H = rng.gamma(1.5, 1, _NODES) * hardware.state.cores
    node_N = rng.choice(_NODES, size=len(work.cores), p=popular_H / popular_H.sum())
    state = with_residents(hardware, node_N, work)
    asked = draw_demand(sizes, _NODES, rng, intensity)
    factor_HF = node_factors(hardware, state, overcommit)
    for name, value_N in (workload_factors(asked) | pair_factors(state, asked)).items():
        factor_HF[:, PLACE[name]] = value_N
    for place, one in enumerate(FACTORS):
        if not one.is_required and rng.random() < config.absent_ratio:
            factor_HF[:, place] = np.nan
    amount_NR = np.zeros((_NODES, 5))
    amount_NR[:, 0], amount_NR[:, 1] = asked.cores, asked.memory_gb
    return raw_rows(factor_HF, amount_NR), grades(simulate(state, asked))


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeModels:
    """Fitted boosters, one a target, and how far off they were on calibration fleets."""

    columns: Columns
    boosters: Mapping[str, lightgbm.Booster]
    half_width_T: Floats
    """Grades within this of the estimate in the nominal share of calibration placements."""
    half_width_score: float
    """The same of the weighted sum of the grades."""

    def estimate(self, raw_NR: Floats) -> Floats:
        """Return the estimated grades of raw rows, grade_NT."""
        x_NC = self.columns.matrix(raw_NR)
        return np.column_stack([predict(self.boosters[name], x_NC) for name in TARGETS])

    def bounds(self, grade_NT: Floats) -> tuple[Floats, Floats]:
        """Return the lower and upper end of each interval, in units."""
        low_NT = in_units(grade_NT - self.half_width_T)
        high_NT = in_units(grade_NT + self.half_width_T)
        return np.minimum(low_NT, high_NT), np.maximum(low_NT, high_NT)

    def explain(
        self, raw_NR: Floats, weights: WeightsConfig
    ) -> tuple[tuple[str, ...], Floats, Floats]:
        """Split the learned part of each score over the factors.

        Returns:
            The names of the factors, base_N, and share_NV: base plus the sum over the factors is
            the weighted sum of the estimated grades.
        """
        x_NC = self.columns.matrix(raw_NR)
        base_N, share_NC = np.zeros(len(x_NC)), np.zeros(x_NC.shape)
        for weight, name in zip(target_weights(weights), TARGETS, strict=True):
            base, share = contributions(self.boosters[name], x_NC)
            base_N += weight * base
            share_NC += weight * share
        names, share_NV = self.columns.by_factor(share_NC)
        return names, base_N, share_NV


def target_weights(weights: WeightsConfig) -> Floats:
    """Return the weight of each target in the score."""
    parts = [weights.performance * part for part in weights.performance_parts]
    return np.array([*parts, weights.resource, weights.power])


def split(examples: Examples) -> tuple[Examples, Examples, Examples]:
    """Return training, calibration and test fleets: three fifths, one, one."""
    fifth_N = examples.fleet_N % 5
    return (
        examples.take(fifth_N < 3),
        examples.take(fifth_N == 3),
        examples.take(fifth_N == 4),
    )


def fit_outcomes(
    examples: Examples, config: OutcomeConfig, weights: WeightsConfig, seed: int
) -> OutcomeModels:
    """Fit the five models on the training fleets and set the intervals on the calibration fleets.

    The intervals are split conformal (Lei et al. 2018), on the grades.
    """
    train, calibrate, _ = split(examples)
    models = fit_estimates(train, config, seed)
    off_NT = models.estimate(calibrate.raw_NR) - calibrate.grade_NT
    rows = len(off_NT)
    level = min(1.0, np.ceil((rows + 1) * config.coverage) / rows)
    score_N = np.abs(off_NT @ target_weights(weights))
    return replace(
        models,
        half_width_T=np.quantile(np.abs(off_NT), level, axis=0, method="higher"),
        half_width_score=float(np.quantile(score_N, level, method="higher")),
    )


def fit_estimates(train: Examples, config: OutcomeConfig, seed: int) -> OutcomeModels:
    """Fit the five models on all of these placements, without intervals."""
    columns = Columns.of(train.raw_NR, may_be_absent=config.absent_ratio > 0)
    x_NC = columns.matrix(train.raw_NR)
    performance = fit_sklearn(x_NC, train.grade_NT[:, :3], columns.names, config.performance, seed)
    efficiency = fit_lightgbm(x_NC, train.grade_NT[:, 3], columns.names, config.resource, seed)
    power = fit_sklearn(x_NC, train.grade_NT[:, 4:], columns.names, config.power, seed)
    return OutcomeModels(
        columns=columns,
        boosters=dict(zip(TARGETS, (*performance, efficiency, *power), strict=True)),
        half_width_T=np.zeros(len(TARGETS)),
        half_width_score=0.0,
    )
