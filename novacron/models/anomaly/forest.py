"""Isolation forest in whole-array steps: Liu, Ting and Zhou, ICDM 2008.

scikit-learn's forest costs about a millisecond a tree to fit, in Python around each tree; a
detector that refits on every series cannot pay that. Here all trees grow together, level by level.
The scores are those of the paper, and a test compares them with scikit-learn's.

Legend: N rows, F features, E trees, S samples of a tree, P places of a tree (heap order: the
children of place p are 2p+1 and 2p+2).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EULER: Final = 0.5772156649015329
_ATTEMPTS: Final = 2
_CHUNK_ROWS: Final = 512  # keeps the working set of a step inside the cache


def average_path(samples_N: NDArray[np.int64] | Floats) -> Floats:
    """Return the mean depth of an unsuccessful search among that many samples (paper, eq. 1)."""
    n = np.asarray(samples_N, dtype=np.float64)
    many = 2 * (np.log(np.maximum(n - 1, 1)) + EULER) - 2 * (n - 1) / np.maximum(n, 1)
    return np.where(n > 2, many, np.where(n == 2, 1.0, 0.0))


@dataclass(frozen=True, slots=True)
class IsolationForest:
    """Grown trees; `score` is near 1 for rows that few splits isolate and about 0.5 for others.

    `feature_EP` is the feature a place splits on, `split_EP` its threshold (rows above go right;
    infinite in leaves, so that rows there keep going left), `path_EP` the expected depth of a row
    that ends at a place of the last level, and `norm` the average path of a whole sample.
    """

    feature_EP: NDArray[np.int32]
    split_EP: Floats
    path_EP: Floats
    norm: float

    @property
    def depth(self) -> int:
        """Splits from the root to the last level."""
        return int(math.log2(self.path_EP.shape[1]))

    def score(self, x_NF: Floats) -> Floats:
        """Return the anomaly score of each row in (0, 1) (paper, eq. 2)."""
        path_N = np.concatenate(
            [
                self._path(np.ascontiguousarray(x_NF[start : start + _CHUNK_ROWS]))
                for start in range(0, len(x_NF), _CHUNK_ROWS)
            ]
            or [np.empty(0)]
        )
        return np.power(2.0, -path_N / self.norm)

    def _path(self, x_NF: Floats) -> Floats:
        trees, places = self.feature_EP.shape
        flat = x_NF.ravel()
        row_N1 = (np.arange(len(x_NF), dtype=np.int32) * x_NF.shape[1])[:, None]
        root_E = np.arange(trees, dtype=np.int32) * places
        feature, split = self.feature_EP.ravel(), self.split_EP.ravel()
        place_NE = np.zeros((len(x_NF), trees), dtype=np.int32)
        for _ in range(self.depth):
            at_NE = place_NE + root_E
            value_NE = flat.take(feature.take(at_NE) + row_N1)
            place_NE = 2 * place_NE + 1 + (value_NE > split.take(at_NE))
        last_NE = place_NE - places
        root_E = np.arange(trees, dtype=np.int32) * self.path_EP.shape[1]
        return np.asarray(self.path_EP.ravel().take(last_NE + root_E).mean(axis=1))


def grow(
    x_NF: Floats, rng: np.random.Generator, *, trees: int = 64, samples: int = 128
) -> IsolationForest:
    """Grow a forest on random samples of the rows, grown to the depth of the paper.

    Args:
        x_NF: Finite rows, at least two.
        rng: Source of every random choice.
        trees: E.
        samples: Rows of a tree; fewer where there are fewer rows. Depth is log2 of it, rounded up.
    """
    count = min(samples, len(x_NF))
    depth = max(1, math.ceil(math.log2(count)))
    row_M = _pick(len(x_NF), trees, count, rng).ravel()
    tree_M = np.repeat(np.arange(trees), count)
    flat, cell_M = x_NF.ravel(), row_M * x_NF.shape[1]
    inner = 2**depth - 1
    feature_EP = np.zeros((trees, inner), dtype=np.int32)
    split_EP = np.full((trees, inner), np.inf)
    place_M = np.zeros(trees * count, dtype=np.int64)
    depth_M = np.zeros(trees * count)
    for level in range(depth):
        first, width = 2**level - 1, 2**level
        node_M = place_M - first + tree_M * width
        feature_K, split_K = _split(x_NF, cell_M, node_M, trees * width, rng)
        feature_EP[:, first : first + width] = feature_K.reshape(trees, width)
        split_EP[:, first : first + width] = split_K.reshape(trees, width)
        bound_M = split_K.take(node_M)
        depth_M += bound_M < np.inf
        place_M = 2 * place_M + 1 + (flat.take(cell_M + feature_K.take(node_M)) > bound_M)
    path_EP = _paths(place_M - inner + tree_M * 2**depth, depth_M, trees)
    return IsolationForest(
        feature_EP, split_EP, path_EP, float(average_path(np.array([count]))[0])
    )


def _pick(rows: int, trees: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the rows of each tree: distinct ones, or, out of very many, hardly ever the same."""
    if rows > 8 * count:
        return rng.integers(rows, size=(trees, count))
    return rng.random((trees, rows)).argpartition(count - 1, axis=1)[:, :count]


def _split(
    x_NF: Floats,
    cell_M: NDArray[np.int64],
    node_M: NDArray[np.int64],
    nodes: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int32], Floats]:
    """Draw a feature that varies in each node and a threshold between its ends; inf if none does.

    A node that drew a feature without spread tries the next one, and then passes all its rows to
    the left, where they try again. `cell_M` is where each row starts in the flat `x_NF`.
    """
    feature_K = np.zeros(nodes, dtype=np.int32)
    split_K = np.full(nodes, np.inf)
    features = x_NF.shape[1]
    first_K = rng.integers(features, size=nodes, dtype=np.int32)
    # Sorted by radix where the numbers fit in 16 bits.
    small = node_M.astype(np.uint16) if nodes <= 1 << 16 else node_M
    order_M = np.argsort(small, kind="stable")
    flat = x_NF.ravel()
    cell_M, node_M = cell_M.take(order_M), node_M.take(order_M)
    shared = np.bincount(node_M, minlength=nodes) > 1
    for attempt in range(_ATTEMPTS):
        open_M = shared.take(node_M)
        if not open_M.any():
            break
        cell_M, node_M = cell_M[open_M], node_M[open_M]
        starts = np.concatenate([[0], np.flatnonzero(node_M[1:] != node_M[:-1]) + 1])
        here = node_M[starts]
        feature = (first_K + attempt) % features
        value_M = flat.take(cell_M + feature.take(node_M))
        low, high = np.minimum.reduceat(value_M, starts), np.maximum.reduceat(value_M, starts)
        # Strictly below the upper end, so that both children get a row.
        drawn = np.minimum(low + rng.random(len(here)) * (high - low), np.nextafter(high, -np.inf))
        done = high > low
        feature_K[here[done]] = feature[here[done]]
        split_K[here[done]] = drawn[done]
        shared[here[done]] = False
    return feature_K, split_K


def _paths(last_M: NDArray[np.int64], depth_M: Floats, trees: int) -> Floats:
    """Return depth plus average path of what is left together, per place of the last level."""
    places = 2 ** math.ceil(math.log2(max(len(last_M) // trees, 2))) * trees
    size_P = np.bincount(last_M, minlength=places)
    depth_P = np.bincount(last_M, weights=depth_M, minlength=places)
    path_P = depth_P / np.maximum(size_P, 1) + average_path(size_P)
    return path_P.reshape(trees, -1)
