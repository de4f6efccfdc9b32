"""The lifetime distribution of a workload: a LightGBM hazard over log-spaced ages.

Legend: N groups, K age bins, S features of a group, L levels of likeness. One row of training is
one group in one bin that it was seen in: how many ended there, how many outlived it. Those cut off
by the end of training add what they outlived and nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError, InvalidInputError
from novacron.models.placement.ages import AGE_EDGES_S, BINS, Curves, bin_of
from novacron.models.placement.config import LifetimeConfig
from novacron.models.placement.history import Kind, Likeness

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NAMES: Final = (
    "age_bin",
    "cpu_cores",
    "memory_gb",
    "batch_size",
    "batch_same_size",
    "batch_kinds",
    "hour",
    "slot_of_hour",
    *(f"log_arrivals_{level}" for level in ("size", "count", "batch")),
    *(f"log_since_{level}" for level in ("size", "count", "batch")),
    *(f"survival_{hours}h_batch" for hours in ("1", "6", "24")),
    "log_exposed_count",
    "log_exposed_batch",
    *(f"hazard_{level}" for level in ("size", "count", "batch")),
    "log_exposed_in_bin_count",
    "log_exposed_in_bin_batch",
)
_PRIOR_HAZARD: Final = 0.1
_PRIOR_SIZE: Final = 0.5
_PRIOR_REST: Final = 3.0
# Bins at whose end survival is told: 3,900 s, 21,900 s and 86,700 s.
_TOLD_BINS: Final = (6, 9, 13)


def smoothed_hazards(like: Sequence[Likeness]) -> Floats:
    """Return hazards [N, L, K]; each level is shrunk to the broader one, as if seen three times."""
    exposed_NLK = np.stack([one.exposed_LK for one in like])
    ended_NLK = np.stack([one.ended_LK for one in like])
    found: list[Floats] = []
    for level in range(exposed_NLK.shape[1]):
        prior = found[-1] if found else _PRIOR_HAZARD
        size = _PRIOR_REST if found else _PRIOR_SIZE
        found.append((ended_NLK[:, level] + size * prior) / (exposed_NLK[:, level] + size))
    return np.stack(found, axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupFeatures:
    """What the model sees of groups when they arrive."""

    static_NS: Floats
    hazard_NLK: Floats
    exposed_NLK: Floats

    @classmethod
    def of(cls, kinds: Sequence[Kind], like: Sequence[Likeness], at_s: Floats) -> "GroupFeatures":
        """Gather them; `at_s` is the time of arrival of each, seconds."""
        hazard_NLK = smoothed_hazards(like)
        exposed_NLK = np.stack([one.exposed_LK for one in like])
        survival_NK = np.cumprod(1 - hazard_NLK[:, 2], axis=1)
        sizes_N5 = np.array(
            [
                (k.cpu_cores, k.memory_gb, k.batch_size, k.batch_same_size, k.batch_kinds)
                for k in kinds
            ],
            dtype=np.float64,
        )
        sizes_N5[sizes_N5 < 0] = np.nan
        columns = [
            sizes_N5,
            (at_s % 86_400 // 3600)[:, None],
            (at_s % 3600 // 300)[:, None],
            np.log1p(np.stack([one.arrivals_L for one in like])),
            np.log1p(np.stack([one.since_s_L for one in like])),
            survival_NK[:, _TOLD_BINS],
            np.log1p(exposed_NLK[:, 1:, 0]),
        ]
        return cls(
            static_NS=np.column_stack(columns), hazard_NLK=hazard_NLK, exposed_NLK=exposed_NLK
        )

    def rows(self, group_M: Ints, bin_M: Ints) -> Floats:
        """Return the matrix of some groups in some bins, in the order of `NAMES`."""
        return np.column_stack(
            [
                bin_M,
                self.static_NS[group_M],
                self.hazard_NLK[group_M, :, bin_M],
                np.log1p(self.exposed_NLK[group_M, 1:, bin_M]),
            ]
        )


class LifetimeModel:
    """A fitted hazard; answers survival curves."""

    def __init__(self, booster: lightgbm.Booster, config: LifetimeConfig) -> None:
        if booster.num_feature() != len(NAMES):
            raise ArtifactError(
                f"The lifetime model has {booster.num_feature()} features, this code {len(NAMES)}.",
                remedy="Train and register the model again.",
            )
        self.booster = booster
        self.config = config

    def curves(self, features: GroupFeatures) -> Curves:
        """Return one survival curve a group."""
        count = len(features.static_NS)
        group_M = np.repeat(np.arange(count), BINS)
        bin_M = np.tile(np.arange(BINS), count)
        found_M = self.booster.predict(features.rows(group_M, bin_M), num_threads=1)
        return Curves.from_hazards(np.asarray(found_M).reshape(count, BINS))

    def to_text(self) -> str:
        """Return the model in LightGBM's text format."""
        return str(self.booster.model_to_string())


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """Person-period rows: `weight` workloads of a group in a bin that ended there or did not."""

    group_M: Ints
    bin_M: Ints
    ended_M: NDArray[np.bool_]
    weight_M: Floats


def exposure(arrived_N: Floats, end_N: Floats, group_N: Ints, *, until_s: float) -> Exposure:
    """Count who was seen in which bin by `until_s`, and who ended there.

    Args:
        arrived_N: Time of arrival of each workload, seconds.
        end_N: Time of its end; infinite where it was alive when last seen.
        group_N: Its group.
        until_s: Nothing after this is known.

    Raises:
        InvalidInputError: Nobody arrived before `until_s`.
    """
    early_N = arrived_N < until_s
    if not early_N.any():
        raise InvalidInputError(field="until_s", got=until_s, expected="a time after an arrival")
    arrived_N, end_N, group_N = arrived_N[early_N], end_N[early_N], group_N[early_N]
    age_N = np.minimum(end_N, until_s) - arrived_N
    ended_N = end_N <= until_s
    last_N = bin_of(age_N)
    groups = int(group_N.max()) + 1
    parts = []
    for age_bin in range(BINS):
        died_N = ended_N & (last_N == age_bin)
        outlived_N = (last_N > age_bin) | (age_N >= AGE_EDGES_S[age_bin + 1])
        for kind_N, ended in ((died_N, True), (outlived_N & ~died_N, False)):
            count_G = np.bincount(group_N[kind_N], minlength=groups)
            which = np.flatnonzero(count_G)
            parts.append((which, np.full(len(which), age_bin), ended, count_G[which]))
    return Exposure(
        group_M=np.concatenate([part[0] for part in parts]),
        bin_M=np.concatenate([part[1] for part in parts]),
        ended_M=np.concatenate([np.full(len(part[0]), part[2]) for part in parts]),
        weight_M=np.concatenate([part[3] for part in parts]).astype(np.float64),
    )


def fit_lifetimes(
    features: GroupFeatures, seen: Exposure, config: LifetimeConfig
) -> LifetimeModel:
    """Fit the hazard. A group of n counts as sqrt(n): its members share a tenant and a fate."""
    settings: dict[str, Any] = {
        "objective": "binary",
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.leaf_rows,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    data = lightgbm.Dataset(
        features.rows(seen.group_M, seen.bin_M),
        label=seen.ended_M.astype(np.float64),
        weight=np.sqrt(seen.weight_M),
        feature_name=list(NAMES),
    )
    booster = lightgbm.train(settings, data, num_boost_round=config.rounds)
    # A fitted booster keeps its training set; read back from text it does not.
    return LifetimeModel(lightgbm.Booster(model_str=booster.model_to_string()), config)
