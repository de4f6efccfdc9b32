"""HBOS and ECOD of the comparison against the scores of PyOD 3.6.7 on the same rows.

PyOD needs a compiler of numerical code that is no dependency here, so its scores are written down:
`HBOS(n_bins=10)` and `ECOD()`, fitted on `past`, `decision_function` of `now`, rounded.
"""

import numpy as np
from scipy.stats import spearmanr

from novacron.models.anomaly.baselines import ecod_scores, hbos_scores

HBOS = [
    *(2.965, 4.152, 4.451, 3.18, 3.593, 4.155, 3.439, 3.057, 3.392, 4.511, 4.152, 3.647, 4.047),
    *(2.866, 3.136, 4.259, 3.401, 2.936, 2.936, 3.401, 5.327, 5.372, 5.671, 5.127, 5.539, 6.102),
    *(5.552, 5.294, 5.505, 4.078, 4.69, 6.043, 6.176, 5.025, 4.98, 5.047, 5.283, 4.902, 5.283),
    *(6.403, 3.309, 4.285, 4.451, 3.48, 3.937, 4.432, 3.439, 3.19, 3.392, 4.464),
]
ECOD = [
    *(4.254, 6.71, 3.992, 3.914, 3.223, 5.098, 4.067, 4.942, 5.619, 5.789, 8.993, 3.097, 3.836),
    *(5.807, 3.121, 5.57, 3.462, 3.525, 3.294, 3.322, 8.057, 10.602, 7.533, 6.426, 6.278, 7.482),
    *(7.581, 8.51, 9.372, 4.362, 8.365, 8.991, 8.255, 6.881, 7.42, 9.732, 7.751, 8.862, 7.287),
    *(8.562, 7.838, 9.867, 7.948, 7.921, 3.6, 8.653, 7.231, 7.887, 8.721, 6.487),
]


def rows():
    rng = np.random.default_rng(11)
    past = np.column_stack([rng.normal(0, 1, 500), rng.gamma(2, 1, 500), rng.uniform(-1, 1, 500)])
    moves = np.array([[3, 0, 0], [0, 8, 0]])
    far = (past[:10] + moves[0], past[:10] + moves[1], past[:10] * np.array([1, 1, 4]))
    return past, np.concatenate([past[:20], *far])


def test_ecod_gives_the_scores_of_pyod():
    # PyOD counts the rows that are asked about among those they are judged by; here they are not.
    assert spearmanr(ecod_scores(*rows()), ECOD).statistic > 0.95


def test_hbos_ranks_rows_of_the_usual_range_as_pyod_does():
    # What lies outside all bins PyOD scores as the rarest bin, here it is rarer than any.
    ours, theirs = hbos_scores(*rows())[:20], HBOS[:20]

    assert spearmanr(ours, theirs).statistic > 0.99
