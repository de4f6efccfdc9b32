"""Point forecasts of the hour ahead and their weights: the documented ensemble beside naive members.

Forest, boosted trees and ridge are those of the original engine; a weight is what validation gave.
Legend: N rows, F features, M members.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError
from novacron.models.scaling.config import ForecastConfig
from novacron.models.scaling.features import SPAN, feature_names

Floats = NDArray[np.float64]

NAMES: Final = (
    "lightgbm_median",
    "random_forest",
    "gradient_boosting",
    "ridge",
    "seasonal_naive",
    "ewma",
    "last_value",
)
FOREST_FILE: Final = "forest.txt"
BOOSTED_FILE: Final = "boosted.txt"
_PICKS: Final = 25
_CLIP: Final = 30.0
_RIDGE_PENALTY: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Members:
    """Fitted members, and the weight of each in the ensemble, summing to 1."""

    forest: lgb.Booster
    boosted: lgb.Booster
    ridge_F: Floats
    ridge_bias: float
    weights: Mapping[str, float]

    def scores(self, x_NF: Floats, median_N: Floats) -> dict[str, Floats]:
        """Return the score each member forecasts; 0 is the level now."""
        names = feature_names()
        season_N = x_NF[:, names.index("same_span_1_d_ago")]
        return {
            "lightgbm_median": median_N,
            "random_forest": np.asarray(self.forest.predict(x_NF, num_threads=1)),
            "gradient_boosting": np.asarray(self.boosted.predict(x_NF, num_threads=1)),
            "ridge": _finite(x_NF) @ self.ridge_F + self.ridge_bias,
            "seasonal_naive": np.where(np.isfinite(season_N), season_N, 0.0),
            "ewma": np.zeros(len(x_NF)),
            "last_value": x_NF[:, names.index("newest")],
        }

    def combine(self, x_NF: Floats, median_N: Floats) -> Floats:
        """Return the weighted mean of the members' scores."""
        needed = {name: weight for name, weight in self.weights.items() if weight > 0}
        if set(needed) == {"lightgbm_median"}:
            return median_N
        scores = self.scores(x_NF, median_N)
        return np.asarray(sum(weight * scores[name] for name, weight in needed.items()))

    def reasons(self, x_F: Floats, most: int = 3) -> list[tuple[str, float]]:
        """Return the features that moved this one forecast most, with their part in the score.

        Exact tree SHAP values of the boosted member. Source: Lundberg et al. 2020.
        """
        parts_F = np.asarray(self.boosted.predict(x_F[None], pred_contrib=True))[0, :-1]
        parts_F = parts_F[: -len(SPAN)]  # which step was asked about is no reason
        order = np.argsort(-np.abs(parts_F), kind="stable")[:most]
        return [(feature_names()[place], float(parts_F[place])) for place in order]

    def save(self, directory: Path) -> dict[str, Any]:
        """Write the trees as text; return what belongs in the manifest."""
        (directory / FOREST_FILE).write_text(self.forest.model_to_string())
        (directory / BOOSTED_FILE).write_text(self.boosted.model_to_string())
        return {
            "ridge": self.ridge_F.tolist(),
            "ridge_bias": self.ridge_bias,
            "weights": dict(self.weights),
        }

    @classmethod
    def load(cls, directory: Path, stored: dict[str, Any]) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: A file is missing or no LightGBM model.
        """
        try:
            forest, boosted = (
                lgb.Booster(model_str=(directory / name).read_text())
                for name in (FOREST_FILE, BOOSTED_FILE)
            )
        except (OSError, lgb.basic.LightGBMError) as cause:
            raise ArtifactError(f"The trees in {directory.name} do not load: {cause}.") from cause
        return cls(
            forest=forest,
            boosted=boosted,
            ridge_F=np.asarray(stored["ridge"], dtype=np.float64),
            ridge_bias=float(stored["ridge_bias"]),
            weights={name: float(stored["weights"][name]) for name in NAMES},
        )


def _finite(x_NF: Floats) -> Floats:
    return np.clip(np.nan_to_num(x_NF, nan=0.0), -_CLIP, _CLIP)


def fit_members(
    x_NF: Floats, score_N: Floats, weight_N: Floats, config: ForecastConfig
) -> Members:
    """Fit the members; the weights are even until `choose_weights` has seen validation rows."""
    shared = {
        "objective": "regression_l1", "num_leaves": 2 * config.leaves, "num_threads": 1,
        "min_data_in_leaf": config.min_rows_per_leaf, "seed": config.seed, "bagging_freq": 1,
        "bagging_fraction": config.row_share, "feature_fraction": config.feature_share,
        "deterministic": True, "force_col_wise": True, "verbosity": -1, "max_bin": 127,
    }  # fmt: skip
    boosters = [
        lgb.Booster(
            model_str=lgb.train(
                shared | extra,
                lgb.Dataset(x_NF, score_N, weight=weight_N, params=shared | extra),
                config.member_rounds,
            ).model_to_string()
        )
        for extra in (
            {"boosting": "rf", "num_leaves": 8 * config.leaves},
            {"boosting": "gbdt", "learning_rate": config.learning_rate},
        )
    ]
    x_NF = _finite(x_NF)
    root_N = np.sqrt(weight_N)[:, None]
    mean_F = np.average(x_NF, axis=0, weights=weight_N)
    clipped_N = np.clip(score_N, -_CLIP, _CLIP)
    mean = float(np.average(clipped_N, weights=weight_N))
    a_NF = root_N * (x_NF - mean_F)
    gram_FF = a_NF.T @ a_NF + _RIDGE_PENALTY * len(x_NF) / 1000 * np.eye(x_NF.shape[1])
    ridge_F = np.linalg.solve(gram_FF, a_NF.T @ (root_N[:, 0] * (clipped_N - mean)))
    return Members(
        forest=boosters[0],
        boosted=boosters[1],
        ridge_F=np.asarray(ridge_F, dtype=np.float64),
        ridge_bias=mean - float(mean_F @ ridge_F),
        weights={name: 1 / len(NAMES) for name in NAMES},
    )


def choose_weights(
    actual_N: Floats, scores: Mapping[str, Floats], weight_N: Floats
) -> dict[str, float]:
    """Choose weights on validation rows: greedy picks with replacement that lower the mean error.

    Source: Caruana et al. 2004, "Ensemble selection from libraries of models".
    """
    counts = dict.fromkeys(NAMES, 0)
    total_N = np.zeros_like(actual_N)
    for pick in range(1, _PICKS + 1):
        errors = {
            name: float(
                np.average(np.abs(actual_N - (total_N + scores[name]) / pick), weights=weight_N)
            )
            for name in NAMES
        }
        best = min(errors, key=lambda name: errors[name])
        counts[best] += 1
        total_N = total_N + scores[best]
    return {name: count / _PICKS for name, count in counts.items()}
