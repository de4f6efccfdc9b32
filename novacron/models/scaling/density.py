"""The conditional distribution of demand: boosted trees vote over bins of the score.

A classifier over bins gives the whole distribution at once, so that quantiles never cross and the
cost of every capacity can be computed. Legend: N rows, F features, K bins.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError
from novacron.models.scaling.config import ForecastConfig

Floats = NDArray[np.float64]

FILE: Final = "density.txt"
# Shares of the training scores between bins: fine where margins are chosen, in the upper tail.
_SHARES: Final = (
    0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95,
    0.965, 0.975, 0.983, 0.99, 0.995, 0.998, 1.0,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Density:
    """Fitted trees, edges_E of the K = E - 1 bins, and the mean score in each, mean_K."""

    booster: lgb.Booster
    edge_E: Floats
    mean_K: Floats

    def probabilities(self, x_NF: Floats) -> Floats:
        """Return the probability of every bin, p_NK; rows sum to 1."""
        return np.asarray(self.booster.predict(x_NF, num_threads=1)).reshape(len(x_NF), -1)

    def quantiles(self, p_NK: Floats, levels: Floats) -> Floats:
        """Return scores at the given levels, score_NL, by lines within the bins."""
        cumulative_NK = np.cumsum(p_NK, axis=1)
        score_NL = np.empty((len(p_NK), len(levels)))
        for row, cumulative_K in enumerate(cumulative_NK):
            score_NL[row] = np.interp(levels, np.concatenate([[0.0], cumulative_K]), self.edge_E)
        return score_NL

    def save(self, directory: Path) -> dict[str, Any]:
        """Write the trees as text; return what belongs in the manifest."""
        (directory / FILE).write_text(self.booster.model_to_string())
        return {"edges": self.edge_E.tolist(), "means": self.mean_K.tolist()}

    @classmethod
    def load(cls, directory: Path, stored: dict[str, Any]) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: The file is missing or no LightGBM model.
        """
        try:
            booster = lgb.Booster(model_str=(directory / FILE).read_text())
        except (OSError, lgb.basic.LightGBMError) as cause:
            raise ArtifactError(f"The trees in {FILE} do not load: {cause}.") from cause
        return cls(
            booster=booster,
            edge_E=np.asarray(stored["edges"], dtype=np.float64),
            mean_K=np.asarray(stored["means"], dtype=np.float64),
        )


def fit_density(
    x_NF: Floats, score_N: Floats, weight_N: Floats, config: ForecastConfig
) -> Density:
    """Grow the trees."""
    edge_E = np.unique(np.quantile(score_N, _SHARES))
    bins = len(edge_E) - 1
    bin_N = np.clip(np.searchsorted(edge_E, score_N, side="right") - 1, 0, bins - 1)
    params = {
        "objective": "multiclass", "num_class": bins, "learning_rate": config.learning_rate,
        "num_leaves": config.leaves, "min_data_in_leaf": config.min_rows_per_leaf,
        "feature_fraction": config.feature_share, "bagging_fraction": config.row_share,
        "bagging_freq": 1, "lambda_l2": config.l2, "seed": config.seed, "num_threads": 1,
        "deterministic": True, "force_col_wise": True, "verbosity": -1, "max_bin": 127,
    }  # fmt: skip
    table = lgb.Dataset(x_NF, bin_N, weight=weight_N, params=params)
    grown = lgb.train(params, table, config.rounds)
    count_K = np.bincount(bin_N, minlength=bins)
    mean_K = np.bincount(bin_N, weights=score_N, minlength=bins) / np.maximum(count_K, 1)
    return Density(
        booster=lgb.Booster(model_str=grown.model_to_string()), edge_E=edge_E, mean_K=mean_K
    )
