"""Counts the alert curve that the detector comes with: episodes a day at thresholds, cold start.

`python -m benchmarks.anomaly_curve` prints it for `novacron.models.anomaly.budget.DEFAULT_CURVE`:
twenty generated node metrics without faults, and the first halves of four public fleets' means. The
first three days of each only warm up: the daily features look that far back.
"""

import os
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.anomaly_counts import OURS, alert_rows, kept_surprise
from benchmarks.anomaly_sets import DAY, STEP_S, real_normal
from novacron.models.anomaly.detector import WARM_DAYS
from novacron.models.anomaly.training import generated_normal
from novacron.telemetry.datasets.files import DATA_DIR_VARIABLE, require_data_dir

THRESHOLDS: Final = (1.0, 1.25, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0)
_SEEDS: Final = (101, 102)
_DAYS: Final = 14
_NODES: Final = 2


def count_default_curve(data_dir: Path) -> tuple[dict[float, float], int, float]:
    """Return episodes per series and day at each threshold, the number of series, and the days."""
    series = {name: v[: len(v) // 2] for name, v in real_normal(data_dir).items()}
    for seed in _SEEDS:
        series |= generated_normal(seed, days=_DAYS, nodes=_NODES, step_s=STEP_S)
    scores = [
        kept_surprise(OURS, value_T, DAY, 7)[WARM_DAYS * DAY :] for value_T in series.values()
    ]
    days = sum(map(len, scores)) / DAY
    raised = {
        threshold: sum(
            len(alert_rows(STEP_S * np.arange(len(s), dtype=np.float64), s, threshold))
            for s in scores
        )
        for threshold in THRESHOLDS
    }
    return {t: round(count / days, 4) for t, count in raised.items()}, len(series), days


def main() -> int:
    """Count and print."""
    data_dir = require_data_dir(os.environ.get(DATA_DIR_VARIABLE))
    rates, series, days = count_default_curve(data_dir)
    print(f"{series} series, {days:.0f} days")  # noqa: T201 - the command's output
    print(rates)  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
