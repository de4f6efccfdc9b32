"""Boosted trees in one form: scikit-learn's are rewritten as LightGBM text, and read by LightGBM.

That gives one safe format, one fast predictor and exact TreeSHAP (Lundberg et al. 2020) for both
kinds. Legend: N rows, F columns.
"""

from collections.abc import Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.multioutput import MultiOutputRegressor

from novacron.models.placement.config import BoostingConfig

Floats = NDArray[np.float64]


def fit_sklearn(
    x_NF: Floats, y_NT: Floats, names: Sequence[str], config: BoostingConfig, seed: int
) -> list[lightgbm.Booster]:
    """Fit MultiOutput(GradientBoosting), one booster a target; the columns must have no NaN."""
    model = MultiOutputRegressor(
        GradientBoostingRegressor(
            n_estimators=config.trees,
            max_depth=config.depth,
            learning_rate=config.learning_rate,
            subsample=0.5,
            max_features=0.4,
            min_samples_leaf=5,
            random_state=seed,
        )
    ).fit(as_grown(x_NF), y_NT)
    return [to_lightgbm(one, names) for one in model.estimators_]


def fit_lightgbm(
    x_NF: Floats, y_N: Floats, names: Sequence[str], config: BoostingConfig, seed: int
) -> lightgbm.Booster:
    """Fit LightGBM regression."""
    settings: dict[str, Any] = {
        "objective": "regression",
        "max_depth": config.depth,
        "num_leaves": min(2**config.depth, 24),
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": 10,
        "feature_fraction": 0.7,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    data = lightgbm.Dataset(as_grown(x_NF), label=y_N, feature_name=list(names))
    booster = lightgbm.train(settings, data, num_boost_round=config.trees)
    return lightgbm.Booster(model_str=booster.model_to_string())


def as_grown(x_NF: Floats) -> Floats:
    """Return the rows as scikit-learn's trees ask them: rounded to single precision."""
    return np.asarray(x_NF, dtype=np.float32).astype(np.float64)


def predict(booster: lightgbm.Booster, x_NF: Floats) -> Floats:
    """Return the prediction of each row."""
    return np.asarray(booster.predict(as_grown(x_NF), num_threads=1), dtype=np.float64)


def contributions(booster: lightgbm.Booster, x_NF: Floats) -> tuple[Floats, Floats]:
    """Return base_N and contribution_NF, the SHAP values: base plus their sum is the prediction."""
    found = booster.predict(as_grown(x_NF), pred_contrib=True, num_threads=1)
    found_NF = np.asarray(found, dtype=np.float64)
    return found_NF[:, -1], found_NF[:, :-1]


def to_lightgbm(model: GradientBoostingRegressor, names: Sequence[str]) -> lightgbm.Booster:
    """Return the same sum of trees as a LightGBM booster.

    The constant that scikit-learn begins with goes into the leaves of the first tree.
    """
    start = float(np.ravel(model.init_.constant_)[0])
    parts = [
        "tree",
        "version=v4",
        "num_class=1",
        "num_tree_per_iteration=1",
        "label_index=0",
        f"max_feature_idx={len(names) - 1}",
        "objective=regression",
        "feature_names=" + " ".join(names),
        "feature_infos=" + " ".join(["[-1e300:1e300]"] * len(names)),
        "",
    ]
    for number, (estimator,) in enumerate(model.estimators_):
        offset = start if number == 0 else 0.0
        parts += _tree(number, estimator.tree_, float(model.learning_rate), offset)
    parts += ["end of trees", "", "parameters:", "end of parameters", ""]
    return lightgbm.Booster(model_str="\n".join(parts))


def _tree(number: int, tree: Any, rate: float, offset: float) -> list[str]:
    """Write one tree; inner places are numbered apart from leaves, which are negative."""
    is_leaf = tree.children_left < 0
    place = np.where(is_leaf, -np.cumsum(is_leaf), np.cumsum(~is_leaf) - 1)
    inner, leaf = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
    value = tree.value[:, 0, 0] * rate + offset
    count = tree.n_node_samples
    head = [f"Tree={number}", f"num_leaves={len(leaf)}", "num_cat=0"]
    if not len(inner):
        return [*head, f"leaf_value={float(value[0])!r}", "is_linear=0", "shrinkage=1", "", ""]
    rows = {
        "split_feature": tree.feature[inner],
        "split_gain": np.ones(len(inner), dtype=np.int64),
        "threshold": tree.threshold[inner],
        "decision_type": np.zeros(len(inner), dtype=np.int64),
        "left_child": place[tree.children_left[inner]],
        "right_child": place[tree.children_right[inner]],
        "leaf_value": value[leaf],
        "leaf_weight": count[leaf],
        "leaf_count": count[leaf],
        "internal_value": value[inner],
        "internal_weight": count[inner],
        "internal_count": count[inner],
    }
    lines = [f"{name}={' '.join(repr(x) for x in row.tolist())}" for name, row in rows.items()]
    return [*head, *lines, "is_linear=0", "shrinkage=1", "", ""]
