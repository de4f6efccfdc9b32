"""One tree of a random cut forest, small and static: Guha, Mishra, Roy and Schrijvers, ICML 2016.

Only what the comparison needs: grown from a sample, asked for the expected displacement of rows.

Legend: N rows, F features.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CutNode:
    """A box of rows; a leaf has no children."""

    low_F: Floats
    high_F: Floats
    mass: int
    depth: int
    feature: int = -1
    cut: float = 0.0
    left: "CutNode | None" = None
    right: "CutNode | None" = None

    def score(self, x_NF: Floats) -> Floats:
        """Return the expected displacement of each row by the mass it would set aside, over depth.

        At every node a row is cut off with the probability that a random cut of the box, stretched
        to hold it, falls into the stretch; what it then displaces is the node's mass.
        """
        out_N = np.zeros(len(x_NF))
        _walk(self, x_NF, np.arange(len(x_NF)), np.ones(len(x_NF)), out_N)
        return out_N


def grow_cut_tree(x_NF: Floats, rng: np.random.Generator, depth: int = 0) -> CutNode:
    """Cut a feature, drawn by the width of its range, at random, until rows are alone or equal."""
    low_F, high_F = x_NF.min(axis=0), x_NF.max(axis=0)
    width_F = high_F - low_F
    total = float(width_F.sum())
    if total <= 0:
        return CutNode(low_F, high_F, len(x_NF), depth)
    feature = int(rng.choice(len(width_F), p=width_F / total))
    cut = float(low_F[feature] + rng.random() * width_F[feature])
    left_N = x_NF[:, feature] <= cut
    if left_N.all():
        return CutNode(low_F, high_F, len(x_NF), depth)
    return CutNode(
        *(low_F, high_F, len(x_NF), depth, feature, cut),
        left=grow_cut_tree(x_NF[left_N], rng, depth + 1),
        right=grow_cut_tree(x_NF[~left_N], rng, depth + 1),
    )


def _walk(
    node: CutNode, x_NF: Floats, row_M: NDArray[np.int64], weight_M: Floats, out_N: Floats
) -> None:
    if len(row_M) == 0:
        return
    x_MF = x_NF[row_M]
    stretch_M = np.maximum(node.low_F - x_MF, 0).sum(axis=1)
    stretch_M += np.maximum(x_MF - node.high_F, 0).sum(axis=1)
    span = float((node.high_F - node.low_F).sum())
    apart_M = stretch_M / np.maximum(stretch_M + span, 1e-300)
    out_N[row_M] += weight_M * apart_M * node.mass / (node.depth + 1)
    rest_M = weight_M * (1 - apart_M)
    if node.left is None or node.right is None:
        out_N[row_M] += rest_M / (node.depth + np.log2(1 + node.mass))
        return
    left_M = x_MF[:, node.feature] <= node.cut
    for child, side_M in ((node.left, left_M), (node.right, ~left_M)):
        _walk(child, x_NF, row_M[side_M], rest_M[side_M], out_N)
