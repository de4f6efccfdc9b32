"""The cells that are measured, what kind each is, and on which half it is fitted or reported.

Cells come in groups that differ in nothing but the number of streams: what a sender gains by
choosing it well is read off a group. A group is on one half as a whole.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from rl_envs.testbed.cell import Cell

Half = Literal["fit", "report"]
Kind = Literal[
    "loss_limited", "saturated", "shallow_buffer", "cross_traffic", "window_limited", "compressed"
]

SEEDS: Final = (1, 2)
LOSSY_SEEDS: Final = (1, 2, 3, 4)
"""Cells whose figure hangs on the losses that few streams happen to meet take more."""
DURATION_S: Final = 46.0
"""Five seconds of warm-up and 41 that count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GridCell:
    """A cell with what it tests, and whether coefficients may be fitted on it."""

    kind: Kind
    half: Half
    cell: Cell


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """Cells that differ only in their streams."""

    kind: Kind
    cell: Cell
    streams: tuple[int, ...]


def _group(
    kind: Kind,
    algorithm: str,
    capacity_mbps: float,
    rtt_ms: float,
    streams: tuple[int, ...],
    **others: Any,
) -> _Group:
    """Cells of one link: one BDP of buffer, no loss and nobody else on it unless said."""
    link: dict[str, Any] = {
        "loss_ratio": 0.0, "burst_pkts": 1.0, "buffer_bdp": 1.0, "cross_flows": 0,
        "window_bytes": None,
    }  # fmt: skip
    cell = Cell(
        capacity_mbps=float(capacity_mbps), rtt_ms=float(rtt_ms), algorithm=algorithm, streams=1,
        duration_s=DURATION_S, seed=1, **(link | others),
    )  # fmt: skip
    return _Group(kind=kind, cell=cell, streams=streams)


# Loss-limited groups whose last cells fill the link belong to the group all the same.
_GROUPS: Final = (
    _group("loss_limited", "cubic", 100, 200, (1, 4, 16, 64), loss_ratio=0.01),
    _group("loss_limited", "cubic", 100, 80, (1, 4, 16, 64), loss_ratio=0.001),
    _group("loss_limited", "cubic", 50, 40, (1, 4, 16), loss_ratio=0.01),
    _group("loss_limited", "cubic", 20, 100, (1, 4, 16), loss_ratio=0.02),
    _group("loss_limited", "cubic", 100, 20, (1, 4, 16), loss_ratio=0.02),
    _group("loss_limited", "cubic", 50, 160, (1, 4, 16, 64), loss_ratio=0.005, burst_pkts=4),
    _group("loss_limited", "cubic", 80, 120, (1, 8, 32), loss_ratio=0.02, burst_pkts=8),
    _group("loss_limited", "cubic", 50, 60, (1, 4), loss_ratio=0.001, burst_pkts=2),
    _group("loss_limited", "cubic", 50, 100, (1, 4, 16), loss_ratio=0.01, burst_pkts=8),
    _group("loss_limited", "cubic", 100, 40, (1, 4), loss_ratio=0.005, burst_pkts=4),
    _group("loss_limited", "reno", 50, 60, (1, 8), loss_ratio=0.01, burst_pkts=4),
    _group("loss_limited", "cubic", 100, 200, (1, 4), loss_ratio=0.002),
    _group("loss_limited", "reno", 50, 80, (1, 4, 16), loss_ratio=0.005),
    _group("loss_limited", "reno", 100, 200, (1, 4, 16), loss_ratio=0.001, burst_pkts=4),
    _group("loss_limited", "reno", 30, 40, (1, 4), loss_ratio=0.02),
    _group("saturated", "cubic", 100, 80, (1, 4, 16, 64)),
    _group("saturated", "cubic", 20, 20, (1, 4, 16, 64)),
    _group("saturated", "cubic", 50, 200, (1, 4, 16)),
    _group("saturated", "cubic", 50, 40, (1, 8), buffer_bdp=2),
    _group("saturated", "reno", 50, 40, (1, 4, 16)),
    _group("saturated", "bbr", 100, 80, (1, 4, 16, 64)),
    _group("saturated", "bbr", 20, 20, (1, 4, 16)),
    _group("saturated", "bbr", 50, 200, (1, 4, 16)),
    _group("saturated", "bbr", 50, 60, (1, 8), buffer_bdp=3),
    _group("saturated", "bbr", 100, 200, (1, 4, 16), loss_ratio=0.01),
    _group("saturated", "bbr", 50, 40, (1, 8), loss_ratio=0.02),
    _group("saturated", "bbr", 20, 80, (1, 16), loss_ratio=0.005, burst_pkts=4),
    _group("shallow_buffer", "cubic", 100, 80, (1, 4, 16, 64), buffer_bdp=0.1),
    _group("shallow_buffer", "cubic", 50, 40, (1, 4, 16), buffer_bdp=0.3),
    _group("shallow_buffer", "cubic", 20, 200, (1, 8), buffer_bdp=0.15),
    _group("shallow_buffer", "cubic", 20, 60, (1, 4, 16), buffer_bdp=0.1),
    _group("shallow_buffer", "cubic", 100, 40, (1, 8), buffer_bdp=0.2),
    _group("shallow_buffer", "reno", 50, 80, (1, 4), buffer_bdp=0.1),
    _group("shallow_buffer", "reno", 20, 40, (1, 8), buffer_bdp=0.2),
    _group("shallow_buffer", "bbr", 100, 80, (1, 4, 16), buffer_bdp=0.1),
    _group("shallow_buffer", "bbr", 50, 40, (1, 8), buffer_bdp=0.3),
    _group("shallow_buffer", "bbr", 20, 100, (1, 4), buffer_bdp=0.2),
    _group("cross_traffic", "cubic", 100, 80, (1, 4, 16, 64), cross_flows=4),
    _group("cross_traffic", "cubic", 50, 40, (1, 4, 16), cross_flows=2),
    _group("cross_traffic", "cubic", 20, 100, (1, 4, 16), cross_flows=8),
    _group("cross_traffic", "cubic", 50, 160, (1, 4), cross_flows=4),
    _group("cross_traffic", "cubic", 50, 80, (1, 4, 16), cross_flows=4, loss_ratio=0.005),
    _group("cross_traffic", "reno", 50, 80, (1, 4), cross_flows=4),
    _group("cross_traffic", "reno", 20, 100, (1, 4), cross_flows=2),
    _group("cross_traffic", "bbr", 100, 80, (1, 4, 16), cross_flows=4),
    _group("cross_traffic", "bbr", 50, 40, (1, 4), cross_flows=2),
    _group("cross_traffic", "bbr", 20, 100, (1, 4), cross_flows=8),
    _group("cross_traffic", "bbr", 50, 80, (1, 4), cross_flows=4, buffer_bdp=3),
    _group("window_limited", "cubic", 100, 100, (1, 4), window_bytes=131_072),
    _group("window_limited", "cubic", 50, 160, (1, 4), window_bytes=262_144),
    _group("window_limited", "bbr", 100, 60, (1, 2), window_bytes=262_144),
    _group("compressed", "cubic", 20, 40, (4,), codec="zstd-3"),
    _group("compressed", "cubic", 50, 80, (4,), codec="lz4-1"),
    _group("compressed", "bbr", 50, 100, (2,), codec="zstd-6", loss_ratio=0.005),
    _group("compressed", "cubic", 100, 40, (8,), codec="zstd-9"),
)


def grid() -> list[GridCell]:
    """Return every cell with its kind and half, one seed each.

    Groups of one kind and congestion control, with single losses or with bursts, are dealt out to
    the two halves in turn, in an order that a digest decides.
    """
    strata: defaultdict[tuple[Kind, str, bool], list[_Group]] = defaultdict(list)
    for group in _GROUPS:
        bursty = group.cell.burst_pkts > 1.0
        strata[(group.kind, group.cell.algorithm, bursty)].append(group)
    return [
        GridCell(
            kind=kind,
            half="fit" if rank % 2 == 0 else "report",
            cell=replace(group.cell, streams=streams),
        )
        for (kind, _, _), groups in strata.items()
        for rank, group in enumerate(sorted(groups, key=_digest))
        for streams in group.streams
    ]


def _digest(group: _Group) -> bytes:
    """Order that has nothing to do with what is measured, and never changes."""
    return hashlib.sha256(json.dumps(asdict(group.cell), sort_keys=True).encode()).digest()


def group_key(cell: Cell) -> str:
    """Return what cells of one group have in common: everything but streams and seed."""
    return json.dumps(asdict(replace(cell, streams=1, seed=1)), sort_keys=True)


def expand(cells: Sequence[GridCell]) -> list[GridCell]:
    """Return the cells once per seed, every seed of all cells before the next."""
    return [
        replace(planned, cell=replace(planned.cell, seed=seed))
        for seed in LOSSY_SEEDS
        for planned in cells
        if seed in SEEDS or planned.kind == "loss_limited"
    ]
