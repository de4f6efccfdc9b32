"""Fits the coefficients of the TCP law on one half of the measured cells, reports on the other."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize

from novacron.errors import SchemaError
from rl_envs.physics.quantities import FloatArray
from rl_envs.physics.tcp_link import DEFAULT_COEFFICIENTS, TcpCoefficients
from rl_envs.testbed.cell import Cell, Measured, predict_cell

_FLOOR_MBPS: Final = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class KindError:
    """Relative error of goodput over the cells of one kind, and how many cells there were."""

    kind: str
    median: float
    p90: float
    cells: int


def _pairs(rows: Sequence[Mapping[str, Any]], half: str) -> list[tuple[str, Cell, Measured]]:
    """Usable rows of one half: those the machine was quick enough for."""
    pairs = [
        (row["kind"], Cell(**row["cell"]), Measured(**row["measured"]))
        for row in rows
        if row["half"] == half and not row["disturbed"]
    ]
    if not pairs:
        raise SchemaError(
            field="rows",
            got=f"no usable cell in the half {half}",
            expected="at least one",
            remedy="Measure the grid on a quiet machine first.",
        )
    return pairs


def _log_errors(
    pairs: Sequence[tuple[str, Cell, Measured]], coefficients: TcpCoefficients
) -> FloatArray:
    errors = [
        np.log(
            max(predict_cell(cell, coefficients).goodput_mbps, _FLOOR_MBPS)
            / max(measured.goodput_mbps, _FLOOR_MBPS)
        )
        for _, cell, measured in pairs
    ]
    return np.array(errors)


def fit(rows: Sequence[Mapping[str, Any]]) -> TcpCoefficients:
    """Return the coefficients with the least mean absolute log error on the half `fit`.

    Each coefficient may move by a factor of three either way from its first estimate, and a share
    stays below one.

    Raises:
        SchemaError: No usable cell is in that half.
    """
    pairs = _pairs(rows, "fit")
    names = list(asdict(DEFAULT_COEFFICIENTS))
    start = np.array([getattr(DEFAULT_COEFFICIENTS, name) for name in names])
    ceiling = np.array([0.999 if name.endswith("ratio") else np.inf for name in names])

    def coefficients(shift: FloatArray) -> TcpCoefficients:
        values = np.minimum(start * np.exp(np.clip(shift, -np.log(3), np.log(3))), ceiling)
        return TcpCoefficients(**dict(zip(names, values.tolist(), strict=True)))

    found = minimize(
        lambda shift: float(np.abs(_log_errors(pairs, coefficients(shift))).mean()),
        np.zeros(len(names)),
        method="Powell",
        options={"maxiter": 20, "xtol": 1e-2},
    )
    return coefficients(np.asarray(found.x))


def report(
    rows: Sequence[Mapping[str, Any]], coefficients: TcpCoefficients = DEFAULT_COEFFICIENTS
) -> list[KindError]:
    """Return the errors per kind on the half `report`, which no fit has seen.

    Raises:
        SchemaError: No usable cell is in that half.
    """
    pairs = _pairs(rows, "report")
    errors = np.abs(np.expm1(_log_errors(pairs, coefficients)))
    result = []
    for kind in dict.fromkeys(pair[0] for pair in pairs):
        part = errors[[pair[0] == kind for pair in pairs]]
        result.append(
            KindError(
                kind=kind,
                median=float(np.median(part)),
                p90=float(np.quantile(part, 0.9)),
                cells=int(part.size),
            )
        )
    return result
