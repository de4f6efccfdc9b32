"""The forest in whole-array steps against scikit-learn's."""

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import IsolationForest as SklearnForest

from novacron.models.anomaly.forest import IsolationForest, average_path, grow


def rows(seed=0, n=2000):
    x_NF = np.random.default_rng(seed).normal(size=(n, 6))
    x_NF[:20] *= 5
    return x_NF


def test_scores_rank_rows_as_scikit_learn_does():
    x_NF = rows()
    theirs = (
        -SklearnForest(n_estimators=200, max_samples=256, random_state=1)
        .fit(x_NF)
        .score_samples(x_NF)
    )

    ours = grow(x_NF, np.random.default_rng(1), trees=200, samples=256).score(x_NF)

    assert spearmanr(ours, theirs).statistic > 0.97
    assert abs(ours.mean() - theirs.mean()) < 0.03


def test_outliers_score_highest():
    x_NF = rows()

    score_N = grow(x_NF, np.random.default_rng(2), trees=64, samples=256).score(x_NF)

    assert score_N[:20].min() > np.quantile(score_N[20:], 0.9)


def test_the_average_path_is_the_formula_of_the_paper_worked_by_hand():
    # c(2) = 1; c(n) = 2 H(n-1) - 2 (n-1)/n with H(i) ~ ln i + 0.5772; n = 256: 10.24
    assert average_path(np.array([0, 1, 2])).tolist() == [0, 0, 1]
    np.testing.assert_allclose(average_path(np.array([256])), 10.244770, rtol=1e-6)


def test_rows_that_are_all_the_same_have_a_score_of_one_half():
    x_NF = np.ones((300, 3))

    score_N = grow(x_NF, np.random.default_rng(3), trees=10, samples=64).score(x_NF)

    np.testing.assert_allclose(score_N, 0.5, atol=1e-9)


def test_the_score_of_a_row_does_not_depend_on_the_rows_beside_it():
    x_NF = rows(n=1200)
    forest = grow(x_NF, np.random.default_rng(4))

    alone = np.array([forest.score(x_NF[at : at + 1])[0] for at in range(0, 1200, 100)])

    np.testing.assert_array_equal(alone, forest.score(x_NF)[::100])


def test_the_same_seed_grows_the_same_forest():
    first = grow(rows(), np.random.default_rng(5))
    second = grow(rows(), np.random.default_rng(5))

    assert isinstance(first, IsolationForest)
    np.testing.assert_array_equal(first.split_EP, second.split_EP)
