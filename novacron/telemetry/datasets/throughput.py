"""Throughput traces: FCC broadband, HSDPA, Oboe and Puffer sessions, and the door to all traces.

Sources: FCC Measuring Broadband America; Riiser et al., MMSys 2013 (HSDPA); Akhtar et al.,
SIGCOMM 2018 (Oboe); Yan et al., NSDI 2020 (Puffer).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from novacron.errors import DatasetNotFoundError, OutOfRangeError
from novacron.telemetry.datasets.adapted import Adapted, Sieve
from novacron.telemetry.datasets.broadband import TELSTRA_FILE, sift_telstra
from novacron.telemetry.datasets.cellular import (
    FIVE_G_FILE,
    LTE_FILE,
    sift_five_g_downloads,
    sift_lte,
)
from novacron.telemetry.datasets.files import read_native
from novacron.telemetry.datasets.paths import link_table_of, sift_paths, traces_of
from novacron.telemetry.traces import Trace

FOLDER: Final = "net_tput_traces"
FILES: Final[Mapping[str, str]] = {
    name: f"{FOLDER}/{stem}.parquet"
    for name, stem in {
        "fcc": "fcc",
        "hsdpa": "hsdpa",
        "oboe": "oboe",
        "puffer_train": "puffer211017_train",
        "puffer_test": "puffer211017_test",
    }.items()
}

LOWEST_PUFFER_SESSION_MBPS: Final = 2.4
"""Sessions were published only above this mean (0.30 MB/s), which tells the unit of a file."""


def sift_throughput(data_dir: Path, set_name: str) -> Sieve:
    """Read one of `FILES` as a frame of paths; the trace number becomes `<set>-<number>`.

    Raises:
        OutOfRangeError: A Puffer file is still in MB/s, as its publisher writes it.
    """
    frame = read_native(data_dir, FILES[set_name], ["trace", "t_s", "mbps"])
    if set_name.startswith("puffer"):
        _require_megabits(frame, FILES[set_name])
    numbers = frame.trace.astype(str).str.zfill(4)
    # Times carry two decimals; as float32 they stray by up to 1e-4 s.
    sieve = Sieve(
        pd.DataFrame(
            {
                "trace": set_name + "-" + numbers,
                "t_s": frame.t_s.astype(np.float64).round(2),
                "bandwidth_mbps": frame.mbps.astype(np.float64),
            }
        )
    )
    sift_paths(sieve)
    return sieve


def _require_megabits(frame: pd.DataFrame, file: str) -> None:
    # In MB/s the poorest sessions lie at 0.30; half the Mbit/s floor separates the two for sure.
    poorest = float(frame.groupby("trace").mbps.mean().min())
    if poorest < LOWEST_PUFFER_SESSION_MBPS / 2:
        raise OutOfRangeError(
            field=f"{file}: mbps",
            got=f"a session mean of {poorest:.2f}",
            expected=f"session means of at least {LOWEST_PUFFER_SESSION_MBPS} Mbit/s",
            remedy="The published files are in MB/s: multiply them by 8.",
        )


def adapt_throughput(data_dir: Path, set_name: str) -> Adapted:
    """Return the sessions of a file as link samples; there is no clock, so the start is nominal."""
    sieve = sift_throughput(data_dir, set_name)
    return sieve.finish(link_table_of(sieve.kept))


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceSet:
    """A named set of traces: its path class, its native file and how to read that."""

    path_class: str
    file: str
    sift: Callable[[Path], Sieve]


def _throughput_set(name: str) -> TraceSet:
    return TraceSet(
        path_class="puffer" if name.startswith("puffer") else name,
        file=FILES[name],
        sift=partial(sift_throughput, set_name=name),
    )


TRACE_SETS: Final[Mapping[str, TraceSet]] = {name: _throughput_set(name) for name in FILES} | {
    "lte": TraceSet(path_class="lte", file=LTE_FILE, sift=sift_lte),
    "5g": TraceSet(path_class="5g", file=FIVE_G_FILE, sift=sift_five_g_downloads),
    "telstra": TraceSet(path_class="telstra", file=TELSTRA_FILE, sift=sift_telstra),
}


def load_traces(data_dir: Path, set_name: str) -> tuple[Trace, ...]:
    """Return the traces of one set, in the order of its file (by date where it has dates).

    Args:
        data_dir: Folder with one sub-folder per data set.
        set_name: One of `TRACE_SETS`: fcc, hsdpa, oboe, puffer_train, puffer_test, lte, 5g,
            telstra.

    Raises:
        DatasetNotFoundError: No such set, or its file is not there.
    """
    chosen = trace_set(set_name)
    return traces_of(chosen.sift(data_dir).kept, chosen.path_class)


def trace_files(data_dir: Path, set_name: str) -> tuple[Path, ...]:
    """Return the native files behind a set of traces, for `data_sha256`."""
    return (data_dir / trace_set(set_name).file,)


def trace_set(set_name: str) -> TraceSet:
    """Return the set of that name.

    Raises:
        DatasetNotFoundError: No such set; the message names the nearest and lists all.
    """
    if set_name not in TRACE_SETS:
        near = get_close_matches(set_name, TRACE_SETS, n=1)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        raise DatasetNotFoundError(
            f"There is no trace set {set_name!r}.",
            remedy=f"{guess}Known: {', '.join(TRACE_SETS)}.",
        )
    return TRACE_SETS[set_name]
