"""Interchangeable paths: which numbers belong to which path, and which weights are then the same.

A policy for paths that may be numbered in any order should answer in the same order. A layer does
so if its weights depend on a path only through whether input and output are of the same one
(Zaheer et al. 2017, lemma 3): each such set of equal weights is an orbit here. Legend: K paths,
P numbers of each, G numbers of none, I inputs, J outputs of a layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ConfigError
from novacron.params.encode import ObservationSpec
from novacron.params.groups import MAX_PATHS
from rl_envs.physics.quantities import IntArray

_PER_PATH: Final = tuple(f"path_{number}_" for number in range(1, MAX_PATHS + 1))
"""Start of the names of a path's channels and knobs."""
HIDDEN_SHARE_OF_PATHS: Final = 0.75
"""Share of a hidden layer's units that belong to single paths, evenly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Places of the numbers of each path [K, P], in the same order for all, and of the others [G]."""

    path_KP: IntArray
    other_G: IntArray

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return int(self.path_KP.size + self.other_G.size)


def layout_of(names: Sequence[str]) -> Layout:
    """Return the layout of numbers by their names.

    Raises:
        ConfigError: There are no paths among them.
    """
    plain = [name.removeprefix("param_") for name in names]
    paths = [[i for i, name in enumerate(plain) if name.startswith(one)] for one in _PER_PATH]
    taken = {place for path in paths for place in path}
    if not taken:
        raise ConfigError(
            field="ppo.symmetric", got=True, expected="a target with interchangeable paths",
            remedy="Leave it off for this target.",
        )  # fmt: skip
    others = [place for place in range(len(names)) if place not in taken]
    return Layout(path_KP=np.array(paths), other_G=np.array(others, dtype=np.int64))


def observation_layout(spec: ObservationSpec) -> Layout:
    """Return the layout of an observation, all of its frames.

    Raises:
        ConfigError: The target has no paths.
    """
    return layout_of(spec.names * spec.frames)


def hidden_layout(units: int) -> Layout:
    """Return the layout of a hidden layer.

    >>> hidden_layout(16).path_KP.shape, hidden_layout(16).other_G.size
    ((4, 3), 4)
    """
    of_paths = MAX_PATHS * int(HIDDEN_SHARE_OF_PATHS * units / MAX_PATHS)
    return Layout(
        path_KP=np.arange(of_paths).reshape(MAX_PATHS, -1), other_G=np.arange(of_paths, units)
    )


def value_layout() -> Layout:
    """Return the layout of one number that belongs to no path."""
    return Layout(path_KP=np.zeros((MAX_PATHS, 0), dtype=np.int64), other_G=np.zeros(1, np.int64))


def weight_orbits(rows: Layout, columns: Layout) -> IntArray:
    """Return the number of the orbit of each weight [J, I] of a layer between two layouts."""
    orbit = np.zeros((rows.size, columns.size), dtype=np.int64)
    own, foreign, spread, gather, rest = _numbered(
        (rows.path_KP.shape[1], columns.path_KP.shape[1]),
        (rows.path_KP.shape[1], columns.path_KP.shape[1]),
        (rows.path_KP.shape[1], columns.other_G.size),
        (rows.other_G.size, columns.path_KP.shape[1]),
        (rows.other_G.size, columns.other_G.size),
    )
    for k, j in product(range(MAX_PATHS), repeat=2):
        block = own if k == j else foreign
        orbit[np.ix_(rows.path_KP[k], columns.path_KP[j])] = block
    for k in range(MAX_PATHS):
        orbit[np.ix_(rows.path_KP[k], columns.other_G)] = spread
        orbit[np.ix_(rows.other_G, columns.path_KP[k])] = gather
    orbit[np.ix_(rows.other_G, columns.other_G)] = rest
    return orbit


def bias_orbits(rows: Layout) -> IntArray:
    """Return the number of the orbit of each bias [J]."""
    orbit = np.zeros(rows.size, dtype=np.int64)
    per_path, rest = _numbered((rows.path_KP.shape[1],), (rows.other_G.size,))
    for places in rows.path_KP:
        orbit[places] = per_path
    orbit[rows.other_G] = rest
    return orbit


def _numbered(*shapes: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Number the entries of blocks through, without gaps."""
    blocks, first = [], 0
    for shape in shapes:
        count = int(np.prod(shape))
        blocks.append(first + np.arange(count).reshape(shape))
        first += count
    return blocks
