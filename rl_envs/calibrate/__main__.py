"""`python -m rl_envs.calibrate codec`: measure this host and write, or compare with, the table."""

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from novacron.errors import NovacronError
from rl_envs.calibrate.codec import CHUNK_BYTES, measure, table_of
from rl_envs.calibrate.compare import compare
from rl_envs.calibrate.corpora import host_corpora
from rl_envs.tables import CODEC_TABLE, codec_tables, parse_codec_tables

SAMPLE_BYTES = 2_097_152


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _provenance(command: str, seed: int, cpu_s: float, now: datetime) -> dict[str, Any]:
    import zstandard

    return {
        "command": command,
        "seed": seed,
        "date": now.date().isoformat(),
        "machine": f"{_cpu_model()}, {platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "zstandard": version("zstandard"),
            "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
            "lz4": version("lz4"),
        },
        "cpu_s": round(cpu_s, 1),
        "method": "independent chunks, one thread, process CPU time, MB = 1e6 bytes before "
        "compression; pages of zeros left out; delta = XOR with the page's earlier version",
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rl_envs.calibrate", description=__doc__)
    commands = parser.add_subparsers(required=True)
    codec = commands.add_parser("codec", help="measure zstd and lz4 on this host's own data")
    codec.add_argument("--output", type=Path, default=CODEC_TABLE, help="table to write")
    codec.add_argument("--check", action="store_true", help="compare with the shipped table only")
    codec.add_argument("--quick", action="store_true", help="samples of an eighth of the size")
    codec.add_argument("--seed", type=int, default=1, help="seed of the samples")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one calibration; returns the exit code."""
    options = _parse(arguments)
    sample = SAMPLE_BYTES // 8 if options.quick else SAMPLE_BYTES
    sizes = tuple(size for size in CHUNK_BYTES if size <= sample)
    started_s = time.process_time()
    try:
        corpora = host_corpora(sample, options.seed)
        sys.stderr.write(f"measuring {len(corpora)} corpora\n")
        points = measure(corpora, chunk_sizes=sizes)
    except NovacronError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    cpu_s = time.process_time() - started_s
    command = "python -m rl_envs.calibrate codec" + " --quick" * options.quick
    table = _provenance(command, options.seed, cpu_s, datetime.now(UTC)) | table_of(
        corpora, points, chunk_sizes=sizes
    )
    if options.check:
        shipped = codec_tables().curves.restricted_to(np.array(sizes, dtype=np.float64))
        agreement = compare(shipped, parse_codec_tables(table).curves)
        summary = {
            "ratio_error": agreement.ratio_error,
            "speed_error": agreement.speed_error,
            "regret_median": float(np.median(agreement.regrets)),
            "regret_p90": float(np.quantile(agreement.regrets, 0.9)),
        }
        sys.stdout.write(json.dumps(summary) + "\n")
        return 0
    options.output.write_text(json.dumps(table) + "\n")
    sys.stdout.write(json.dumps({"table": str(options.output), "cpu_s": table["cpu_s"]}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
