"""Cellular links: LTE and UMTS capacity by delivery opportunities, 5G downloads by phone.

Sources: Winstein et al., NSDI 2013 (saturator traces, shipped with mahimahi); Raca et al.,
MMSys 2020 (5G, Ireland).
"""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from novacron.telemetry.datasets.adapted import Adapted, Sieve
from novacron.telemetry.datasets.files import read_native
from novacron.telemetry.datasets.paths import link_table_of, sift_paths

LTE_FILE: Final = "net_mahimahi/lte_100ms.parquet"
FIVE_G_FILE: Final = "net_5g_ucc/kpi_1s.parquet"

SLOTS_PER_SECOND: Final = 10
"""The LTE file counts delivery opportunities in slots of 100 ms."""

LOCAL_ZONE: Final = "Europe/Dublin"
"""Zone of the 5G phones' clock: equal to UTC in winter, an hour ahead in summer."""

RADIO_COLUMNS: Final = ("speed_kmh", "rsrp_dbm", "rsrq_db", "snr_db", "cqi", "rssi_dbm")
_PING_COLUMNS: Final = ("ping_avg_ms", "ping_std_ms", "ping_loss_pct")

LOWEST_RSRP_DBM: Final = -140.0
"""3GPP TS 36.133 reports RSRP down to -140 dBm; the app writes -200 for none, averages lie between."""

HIGHEST_RSRQ_DB: Final = 2.5
"""3GPP TS 36.133 reports RSRQ up to 2.5 dB; a positive 7 is no measurement."""


def sift_lte(data_dir: Path) -> Sieve:
    """Read link capacity as one-second means of ten 100 ms slots.

    The rate is what the link could deliver, not what an application used. A second with fewer than
    ten slots (the end of a file) is rejected: its mean would cover another span.
    """
    frame = read_native(data_dir, LTE_FILE, ["trace", "slot", "mbps"])
    slots = Sieve(frame.assign(mbps=frame.mbps.astype(np.float64)))
    slots.require_finite("mbps")
    slots.require_unique("trace", "slot")
    kept = slots.kept.assign(second=slots.kept.slot // SLOTS_PER_SECOND)
    in_second = kept.groupby(["trace", "second"], sort=False).slot.transform("size")
    slots.reject(in_second < SLOTS_PER_SECOND, "second with fewer than ten slots")
    kept = kept.loc[slots.kept.index]
    means = kept.groupby(["trace", "second"], sort=False).mbps.mean().reset_index()
    seconds = Sieve(
        pd.DataFrame(
            {
                "trace": means.trace.astype(str),
                "t_s": means.second.astype(np.float64),
                "bandwidth_mbps": means.mbps,
            }
        )
    )
    sift_paths(seconds)
    seconds.rejected = slots.rejected | seconds.rejected
    return seconds


def adapt_lte(data_dir: Path) -> Adapted:
    """Return the LTE and UMTS capacity as link samples of one second, from a nominal start."""
    sieve = sift_lte(data_dir)
    return sieve.finish(link_table_of(sieve.kept))


def sift_five_g(data_dir: Path) -> Sieve:
    """Read all 5G measurements; `ping` columns become rtt, loss and jitter where present.

    Ping is there in about one row of twelve of the Download traces and missing elsewhere. Where
    every ping was lost there is a loss ratio of 1 and no round trip.
    """
    native = ["trace", "ts", "dl_kbps", "ul_kbps", *RADIO_COLUMNS, *_PING_COLUMNS]
    frame = read_native(data_dir, FIVE_G_FILE, [*native, "mode", "app", "mobility", "state"])
    clock = frame.ts.dt.tz_localize(LOCAL_ZONE, ambiguous="NaT", nonexistent="NaT")
    ts = clock.dt.tz_convert("UTC")
    numbers = frame[[*RADIO_COLUMNS, *_PING_COLUMNS, "dl_kbps", "ul_kbps"]].astype(np.float64)
    paths = pd.DataFrame(
        {
            "trace": frame.trace.astype(str),
            "ts": ts,
            "t_s": (ts - ts.groupby(frame.trace).transform("min")).dt.total_seconds(),
            "bandwidth_mbps": numbers.dl_kbps / 1e3,
            "rtt_ms": numbers.ping_avg_ms,
            "loss_ratio": numbers.ping_loss_pct / 100,
            "jitter_ms": numbers.ping_std_ms,
            "uplink_mbps": numbers.ul_kbps / 1e3,
        }
    ).join(numbers[list(RADIO_COLUMNS)])
    paths = paths.join(frame[["mode", "app", "mobility", "state"]].astype(str))
    sieve = Sieve(paths.rename(columns={"mode": "radio"}))
    sieve.require_finite("ts")
    sieve.mask("rsrp_dbm", sieve.kept.rsrp_dbm < LOWEST_RSRP_DBM, "rsrp_dbm below -140")
    sieve.mask("rsrq_db", sieve.kept.rsrq_db > HIGHEST_RSRQ_DB, "rsrq_db above 2.5")
    sift_paths(sieve)
    return sieve


def sift_five_g_downloads(data_dir: Path) -> Sieve:
    """Read the 5G traces of app Download, by date: the bandwidth signal.

    The video traces are limited by the player, not by the link, and are set aside.
    """
    sieve = sift_five_g(data_dir)
    sieve.reject(sieve.kept.app != "Download", "app other than Download: limited by the player")
    return sieve


def adapt_five_g(data_dir: Path) -> Adapted:
    """Return the 5G downloads as link samples."""
    sieve = sift_five_g_downloads(data_dir)
    return sieve.finish(link_table_of(sieve.kept))
