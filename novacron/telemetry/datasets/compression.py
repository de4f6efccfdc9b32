"""Measured ratio and speed of zstd and lz4 by level, chunk and kind of data."""

from pathlib import Path
from typing import Final

import numpy as np

from novacron.telemetry.datasets.adapted import Adapted, Sieve, own_table
from novacron.telemetry.datasets.files import read_native

CURVES_FILE: Final = "bytes_compress/curves.parquet"

_NATIVE: Final = {
    "corpus": "corpus",
    "codec": "codec",
    "level": "level",
    "chunk_kib": "chunk_kib",
    "bytes_in": "input_bytes",
    "bytes_out": "output_bytes",
    "ratio_p10": "chunk_ratio_p10_x",
    "ratio_p50": "chunk_ratio_p50_x",
    "ratio_p90": "chunk_ratio_p90_x",
    "comp_mb_s": "compress_mb_s",
    "decomp_mb_s": "decompress_mb_s",
    "delta_dt_s": "delta_age_s",
    "dirty_frac": "dirty_page_ratio",
    "changed_byte_frac": "changed_byte_ratio",
}
_TOLERANCE: Final = 1e-3


def adapt_curves(data_dir: Path) -> Adapted:
    """Return the measured points; `ratio_x` is bytes in / bytes out, below 1 on random data.

    Rows of `dirty_pages_*` compress what changed in a process after `delta_age_s`; in the others
    those columns are null. A stated ratio that its own byte counts contradict is rejected.
    """
    frame = read_native(data_dir, CURVES_FILE, [*_NATIVE, "ratio"])
    sieve = Sieve(frame)
    sieve.reject((sieve.kept.bytes_in <= 0) | (sieve.kept.bytes_out <= 0), "no bytes measured")
    measured_x = sieve.kept.bytes_in / sieve.kept.bytes_out
    wrong = (sieve.kept.ratio / measured_x - 1).abs() > _TOLERANCE
    sieve.reject(wrong, "ratio contradicts its byte counts")
    sieve.require_finite("comp_mb_s", "decomp_mb_s")
    kept = sieve.kept.rename(columns=_NATIVE)
    columns = {name: kept[name] for name in _NATIVE.values()}
    columns["ratio_x"] = kept.input_bytes.astype(np.float64) / kept.output_bytes
    return sieve.finish(own_table(columns))
