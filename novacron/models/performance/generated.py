"""Generated benchmark scores, for machines without the public ones: VMs of two kinds of hosts."""

from typing import Final

import numpy as np
import pandas as pd

_BENCHMARKS: Final = (("cpu", 1000.0, 0.01), ("memory", 50_000.0, 0.03), ("disk", 3000.0, 0.2))
_SIZES: Final = ("small", "large")
_REGIONS: Final = ("north", "south")
_START: Final = pd.Timestamp("2024-01-01", tz="UTC")
_HOST_GAP: Final = 0.12
_BURST_SHARE: Final = 0.25
_BURST_RATIO: Final = 0.6
_PERIOD_S: Final = 6000.0


def generate_scores(seed: int, *, vms: int = 4, samples: int = 160) -> pd.DataFrame:
    """Return scores in the columns of `novacron.telemetry.datasets.vm.adapt_azure_noise`.

    Each VM lives on one of two kinds of hosts, drifts slowly, and now and then moves to another
    host. Disks are slow where they were used shortly before, as where credits have run out.

    Args:
        seed: Same seed, same bytes.
        vms: VMs of each size and region.
        samples: Scores of each benchmark and VM.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for size in _SIZES:
        for region in _REGIONS:
            for vm in range(vms):
                for place, (benchmark, level, noise) in enumerate(_BENCHMARKS):
                    host = rng.integers(2, size=1 + samples // 60)
                    kind = np.repeat(host, 60)[:samples]
                    drift = np.cumsum(rng.normal(0, noise / 20, samples))
                    typical = level * (2.0 if size == "large" else 1.0)
                    score = typical * (
                        1 + _HOST_GAP * kind + drift + rng.normal(0, noise, samples)
                    )
                    gap_s = _PERIOD_S * rng.uniform(0.5, 1.5, samples)
                    if benchmark == "disk":
                        spent = rng.random(samples) < _BURST_SHARE
                        score = np.where(spent, score * _BURST_RATIO, score)
                        gap_s = np.where(spent, gap_s / 4, gap_s)
                    ts = _START + pd.to_timedelta(np.cumsum(gap_s) + 100 * place, unit="s")
                    frames.append(
                        pd.DataFrame(
                            {
                                "series_id": f"{benchmark}|{region}|{size}|{vm}",
                                "test": benchmark,
                                "region": region,
                                "vm_size": size,
                                "ts": ts.astype("datetime64[us, UTC]"),
                                "score": np.maximum(score, 0.05 * level),
                                "score_unit": "score",
                            }
                        )
                    )
    return pd.concat(frames, ignore_index=True)
