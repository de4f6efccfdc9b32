"""The gradient-boosted twin: one LightGBM quantile model per served level, steps ahead pooled.

Legend: N rows, F features, H steps ahead, Q served levels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError
from novacron.models.bandwidth.config import SERVED_LEVELS, TwinConfig
from novacron.models.bandwidth.examples import Examples
from novacron.models.bandwidth.windows import ModelInputs

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

# Rounds on one class must lower its validation loss by this much to be kept.
_LEAST_GAIN_RATIO: Final = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Twin:
    """Fitted boosters by level, and how many steps they answer."""

    boosters: Mapping[float, lgb.Booster]
    horizon: int

    def quantile_ratios(self, inputs: ModelInputs) -> Floats:
        """Return the quantiles of future / reference, ratio_NHQ, not negative, sorted in Q."""
        rows = len(inputs)
        stacked = np.concatenate(
            [
                with_steps(inputs.x_NF, inputs.linear[:, place], np.full(rows, place))
                for place in range(self.horizon)
            ]
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


def with_steps(x_NF: Floats32, linear_N: Floats32, place_N: NDArray[np.intp]) -> Floats32:
    """Append the number of steps ahead (its place + 1) and the linear forecast of that step."""
    ahead_N = (place_N + 1).astype(np.float32)
    return np.concatenate([x_NF, ahead_N[:, None], linear_N[:, None]], axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class TwinTable:
    """Rows for boosting: features of one window and step (see `with_steps`), ratio, weight."""

    x_NF: Floats32
    ratio_N: Floats32
    weight_N: Floats32


def twin_table(examples: Examples, most: int, rng: np.random.Generator) -> TwinTable:
    """Make about `most` rows: every window with some of its steps ahead, drawn at random.

    Neighbouring windows share their targets, so a long trace loses little by few steps a window;
    small sets get all steps.
    """
    rows, horizon = examples.ratio_NH.shape
    drawn = min(horizon, max(1, most // max(1, rows)))
    place_NS = np.argsort(rng.random((rows, horizon)), axis=1)[:, :drawn]
    row_M = np.repeat(np.arange(rows), drawn)
    place_M = place_NS.ravel()
    inputs = examples.inputs
    return TwinTable(
        x_NF=with_steps(inputs.x_NF[row_M], inputs.linear[row_M, place_M], place_M),
        ratio_N=examples.ratio_NH[row_M, place_M],
        weight_N=examples.weight_N[row_M],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TwinPlan:
    """How one twin is grown.

    `start` is a twin whose trees are kept and added to, at the tuning rate. `rounds` fixes the
    number of rounds by level (0 keeps the start as it is) where there is no validation part.
    """

    horizon: int
    seed: int
    start: Twin | None = None
    rounds: Mapping[float, int] | None = None


def train_twin(
    train: TwinTable, validation: TwinTable | None, config: TwinConfig, plan: TwinPlan
) -> tuple[Twin, float]:
    """Fit one booster per served level.

    Args:
        train: What the trees are grown on.
        validation: What chooses the number of rounds; where no round improves on `plan.start`,
            that is returned as it is. None: `plan.rounds` are grown.
        config: Sizes and rates.
        plan: Where it starts from, and how long it grows.

    Returns:
        The twin, and its validation pinball loss in ratios averaged over the levels (NaN without
        a validation part).
    """
    boosters, losses = {}, []
    for level in SERVED_LEVELS:
        if validation is None:
            boosters[level], loss = _grow_fixed(train, config, plan, level), float("nan")
        else:
            boosters[level], loss = _grow_checked(train, validation, config, plan, level)
        losses.append(loss)
    return Twin(boosters=boosters, horizon=plan.horizon), float(np.mean(losses))


def rounds_of(twin: Twin, start: Twin | None) -> dict[float, int]:
    """Return the rounds by level that a twin was grown beyond its start."""
    before = {} if start is None else {q: b.num_trees() for q, b in start.boosters.items()}
    return {q: b.num_trees() - before.get(q, 0) for q, b in twin.boosters.items()}


def _grow_fixed(train: TwinTable, config: TwinConfig, plan: TwinPlan, level: float) -> lgb.Booster:
    rounds = {} if plan.rounds is None else plan.rounds
    before = None if plan.start is None else plan.start.boosters[level]
    if before is not None and rounds.get(level, 0) == 0:
        return before
    params = _params(config, level, plan)
    table = lgb.Dataset(train.x_NF, train.ratio_N, weight=train.weight_N, params=params)
    grown = lgb.train(params, table, max(1, rounds.get(level, 0)), init_model=before)
    return lgb.Booster(model_str=grown.model_to_string())


def _grow_checked(
    train: TwinTable, validation: TwinTable, config: TwinConfig, plan: TwinPlan, level: float
) -> tuple[lgb.Booster, float]:
    params = _params(config, level, plan)
    before = None if plan.start is None else plan.start.boosters[level]
    table = lgb.Dataset(train.x_NF, train.ratio_N, weight=train.weight_N, params=params)
    check = table.create_valid(validation.x_NF, validation.ratio_N, weight=validation.weight_N)
    history: dict[str, Any] = {}
    booster = lgb.train(
        params,
        table,
        config.rounds if before is None else config.tuning_rounds,
        valid_sets=[check],
        init_model=before,
        callbacks=_callbacks(config.patience, history),
    )
    loss = _best_loss(history)
    if before is not None:
        standing = _pinball(before, validation, level)
        if loss > standing * (1 - _LEAST_GAIN_RATIO):
            return before, standing
    best = booster.best_iteration or booster.current_iteration()
    # Trees after the best one are dropped, so what is saved is what is served.
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=best)), loss


def _pinball(booster: lgb.Booster, table: TwinTable, level: float) -> float:
    error_N = table.ratio_N - np.asarray(booster.predict(table.x_NF, num_threads=1))
    loss_N = np.maximum(level * error_N, (level - 1) * error_N)
    return float(np.average(loss_N, weights=table.weight_N))


def _callbacks(patience: int, history: dict[str, Any]) -> list[Callable[..., Any]]:
    return [
        lgb.early_stopping(patience, verbose=False),
        lgb.record_evaluation(history),
    ]


def _best_loss(history: dict[str, Any]) -> float:
    return float(min(next(iter(history["valid_0"].values()))))


def _params(config: TwinConfig, level: float, plan: TwinPlan) -> dict[str, Any]:
    rate = config.learning_rate if plan.start is None else config.tuning_rate
    return {
        "objective": "quantile", "alpha": level, "metric": "quantile",
        "learning_rate": rate, "num_leaves": config.leaves,
        "min_data_in_leaf": config.min_rows_per_leaf, "lambda_l2": config.l2,
        "feature_fraction": config.feature_share, "bagging_fraction": config.row_share,
        "bagging_freq": 1, "max_bin": config.bins, "seed": plan.seed, "num_threads": 1,
        "deterministic": True, "force_col_wise": True, "verbosity": -1,
    }  # fmt: skip
