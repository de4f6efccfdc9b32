"""The gradient-boosted member: one LightGBM quantile model of the residual per served level.

Legend: N rows, F features, Q = 3 served levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError
from novacron.models.performance.config import SERVED_LEVELS, TwinConfig
from novacron.models.performance.examples import CATEGORIES, Examples

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Twin:
    """Fitted boosters by level."""

    boosters: Mapping[float, lgb.Booster]

    def quantiles(self, x_NF: Floats32) -> Floats:
        """Return residual quantiles z_NQ, sorted in Q."""
        columns = [
            np.asarray(self.boosters[level].predict(x_NF, num_threads=1))
            for level in SERVED_LEVELS
        ]
        return np.sort(np.stack(columns, axis=1), axis=1)

    def save(self, directory: Path) -> None:
        """Write one LightGBM text file per level."""
        directory.mkdir(parents=True, exist_ok=True)
        for level, booster in self.boosters.items():
            (directory / _file(level)).write_text(booster.model_to_string())

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: A file is missing or is not a LightGBM model.
        """
        return cls(
            boosters={level: read_booster(directory / _file(level)) for level in SERVED_LEVELS}
        )


def read_booster(path: Path) -> lgb.Booster:
    """Read a LightGBM text file.

    Raises:
        ArtifactError: It is missing or is not a LightGBM model.
    """
    try:
        return lgb.Booster(model_str=path.read_text())
    except (OSError, lgb.basic.LightGBMError) as cause:
        raise ArtifactError(f"The trees in {path.name} do not load: {cause}.") from cause


def _file(level: float) -> str:
    return f"level_{round(100 * level):02d}.txt"


def train_twin(
    train: Examples, validation: Examples, config: TwinConfig, seed: int
) -> tuple[Twin, float]:
    """Fit one booster per served level; validation chooses the rounds.

    Returns:
        The twin, and its validation pinball loss in spreads averaged over the levels.
    """
    boosters, losses = {}, []
    for level in SERVED_LEVELS:
        params = booster_params(config, seed) | {
            "objective": "quantile", "alpha": level, "metric": "quantile",
        }  # fmt: skip
        table = lgb.Dataset(
            train.inputs.x_NF, train.z_N, weight=train.weight_N, params=params,
            categorical_feature=list(range(len(CATEGORIES))),
        )  # fmt: skip
        check = table.create_valid(
            validation.inputs.x_NF,
            validation.z_N,
            weight=validation.weight_N,
        )
        boosters[level], loss = grow(table, check, params, config)
        losses.append(loss)
    return Twin(boosters=boosters), float(np.mean(losses))


def booster_params(config: TwinConfig, seed: int) -> dict[str, Any]:
    """Return the settings that all trees of the predictor share."""
    return {
        "learning_rate": config.learning_rate, "num_leaves": config.leaves,
        "min_data_in_leaf": config.min_rows_per_leaf, "lambda_l2": config.l2,
        "feature_fraction": config.feature_share, "bagging_fraction": config.row_share,
        "bagging_freq": 1, "max_bin": config.bins, "seed": seed, "num_threads": 1,
        "cat_smooth": 50.0, "deterministic": True, "force_col_wise": True, "verbosity": -1,
    }  # fmt: skip


def grow(
    table: lgb.Dataset, check: lgb.Dataset, params: dict[str, Any], config: TwinConfig
) -> tuple[lgb.Booster, float]:
    """Grow trees until validation stops falling; trees after the best one are dropped."""
    history: dict[str, Any] = {}
    booster = lgb.train(
        params,
        table,
        config.rounds,
        valid_sets=[check],
        callbacks=[
            lgb.early_stopping(config.patience, verbose=False),
            lgb.record_evaluation(history),
        ],
    )
    best = booster.best_iteration or booster.current_iteration()
    loss = float(min(next(iter(history["valid_0"].values()))))
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=best)), loss
