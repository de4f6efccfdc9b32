"""What is known when a performance value is asked for: own past, peers, covariates.

Legend: N rows (one forecast each), T own samples (newest last), M samples of peers (newest last),
E extra channels. Samples that are not there are NaN, names that are not known -1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """Rows of known things. Clocks are seconds before the moment of asking, or Unix seconds.

    `benchmark_N`, `size_N`, `region_N` and `previous_N` are places in the names of a model.
    `own_vm_N` is the place of the VM among those of its training, -1 for any other; it only keeps
    a VM out of its own prior.
    """

    own_NT: Floats
    own_age_NT: Floats
    peer_NM: Floats
    peer_age_NM: Floats
    peer_vm_NM: Ints
    benchmark_N: Ints
    size_N: Ints
    region_N: Ints
    previous_N: Ints
    own_vm_N: Ints
    idle_N: Floats
    """Seconds since the VM last began any benchmark."""
    asked_N: Floats
    """Unix seconds of the forecast value, or NaN."""
    extra_NTE: Floats

    def __len__(self) -> int:
        return len(self.benchmark_N)

    @property
    def counts(self) -> Ints:
        """Own samples of each row."""
        return np.asarray(np.isfinite(self.own_NT).sum(axis=1), dtype=np.int64)

    def take(self, rows: NDArray[np.generic]) -> Self:
        """Return the rows at these positions, or where a mask is true."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def shortened(self, keep_N: Ints) -> Self:
        """Return the rows with only the newest `keep_N` own samples, as a new VM would have."""
        steps = self.own_NT.shape[1]
        gone_NT = np.arange(steps)[None, :] < (steps - keep_N)[:, None]
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["own_NT"] = np.where(gone_NT, np.nan, self.own_NT)
        values["own_age_NT"] = np.where(gone_NT, np.nan, self.own_age_NT)
        return type(self)(**values)


def join(parts: Sequence[Context]) -> Context:
    """Put the rows of several contexts of equal widths together."""
    return Context(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Context)}
    )


def blank(rows: int, *, history: int, peers: int, extras: int = 0, steps: int = 0) -> Context:
    """Return rows of which nothing is known, to be filled by `dataclasses.replace`."""
    unknown_N = np.full(rows, -1, dtype=np.int64)
    missing_N = np.full(rows, np.nan)
    return Context(
        own_NT=np.full((rows, history), np.nan),
        own_age_NT=np.full((rows, history), np.nan),
        peer_NM=np.full((rows, peers), np.nan),
        peer_age_NM=np.full((rows, peers), np.nan),
        peer_vm_NM=np.full((rows, peers), -1, dtype=np.int64),
        benchmark_N=unknown_N,
        size_N=unknown_N,
        region_N=unknown_N,
        previous_N=unknown_N,
        own_vm_N=unknown_N,
        idle_N=missing_N,
        asked_N=missing_N,
        extra_NTE=np.full((rows, steps, extras), np.nan),
    )
