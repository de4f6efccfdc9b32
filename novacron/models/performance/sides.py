"""What training may see of a table of scores, and what figures are taken from.

Legend: N rows of the table.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.performance.parts import cut_in_time
from novacron.models.performance.scores_table import ScoreTable

Mask = NDArray[np.bool_]

_FEWEST_VMS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """Rows to train on, and later rows of known and of unseen VMs."""

    early: Mask
    known: Mask
    unseen: Mask


def split_sides(
    table: ScoreTable, *, held_out_vms: int, test_share: float, purge_samples: int
) -> Sides:
    """Hold the latest part back, and of each size and region with three VMs or more some VMs."""
    held = held_out(table, held_out_vms)
    early, late = cut_in_time(table, test_share, purge_samples)
    return Sides(early=early & ~held, known=late & ~held, unseen=late & held)


def held_out(table: ScoreTable, vms: int) -> Mask:
    """Return the rows of the VMs that training never sees, chosen by the hash of their names."""
    places: dict[str, list[int]] = {}
    for number, name in enumerate(table.vm_names):
        places.setdefault(name.rsplit("|", 1)[0], []).append(number)
    chosen: list[int] = []
    for own in places.values():
        if len(own) >= _FEWEST_VMS:
            ordered = sorted(
                own, key=lambda n: hashlib.sha256(table.vm_names[n].encode()).hexdigest()
            )
            chosen += ordered[: min(vms, len(own) - _FEWEST_VMS + 1)]
    return np.isin(table.vm_N, chosen)
