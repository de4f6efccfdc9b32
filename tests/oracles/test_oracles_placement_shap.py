"""Shapley values by their definition, over all subsets of the columns, beside the fast ones."""

import itertools
import math

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

from novacron.models.placement.boosting import as_grown, contributions, to_lightgbm


def expected(tree, x, known, place=0):
    """Mean of a tree where only some columns are known: other splits are weighed by their rows."""
    if tree.children_left[place] < 0:
        return tree.value[place, 0, 0]
    left, right = tree.children_left[place], tree.children_right[place]
    column = tree.feature[place]
    if column in known:
        return expected(tree, x, known, left if x[column] <= tree.threshold[place] else right)
    rows = tree.n_node_samples
    return (
        rows[left] * expected(tree, x, known, left) + rows[right] * expected(tree, x, known, right)
    ) / rows[place]


def shapley(model, x):
    columns = len(x)

    def value(known):
        return sum(
            model.learning_rate * expected(one.tree_, x, known) for (one,) in model.estimators_
        )

    out = np.zeros(columns)
    for column in range(columns):
        others = [other for other in range(columns) if other != column]
        for size in range(columns):
            share = math.factorial(size) * math.factorial(columns - size - 1)
            share /= math.factorial(columns)
            for chosen in itertools.combinations(others, size):
                out[column] += share * (value({*chosen, column}) - value(set(chosen)))
    return out


def test_contributions_of_rewritten_trees_are_the_shapley_values():
    rng = np.random.default_rng(4)
    x_NF = as_grown(rng.normal(size=(200, 4)))
    y_N = x_NF[:, 0] * x_NF[:, 1] + np.abs(x_NF[:, 2]) + 0.1 * x_NF[:, 3]
    model = GradientBoostingRegressor(n_estimators=6, max_depth=3, random_state=0).fit(x_NF, y_N)

    _, found_NF = contributions(to_lightgbm(model, list("abcd")), x_NF[:5])

    for row in range(5):
        np.testing.assert_allclose(found_NF[row], shapley(model, x_NF[row]), atol=1e-9)
