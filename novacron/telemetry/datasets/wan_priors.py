"""Round trips and throughput between cloud regions: priors for simulated WAN links.

Source: skyplane-project/skyplane (Apache-2.0), 78 regions of AWS, Azure and GCP.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.telemetry.datasets.adapted import Adapted, Sieve, own_table, sample_table
from novacron.telemetry.datasets.files import read_native

LATENCY_FILE: Final = "net_skyplane/latency.parquet"
THROUGHPUT_FILE: Final = "net_skyplane/throughput.parquet"

_ENDS: Final = ["src_region", "src_tier", "dst_region", "dst_tier"]


def _site(region: "pd.Series[str]", tier: "pd.Series[str]") -> "pd.Series[str]":
    # One run was published without tiers: such a site is the bare region.
    return region.astype(str) + ("/" + tier.astype(str)).where(tier.notna(), "")


def _sift_throughput(data_dir: Path) -> Sieve:
    native = ["run_time_utc", *_ENDS, "connections", "runtime_s", "sent_mbps", "recv_mbps"]
    frame = read_native(data_dir, THROUGHPUT_FILE, native)
    sieve = Sieve(frame.astype({"sent_mbps": np.float64, "recv_mbps": np.float64}))
    sieve.require_finite("run_time_utc", "recv_mbps")
    sieve.require_between("recv_mbps", 0, LINK_SCHEMA["bandwidth_mbps"].high or np.inf)
    more = sieve.kept.recv_mbps > sieve.kept.sent_mbps
    sieve.reject(more, "more received than sent")
    sieve.kept = sieve.kept.assign(
        src=_site(sieve.kept.src_region, sieve.kept.src_tier),
        dst=_site(sieve.kept.dst_region, sieve.kept.dst_tier),
    )
    return sieve


def adapt_region_throughput(data_dir: Path) -> Adapted:
    """Return each iperf3 test as a link sample: what was received, over 64 streams, in 5 s.

    `ts` is the start of the grid run, which took hours: a pair has one to four samples, not a time
    series. Pairs that one run tested twice keep the first test here and all in the pairs. A pair
    of two GCP regions may differ threefold between runs, for a reason unknown.
    """
    sieve = _sift_throughput(data_dir)
    again = sieve.kept.duplicated(["run_time_utc", "src", "dst"])
    sieve.reject(again, "second test of a pair in one run")
    kept = sieve.kept
    columns = {
        "ts": kept.run_time_utc.dt.tz_localize("UTC"),
        "link_id": kept.src + ">" + kept.dst,
        "src": kept.src,
        "dst": kept.dst,
        "bandwidth_mbps": kept.recv_mbps,
        "streams": kept.connections.astype(np.int64),
    }
    return sieve.finish(sample_table(LINK_SCHEMA, columns))


def _sift_latency(data_dir: Path) -> Sieve:
    native = ["snapshot", *_ENDS, "min_rtt_ms", "avg_rtt_ms", "max_rtt_ms", "mdev_rtt_ms"]
    frame = read_native(data_dir, LATENCY_FILE, native)
    sieve = Sieve(frame)
    sieve.require_finite("avg_rtt_ms")
    sieve.require_between("avg_rtt_ms", 0, LINK_SCHEMA["rtt_ms"].high or np.inf)
    crossed = (sieve.kept.min_rtt_ms > sieve.kept.avg_rtt_ms) | (
        sieve.kept.avg_rtt_ms > sieve.kept.max_rtt_ms
    )
    sieve.reject(crossed, "mean round trip outside its own minimum and maximum")
    sieve.require_unique("snapshot", *_ENDS)
    sieve.kept = sieve.kept.assign(
        src=_site(sieve.kept.src_region, sieve.kept.src_tier),
        dst=_site(sieve.kept.dst_region, sieve.kept.dst_tier),
    )
    return sieve


def adapt_region_latency(data_dir: Path) -> Adapted:
    """Return round trips by ping; no date was recorded, so this is no telemetry table.

    `rtt_mdev_ms` is null in most rows of one snapshot.
    """
    sieve = _sift_latency(data_dir)
    kept = sieve.kept
    columns = {
        "snapshot": kept.snapshot,
        "src": kept.src,
        "dst": kept.dst,
        "rtt_min_ms": kept.min_rtt_ms,
        "rtt_mean_ms": kept.avg_rtt_ms,
        "rtt_max_ms": kept.max_rtt_ms,
        "rtt_mdev_ms": kept.mdev_rtt_ms,
    }
    return sieve.finish(own_table(columns))


def adapt_region_pairs(data_dir: Path) -> Adapted:
    """Return one row for each pair measured both ways: median round trip and throughput.

    `throughput_cv_ratio` is the spread over repeats (standard deviation / mean), null for a single
    one. Pairs with only one of the two measurements are rejected.
    """
    speed = _sift_throughput(data_dir)
    delay = _sift_latency(data_dir)
    ends = ["src", "dst"]
    groups = speed.kept.groupby(ends, sort=True).recv_mbps
    pairs = groups.agg(["median", "size", "mean", "std"]).reset_index()
    rtt = delay.kept.groupby(ends, sort=True).avg_rtt_ms.median().reset_index()
    sieve = Sieve(pairs.merge(rtt, on=ends, how="outer", sort=True))
    sieve.reject(sieve.kept["median"].isna(), "pair without a throughput test")
    sieve.reject(sieve.kept.avg_rtt_ms.isna(), "pair without a round trip")
    kept = sieve.kept
    columns = {
        "src": kept.src,
        "dst": kept.dst,
        "rtt_median_ms": kept.avg_rtt_ms,
        "throughput_median_mbps": kept["median"],
        "throughput_cv_ratio": kept["std"] / kept["mean"],
        "throughput_tests": kept["size"].astype(np.int64),
    }
    return sieve.finish(own_table(columns))
