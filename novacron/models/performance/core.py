"""A fitted predictor: from contexts to calibrated quantiles, attention and degradation.

Legend: N rows, T steps, Q = 3 served levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.performance.blend import Blend, SideFactors
from novacron.models.performance.config import PerformanceConfig, served_places
from novacron.models.performance.context import Context, Floats, Ints
from novacron.models.performance.degradation import Degradation, degradation_table
from novacron.models.performance.examples import (
    Encoded,
    ExtraScale,
    encode,
    features_hash,
)
from novacron.models.performance.level import LevelModel, Levels
from novacron.models.performance.lstm_numpy import LstmWeights, static_inputs
from novacron.models.performance.names import Cell, Names
from novacron.models.performance.twin import Twin

FALLBACKS: Final = ("", "fleet_level", "pooled_prior", "last_value")
"""What an answer leans on where the VM itself says nothing: the level of its peers, or what was
typical in the training. `last_value` answers a history that never moves."""

CONSTANT_SAMPLES: Final = 8
"""A history of at least so many equal samples is constant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Answers in the unit of the values: q_NQ, attention w_NT, probability, level, fallback."""

    q_NQ: Floats
    attention_NT: NDArray[np.float32]
    degradation_N: Floats
    level_N: Floats
    count_N: Ints
    fallback_N: NDArray[np.object_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Core:
    """Everything that was fitted."""

    config: PerformanceConfig
    names: Names
    cells: tuple[Cell, ...]
    """Benchmark, size and region of each cell of the training, in the order of the blend."""
    level: LevelModel
    extra: ExtraScale
    twin: Twin
    lstms: tuple[LstmWeights, ...]
    blend: Blend
    sides: SideFactors
    degradation: Degradation

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of known benchmarks, sizes and regions."""
        return len(self.names.benchmarks), len(self.names.sizes), len(self.names.regions)

    @property
    def features_hash(self) -> str:
        """Fingerprint of the features."""
        extras = len(self.extra.mean_E)
        return features_hash(self.config.history, self.config.lstm.steps, extras)

    def cells_of(self, context: Context) -> Ints:
        """Return the number of each row's cell, the last one for any other."""
        return cell_numbers(context, self.cells)

    def encode(self, context: Context) -> tuple[Levels, Encoded]:
        """Return levels and inputs of the members."""
        levels = self.level.levels(context)
        return levels, encode(context, levels, self.config, self.extra)

    def twin_z(self, encoded: Encoded) -> Floats:
        """Return the residual quantiles of the trees alone, z_NQ."""
        return self.twin.quantiles(encoded.x_NF)

    def lstm_z(
        self, encoded: Encoded, seed_place: int | None = None, *, exact: bool = False
    ) -> tuple[Floats, NDArray[np.float32]]:
        """Return residual quantiles and attention of the LSTM: the mean over seeds, or one.

        `exact`: see `LstmWeights.quantiles`.
        """
        chosen = self.lstms if seed_place is None else self.lstms[seed_place : seed_place + 1]
        static_NF = static_inputs(encoded.x_NF, self.sizes)
        found = [w.quantiles(encoded.x_NTC, static_NF, exact=exact) for w in chosen]
        places = list(served_places(self.config.lstm))
        z_NQ = np.stack([q[:, places] for q, _ in found]).astype(np.float64).mean(axis=0)
        attention_NT = np.stack([a for _, a in found]).mean(axis=0)
        return z_NQ, np.asarray(attention_NT, dtype=np.float32)

    def answer(self, context: Context) -> Answers:
        """Answer rows; each must have own samples, peers, or a cell of the training."""
        levels, encoded = self.encode(context)
        lstm = self.lstm_z(encoded, exact=True)
        return self._finish(context, levels, encoded, self.twin_z(encoded), lstm)

    def _finish(
        self,
        context: Context,
        levels: Levels,
        encoded: Encoded,
        twin_NQ: Floats,
        lstm: tuple[Floats, NDArray[np.float32]],
    ) -> Answers:
        cell_N, group_N = self.cells_of(context), encoded.count_group_N
        raw_NQ = self.blend.combine(twin_NQ, lstm[0], group_N, cell_N)
        z_NQ = self.sides.apply(raw_NQ, group_N, cell_N)
        q_NQ = encoded.level_N[:, None] + z_NQ * encoded.spread_N[:, None]
        if self.names.benchmarks:
            # Scores are positive; a metric of windows may be anything.
            q_NQ = np.maximum(q_NQ, 0.0)
        fallback_N = _fallbacks(context, levels)
        constant_N = fallback_N == "last_value"
        q_NQ[constant_N, 1] = context.own_NT[constant_N, -1]
        table_NF = degradation_table(encoded, twin_NQ, self.config.degradation)
        return Answers(
            q_NQ=np.sort(q_NQ, axis=1),
            attention_NT=lstm[1],
            degradation_N=self.degradation.probability(table_NF),
            level_N=encoded.level_N,
            count_N=context.counts,
            fallback_N=fallback_N,
        )

    def by_member(self, context: Context) -> Mapping[str, Floats]:
        """Return what each part says, in the unit of the values.

        Returns:
            q_NQ under `blend` (as served), `lightgbm`, `lstm` (mean over seeds) and `lstm_0`, ...;
            value_N under `level`, `fleet`, `ewma` (half-life 8) and `peers` (median of 50);
            `degradation` (probability_N).
        """
        levels, encoded = self.encode(context)
        level_N1, spread_N1 = encoded.level_N[:, None], encoded.spread_N[:, None]
        seeds = [self.lstm_z(encoded, place) for place in range(len(self.lstms))]
        mean_NQ = np.stack([z_NQ for z_NQ, _ in seeds]).mean(axis=0)
        attention_NT = np.stack([w_NT for _, w_NT in seeds]).mean(axis=0)
        found = {f"lstm_{place}": z_NQ for place, (z_NQ, _) in enumerate(seeds)}
        found |= {"lstm": mean_NQ, "lightgbm": self.twin_z(encoded)}
        answers = self._finish(
            context, levels, encoded, found["lightgbm"], (mean_NQ, attention_NT)
        )
        values = {name: level_N1 + z_NQ * spread_N1 for name, z_NQ in found.items()}
        values["blend"] = answers.q_NQ
        values["level"] = encoded.level_N
        values["fleet"], values["ewma"] = levels.fleet_N, levels.ewma_N
        values["peers"] = levels.fleet.average_NK[:, 1]
        values["degradation"] = answers.degradation_N
        return values


def cell_numbers(context: Context, cells: tuple[Cell, ...]) -> Ints:
    """Return the place of each row's benchmark, size and region among `cells`, or their number."""
    out_N = np.full(len(context), len(cells), dtype=np.int64)
    asked_N3 = np.stack([context.benchmark_N, context.size_N, context.region_N], axis=1)
    for place, cell in enumerate(cells):
        out_N[(asked_N3 == np.array(cell)).all(axis=1)] = place
    return out_N


def _fallbacks(context: Context, levels: Levels) -> NDArray[np.object_]:
    fallback_N = np.full(len(context), "", dtype=object)
    none_N = context.counts == 0
    fallback_N[none_N & levels.has_peers] = "fleet_level"
    fallback_N[none_N & ~levels.has_peers] = "pooled_prior"
    newest_N1 = context.own_NT[:, -1:]
    differs_N = (np.isfinite(context.own_NT) & (context.own_NT != newest_N1)).any(axis=1)
    constant_N = (context.counts >= CONSTANT_SAMPLES) & ~differs_N
    fallback_N[constant_N] = "last_value"
    return fallback_N
