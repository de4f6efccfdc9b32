"""The gradient-boosted twin: one LightGBM quantile model per served level, steps ahead pooled.

Legend: N rows, F features, H steps ahead, Q served levels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError
from novacron.models.bandwidth.config import SERVED_LEVELS, TwinConfig

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Twin:
    """Fitted boosters by level, and how many steps they answer."""

    boosters: Mapping[float, lgb.Booster]
    horizon: int

    def quantile_ratios(self, x_NF: Floats32) -> Floats:
        """Return the quantiles of future / reference, ratio_NHQ, not negative, sorted in Q."""
        rows = len(x_NF)
        stacked = with_steps(
            np.tile(x_NF, (self.horizon, 1)), np.repeat(_steps(self.horizon), rows)
        )
        columns = [
            np.asarray(self.boosters[level].predict(stacked, num_threads=1))
            .reshape(self.horizon, rows)
            .T
            for level in SERVED_LEVELS
        ]
        return np.sort(np.maximum(np.stack(columns, axis=2), 0.0), axis=2)

    def save(self, directory: Path) -> None:
        """Write one LightGBM text file per level."""
        directory.mkdir(parents=True, exist_ok=True)
        for level, booster in self.boosters.items():
            (directory / _file(level)).write_text(booster.model_to_string())

    @classmethod
    def load(cls, directory: Path, horizon: int) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: A file is missing or is not a LightGBM model.
        """
        try:
            boosters = {
                level: lgb.Booster(model_str=(directory / _file(level)).read_text())
                for level in SERVED_LEVELS
            }
        except (OSError, lgb.basic.LightGBMError) as cause:
            raise ArtifactError(f"The trees in {directory.name} do not load: {cause}.") from cause
        return cls(boosters=boosters, horizon=horizon)


def _file(level: float) -> str:
    return f"level_{round(100 * level):02d}.txt"


def _steps(horizon: int) -> NDArray[np.float32]:
    return np.arange(1, horizon + 1, dtype=np.float32)


def with_steps(x_NF: Floats32, step_N: NDArray[np.float32]) -> Floats32:
    """Append the number of steps ahead as the last feature."""
    return np.concatenate([x_NF, step_N[:, None]], axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class TwinTable:
    """Rows for boosting: x_NF with the step appended, the ratio at that step, the weight."""

    x_NF: Floats32
    ratio_N: Floats32
    weight_N: Floats32


def twin_table(
    x_NF: Floats32, ratio_NH: Floats32, weight_N: Floats32, steps: int, rng: np.random.Generator
) -> TwinTable:
    """Draw `steps` different steps ahead for every window (all of them if there are fewer)."""
    rows, horizon = ratio_NH.shape
    drawn = min(steps, horizon)
    step_NS = np.argsort(rng.random((rows, horizon)), axis=1)[:, :drawn]
    row_M = np.repeat(np.arange(rows), drawn)
    step_M = step_NS.ravel()
    return TwinTable(
        x_NF=with_steps(x_NF[row_M], (step_M + 1).astype(np.float32)),
        ratio_N=ratio_NH[row_M, step_M],
        weight_N=weight_N[row_M],
    )


def train_twin(
    train: TwinTable, validation: TwinTable, config: TwinConfig, *, horizon: int, seed: int
) -> tuple[Twin, float]:
    """Fit one booster per served level; the best round by validation is kept.

    Returns:
        The twin, and its validation pinball loss averaged over the levels, in ratios.
    """
    boosters, losses = {}, []
    for level in SERVED_LEVELS:
        params = _params(config, level, seed)
        table = lgb.Dataset(
            train.x_NF, train.ratio_N, weight=train.weight_N, params=params, free_raw_data=True
        )
        check = table.create_valid(validation.x_NF, validation.ratio_N, weight=validation.weight_N)
        history: dict[str, Any] = {}
        booster = lgb.train(
            params, table, config.rounds, valid_sets=[check],
            callbacks=_callbacks(config.patience, history),
        )  # fmt: skip
        best = booster.best_iteration or booster.current_iteration()
        # Trees after the best one are dropped, so what is saved is what is served.
        boosters[level] = lgb.Booster(model_str=booster.model_to_string(num_iteration=best))
        losses.append(_best_loss(history))
    return Twin(boosters=boosters, horizon=horizon), float(np.mean(losses))


def _callbacks(patience: int, history: dict[str, Any]) -> list[Callable[..., Any]]:
    return [
        lgb.early_stopping(patience, verbose=False),
        lgb.record_evaluation(history),
    ]


def _best_loss(history: dict[str, Any]) -> float:
    return float(min(next(iter(history["valid_0"].values()))))


def _params(config: TwinConfig, level: float, seed: int) -> dict[str, Any]:
    return {
        "objective": "quantile", "alpha": level, "metric": "quantile",
        "learning_rate": config.learning_rate, "num_leaves": config.leaves,
        "min_data_in_leaf": config.min_rows_per_leaf, "lambda_l2": config.l2,
        "feature_fraction": config.feature_share, "bagging_fraction": config.row_share,
        "bagging_freq": 1, "max_bin": config.bins, "seed": seed, "num_threads": 1,
        "deterministic": True, "force_col_wise": True, "verbosity": -1,
    }  # fmt: skip
