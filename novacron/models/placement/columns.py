"""From factors to the columns that the models see: one function for training and for requests.

Legend: N rows, F factors, C columns. A column holds a factor's value, or 0 where it is absent, and
a second column says whether it is there; scikit-learn's trees take no NaN. A factor that was never
there in training has no column at all.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.errors import SchemaError
from novacron.models.placement.ages import AGE_EDGES_S, GRID_S
from novacron.models.placement.factors import FACTORS, NAMES, PLACE, factor
from novacron.models.placement.fleet import Fleet
from novacron.models.placement.lifetimes import NAMES as LIFETIME_NAMES
from novacron.models.placement.workload import RESOURCES, Workload

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLUMNS_VERSION: Final = 1
"""Raised when the meaning of a column changes."""
ASKED: Final = tuple(f"asked_{name}" for name in RESOURCES)
DERIVED: Final = ("cpu_left_ratio", "memory_left_ratio")
"""Free cores and memory after the placement, over what is free before."""
RAW: Final = (*NAMES, *ASKED, *DERIVED)
IS_GIVEN: Final = "__given"


def placement_fingerprint() -> str:
    """Return 64 hex digits that change with the factor table or the columns."""
    content = {
        "factors": [
            (one.name, one.category, one.kind, one.side, one.unit, one.values) for one in FACTORS
        ],
        "raw": RAW,
        "lifetimes": LIFETIME_NAMES,
        "ages": AGE_EDGES_S.tolist(),
        "grid": GRID_S.tolist(),
        "version": COLUMNS_VERSION,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def raw_rows(factor_NF: Floats, amount_NR: Floats) -> Floats:
    """Return factors, amounts and what follows from both, NaN where absent."""
    free_N2 = factor_NF[:, [PLACE["cpu_cores_available"], PLACE["memory_available"]]]
    left_N2 = 1 - amount_NR[:, :2] / np.maximum(free_N2, 1e-9)
    return np.column_stack([factor_NF, amount_NR, np.clip(left_N2, -1, 1)])


def request_rows(fleet: Fleet, workload: Workload, rows_C: Ints) -> Floats:
    """Return the raw rows of one workload on some nodes."""
    factor_CF = fleet.factor_HF[rows_C].copy()
    for name, value in workload.factors.items():
        place = PLACE[name]
        factor_CF[:, place] = FACTORS[place].encode(value)
    amount_CR = np.tile(np.array(workload.amounts), (len(rows_C), 1))
    return raw_rows(factor_CF, amount_CR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Which raw columns the models see, and which of them have a second one."""

    valued: tuple[str, ...]
    flagged: tuple[str, ...]

    @classmethod
    def of(cls, raw_NR: Floats, *, may_be_absent: bool = True) -> Self:
        """Take the columns that are there in some training row.

        `may_be_absent` gives every optional factor its second column.
        """
        given_NR = np.isfinite(raw_NR)
        valued = [name for place, name in enumerate(RAW) if given_NR[:, place].any()]
        optional = [name for name in valued if name in PLACE and not factor(name).is_required]
        return cls(valued=tuple(valued), flagged=tuple(optional) if may_be_absent else ())

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of each column."""
        return (*self.valued, *(name + IS_GIVEN for name in self.flagged))

    def matrix(self, raw_NR: Floats) -> Floats:
        """Return the columns of raw rows.

        Raises:
            SchemaError: A factor is absent that never was in training.
        """
        value_NC = raw_NR[:, [RAW.index(name) for name in self.valued]]
        given_NC = np.isfinite(value_NC)
        always = [place for place, name in enumerate(self.valued) if name not in self.flagged]
        lost = [self.valued[place] for place in always if not given_NC[:, place].all()]
        if lost:
            raise SchemaError(
                field=lost[0],
                got="nothing",
                expected="a value: it was never absent in training",
                remedy="Give it, or train with a higher absent_ratio.",
            )
        flags = [place for place, name in enumerate(self.valued) if name in self.flagged]
        return np.column_stack(
            [np.where(given_NC, value_NC, 0.0), given_NC[:, flags].astype(np.float64)]
        )

    def by_factor(self, share_NC: Floats) -> tuple[tuple[str, ...], Floats]:
        """Add up the contributions of a factor's two columns."""
        total_NV = share_NC[:, : len(self.valued)].copy()
        for place, name in enumerate(self.flagged, start=len(self.valued)):
            total_NV[:, self.valued.index(name)] += share_NC[:, place]
        return self.valued, total_NV

    def to_dict(self) -> dict[str, list[str]]:
        """Return what a bundle stores."""
        return {"valued": list(self.valued), "flagged": list(self.flagged)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, list[str]]) -> Self:
        """Read them back.

        Raises:
            SchemaError: A column is none of this code's.
        """
        unknown = (set(stored["valued"]) | set(stored["flagged"])) - set(RAW)
        if unknown:
            raise SchemaError(field="columns", got=sorted(unknown), expected="known columns")
        return cls(valued=tuple(stored["valued"]), flagged=tuple(stored["flagged"]))
