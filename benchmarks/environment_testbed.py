"""How near the simulator's TCP law is to real TCP: errors and regrets from the table that ships.

Needs no root: the cells were measured by `make testbed`. All figures are on the half of the cells
that no coefficient was fitted on; the other half stands beside them.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.results_format import Metric
from rl_envs.tables import codec_tables, testbed_rows
from rl_envs.testbed.cell import Cell, predict_cell
from rl_envs.testbed.fit import Choice, MeasuredCell, choices, errors_of, measured_cells, of_half
from rl_envs.testbed.grid import group_key

FloatArray = NDArray[np.float64]

RESAMPLES: Final = 1000
POOLED: Final = ("shallow_buffer", "cross_traffic")
"""Kinds whose goal is one figure over both."""


def table_cells() -> list[MeasuredCell]:
    """Return the measured cells of the shipped table."""
    return measured_cells(testbed_rows())


def interval(
    values: FloatArray, figure: Callable[[FloatArray], float]
) -> tuple[float, float, float]:
    """Return a figure and its 95 % bootstrap interval over `values`."""
    rng = np.random.default_rng(3)
    drawn = [figure(rng.choice(values, values.size)) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return figure(values), float(low), float(high)


def _median(values: FloatArray) -> float:
    return float(np.median(values))


def _p90(values: FloatArray) -> float:
    return float(np.quantile(values, 0.9))


def _metric(
    name: str, group: str, values: FloatArray, figure: Callable[[FloatArray], float], beside: str
) -> Metric:
    value, low, high = interval(values, figure)
    return Metric(
        name=name, set=group, value=value, lo=low, hi=high, n=values.size, baseline=beside
    )


def fidelity_metrics(cells: list[MeasuredCell]) -> list[Metric]:
    """Return the errors of goodput, round trip and retransmissions per kind of cell."""
    halves = {}
    for half in ("report", "fit"):
        mine = of_half(cells, half)
        halves[half] = (np.array([cell.kind for cell in mine]), errors_of(mine), mine)
    kinds, errors, mine = halves["report"]
    spreads = np.array([cell.spread for cell in mine])
    metrics = []
    groups: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in dict.fromkeys(kinds.tolist())}
    groups["+".join(POOLED)] = POOLED
    for group, members in groups.items():
        chosen = np.isin(kinds, members)
        fitted = np.isin(halves["fit"][0], members)
        fit_goodput = np.abs(halves["fit"][1]["steady_goodput_mbps"][fitted])
        goodput = np.abs(errors["steady_goodput_mbps"][chosen])
        beside = (
            f"{_median(fit_goodput):.3f} on the half fitted; seeds {_median(spreads[chosen]):.3f}"
        )
        metrics += [
            _metric("goodput_error_median", group, goodput, _median, beside),
            _metric(
                "goodput_error_p90", group, goodput, _p90, f"{_p90(fit_goodput):.3f} on the half fitted"
            ),
            _metric(
                "whole_run_goodput_error_median", group,
                np.abs(errors["goodput_mbps"][chosen]), _median, "measured, start included",
            ),
            _metric(
                "srtt_error_median", group, np.abs(errors["srtt_ms"][chosen]), _median, "measured"
            ),
            _metric(
                "retransmit_error_median_points", group,
                100.0 * np.abs(errors["steady_retransmit_ratio"][chosen]), _median, "measured",
            ),
        ]  # fmt: skip
    return metrics


def compressed_metrics() -> list[Metric]:
    """Return the error of the rate of plain bytes over compressed streams.

    Law and codec table together: wire rate times the ratio that the table has for logs of this
    style in these chunks, against bytes that arrived times the ratio the sender saw.
    """
    curves = codec_tables().curves
    logs = curves.corpora.index("logs_json")
    errors = []
    for row in testbed_rows():
        if row["kind"] != "compressed":
            continue
        cell = Cell(**row["cell"])
        point = curves.at(
            np.array([logs]),
            np.array([0]),
            np.array([curves.codecs.index(cell.codec)]),
            np.array([float(cell.chunk_bytes)]),
        )
        law = predict_cell(cell).steady_goodput_mbps * float(point.ratio[0])
        seen = row["measured"]["steady_goodput_mbps"] * row["measured"]["encode_ratio"]
        errors.append(abs(np.log(law / seen)))
    return [
        _metric(
            "compressed_user_goodput_error_median", "zstd and lz4 streams", np.array(errors),
            _median, "measured, law and codec table together",
        )
    ]  # fmt: skip


def choice_metrics(cells: list[MeasuredCell]) -> list[Metric]:
    """Return what choosing the number of streams by the law loses, beside fixed numbers."""
    metrics = []
    chosen = choices(cells)
    for group, rows in (
        ("report", [row for row in chosen if row.half == "report"]),
        ("all cells", chosen),
    ):
        regrets = np.array([row.regret for row in rows])
        beside = "; ".join(
            f"always {which}: {_median(fixed):.3f} / {_p90(fixed):.3f}"
            for which, fixed in _fixed_regrets(cells, rows).items()
        )
        metrics += [
            _metric("choice_regret_median", group, regrets, _median, beside),
            _metric("choice_regret_p90", group, regrets, _p90, beside),
        ]
    return metrics


def _fixed_regrets(cells: list[MeasuredCell], rows: list[Choice]) -> dict[str, FloatArray]:
    """Regret of always taking the fewest and the most streams that a group has."""
    seen: dict[str, dict[int, float]] = {}
    for cell in cells:
        rates = seen.setdefault(group_key(cell.cell), {})
        rates[cell.cell.streams] = cell.figures["steady_goodput_mbps"]
    groups = [seen[row.group] for row in rows]
    return {
        "fewest": np.array([1.0 - rates[min(rates)] / max(rates.values()) for rates in groups]),
        "most": np.array([1.0 - rates[max(rates)] / max(rates.values()) for rates in groups]),
    }
