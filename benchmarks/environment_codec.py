"""The shipped codec table against this host, measured again: ratio, speed, and what choosing costs."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.results_format import Metric
from rl_envs.calibrate.codec import measure, table_of
from rl_envs.calibrate.compare import compare
from rl_envs.calibrate.corpora import host_corpora
from rl_envs.tables import codec_tables, parse_codec_tables

FRESH: Final = Path("runs/simulator/codec_fresh.json")
SEED: Final = 2
"""Another one than the shipped table's: other bytes of the same kinds."""
SIZE_BYTES: Final = 2_097_152


def fresh_table(cache: Path = FRESH) -> dict[str, Any]:
    """Measure this host, or read what an interrupted run of the benchmark has measured already."""
    if not cache.exists():
        corpora = host_corpora(SIZE_BYTES, seed=SEED)
        body = {"command": "", "seed": SEED, "date": "", "machine": "", "versions": {}}
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(".partial")
        partial.write_text(json.dumps(body | table_of(corpora, measure(corpora))))
        partial.replace(cache)
    table: dict[str, Any] = json.loads(cache.read_text())
    return table


def codec_metrics(cache: Path = FRESH) -> list[Metric]:
    """Compare the shipped table with a fresh one; the measurement is used once, then removed."""
    fresh = parse_codec_tables(fresh_table(cache))
    agreement = compare(codec_tables().curves, fresh.curves)
    regrets, cells = agreement.regrets, int(fresh.curves.ratio_CVLS.size)
    figures = (
        ("codec_ratio_error_median", agreement.ratio_error, cells),
        ("codec_speed_error_median", agreement.speed_error, cells),
        ("codec_choice_regret_median", float(np.median(regrets)), int(regrets.size)),
        ("codec_choice_regret_mean", float(regrets.mean()), int(regrets.size)),
        ("codec_choice_regret_p90", float(np.quantile(regrets, 0.9)), int(regrets.size)),
    )
    cache.unlink()
    return [
        Metric(name=name, set="this host", value=value, n=n, baseline="fresh measurement")
        for name, value, n in figures
    ]
