"""A random forest as plain arrays: grown by scikit-learn, evaluated here, stored without pickle.

Legend: N rows, F features, E trees, P places of a tree (padded), K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from novacron.errors import ArtifactError

Floats = NDArray[np.float64]

_LEAF: Final = -1
_ARRAYS: Final = ("feature_EP", "threshold_EP", "left_EP", "right_EP", "share_EPK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Forest:
    """Trees of Breiman 2001: rows at or below the threshold go left; leaves have feature -1.

    `share_EPK` is the share of each class among the training rows of a place.
    """

    feature_EP: NDArray[np.int32]
    threshold_EP: Floats
    left_EP: NDArray[np.int32]
    right_EP: NDArray[np.int32]
    share_EPK: NDArray[np.float32]

    @property
    def classes(self) -> int:
        """K."""
        return int(self.share_EPK.shape[2])

    def probabilities(self, x_NF: Floats) -> Floats:
        """Return the mean share of each class in the leaves that a row reaches, p_NK."""
        tree_E = np.arange(len(self.feature_EP))
        p_NK = np.empty((len(x_NF), self.classes))
        for row, path_DE in enumerate(map(self._path, _as_grown(x_NF))):
            p_NK[row] = self.share_EPK[tree_E, path_DE[-1]].mean(axis=0, dtype=np.float64)
        return p_NK

    def contributions(self, x_NF: Floats, class_N: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Split the probability of a class of each row over the features.

        Along a path the share of the class changes at each split; the change belongs to the feature
        that was asked (Saabas 2014; Palczewska et al. 2014).

        Returns:
            base_N, the mean share of the row's class at the roots, and contribution_NF: base plus
            the sum over features is the probability, exactly.
        """
        trees = len(self.feature_EP)
        tree_E = np.arange(trees)
        out_NF = np.zeros(x_NF.shape)
        for row, (path_DE, number) in enumerate(
            zip(map(self._path, _as_grown(x_NF)), class_N, strict=True)
        ):
            share_DE = self.share_EPK[tree_E, path_DE, number].astype(np.float64)
            asked_DE = self.feature_EP[tree_E, path_DE[:-1]]
            moved_DE = asked_DE != _LEAF
            change_DE = np.diff(share_DE, axis=0)[moved_DE] / trees
            np.add.at(out_NF[row], asked_DE[moved_DE], change_DE)
        base_N = self.share_EPK[:, 0, :].mean(axis=0, dtype=np.float64)[class_N]
        return base_N, out_NF

    def _path(self, x_F: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return the place of one row in each tree, level by level; leaves repeat."""
        tree_E = np.arange(len(self.feature_EP))
        place_E = np.zeros(len(tree_E), dtype=np.int32)
        levels = [place_E]
        while True:
            feature_E = self.feature_EP[tree_E, place_E]
            if (feature_E == _LEAF).all():
                return np.stack(levels)
            goes_left_E = x_F[feature_E] <= self.threshold_EP[tree_E, place_E]
            child_E = np.where(
                goes_left_E, self.left_EP[tree_E, place_E], self.right_EP[tree_E, place_E]
            )
            place_E = np.where(feature_E == _LEAF, place_E, child_E)
            levels.append(place_E)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what a bundle stores."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}

    @staticmethod
    def from_arrays(
        arrays: Mapping[str, NDArray[np.generic]], *, features: int, classes: int
    ) -> "Forest":
        """Return the forest whose `arrays` were stored.

        Raises:
            ArtifactError: An array is missing or does not fit the others.
        """
        missing = [name for name in _ARRAYS if name not in arrays]
        if missing:
            raise ArtifactError(
                f"The forest lacks {', '.join(missing)}.", remedy="Train it again."
            )
        forest = Forest(
            feature_EP=arrays["feature_EP"].astype(np.int32),
            threshold_EP=arrays["threshold_EP"].astype(np.float64),
            left_EP=arrays["left_EP"].astype(np.int32),
            right_EP=arrays["right_EP"].astype(np.int32),
            share_EPK=arrays["share_EPK"].astype(np.float32),
        )
        forest._check(features, classes)
        return forest

    def _check(self, features: int, classes: int) -> None:
        shape = self.feature_EP.shape
        inner_EP = self.feature_EP != _LEAF
        places = np.broadcast_to(np.arange(shape[1]), shape)[inner_EP]
        fits = (
            len(shape) == 2
            and self.threshold_EP.shape == self.left_EP.shape == self.right_EP.shape == shape
            and self.share_EPK.shape == (*shape, classes)
            and self.feature_EP.min() >= _LEAF
            and self.feature_EP.max() < features
            # Children lie behind their parent, so no path can go in a circle.
            and bool((self.left_EP[inner_EP] > places).all())
            and bool((self.right_EP[inner_EP] > places).all())
            and bool((np.maximum(self.left_EP, self.right_EP) < shape[1]).all())
        )
        if not fits:
            raise ArtifactError("The forest's arrays do not fit.", remedy="Train it again.")


def _as_grown(x_NF: Floats) -> NDArray[np.float32]:
    # scikit-learn grows and asks in single precision.
    return np.asarray(x_NF, dtype=np.float32)


def grow(
    x_NF: Floats,
    type_N: NDArray[np.int64],
    *,
    classes: int,
    trees: int,
    leaf_rows: int,
    feature_ratio: float,
    seed: int,
) -> Forest:
    """Grow a forest; every class must be among `type_N`."""
    grown = RandomForestClassifier(
        n_estimators=trees,
        min_samples_leaf=leaf_rows,
        max_features=feature_ratio,
        random_state=seed,
        n_jobs=1,
    ).fit(x_NF, type_N)
    parts = [estimator.tree_ for estimator in grown.estimators_]
    shape = (trees, max(part.node_count for part in parts))
    feature_EP = np.full(shape, _LEAF, dtype=np.int32)
    threshold_EP, share_EPK = np.zeros(shape), np.zeros((*shape, classes), dtype=np.float32)
    left_EP, right_EP = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
    for tree, part in enumerate(parts):
        inner = part.children_left >= 0
        own = slice(0, part.node_count)
        feature_EP[tree, own] = np.where(inner, part.feature, _LEAF)
        threshold_EP[tree, own] = np.where(inner, part.threshold, 0.0)
        left_EP[tree, own] = np.where(inner, part.children_left, 0)
        right_EP[tree, own] = np.where(inner, part.children_right, 0)
        value = part.value[:, 0, :]
        share_EPK[tree, own] = value / value.sum(axis=1, keepdims=True)
    return Forest(
        feature_EP=feature_EP,
        threshold_EP=threshold_EP,
        left_EP=left_EP,
        right_EP=right_EP,
        share_EPK=share_EPK,
    )
