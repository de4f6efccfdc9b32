"""Half-hourly speed tests of one home line. Source: WizardTim/speedtest-data (CC-BY-4.0)."""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from novacron.telemetry.datasets.adapted import Adapted, Sieve
from novacron.telemetry.datasets.files import read_native
from novacron.telemetry.datasets.paths import link_table_of, sift_paths

TELSTRA_FILE: Final = "net_speedtest_telstra/speedtest.parquet"

LOCAL_OFFSET: Final = pd.Timedelta(hours=10)
"""AEST is UTC+10 the whole year: Queensland keeps no summer time."""

PING_LIMIT_MS: Final = 2000.0
"""The tool writes 1.8e6 ms when the ping failed; no valid test came near this limit."""


def sift_telstra(data_dir: Path) -> Sieve:
    """Read the valid speed tests as one path.

    The level shifts (plan upgrades) and gaps of up to two weeks are real and stay: the step of the
    trace is not even.
    """
    native = ["ts_aest", "server", "distance_km", "ping_ms", "down_mbps", "up_mbps", "valid"]
    frame = read_native(data_dir, TELSTRA_FILE, native)
    ts = (frame.ts_aest - LOCAL_OFFSET).dt.tz_localize("UTC")
    sieve = Sieve(
        pd.DataFrame(
            {
                "trace": "telstra",
                "ts": ts,
                "t_s": (ts - ts.min()).dt.total_seconds(),
                "bandwidth_mbps": frame.down_mbps.astype(np.float64),
                "rtt_ms": frame.ping_ms.astype(np.float64),
                "uplink_mbps": frame.up_mbps.astype(np.float64),
                "distance_km": frame.distance_km.astype(np.float64),
                "dst": frame.server.astype(str),
                "published_as_valid": frame.valid,
            }
        )
    )
    sieve.require_finite("ts")
    sieve.reject(sieve.kept.rtt_ms >= PING_LIMIT_MS, "ping sentinel: no answer")
    dead = (sieve.kept.bandwidth_mbps <= 0) | (sieve.kept.uplink_mbps <= 0)
    sieve.reject(dead, "a direction moved nothing")
    sieve.reject(~sieve.kept.published_as_valid, "published as not valid")
    sift_paths(sieve)
    sieve.kept = sieve.kept.drop(columns="published_as_valid")
    return sieve


def adapt_telstra(data_dir: Path) -> Adapted:
    """Return the speed tests as link samples; `dst` is the test server, which changes."""
    sieve = sift_telstra(data_dir)
    return sieve.finish(link_table_of(sieve.kept))
