"""Puts a measured table, with its origin, where the simulator reads it."""

import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from novacron.errors import SchemaError
from rl_envs.tables import TESTBED_TABLE

COMMAND: Final = "python -m rl_envs.testbed grid"


def rows_sha256(rows: list[dict[str, Any]]) -> str:
    """Return the digest of a table's rows, whatever stands around them."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def ship(source: Path, destination: Path = TESTBED_TABLE) -> Path:
    """Write the table at `source` to `destination`, a row a line, sorted, with its origin.

    Raises:
        SchemaError: The table has no rows.
    """
    rows = json.loads(source.read_text())["rows"]
    if not rows:
        raise SchemaError(field="rows", got="none", expected="a measured table")
    for row in rows:
        row["mbps_per_s"] = [round(rate, 1) for rate in row["mbps_per_s"]]
    rows.sort(key=lambda row: (row["kind"], json.dumps(row["cell"], sort_keys=True)))
    body = {
        "command": COMMAND,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "linux": ".".join(platform.release().split(".")[:2]),
        },
        "rows_sha256": rows_sha256(rows),
    }
    lines = ",\n".join(json.dumps(row) for row in rows)
    destination.write_text(f'{json.dumps(body)[:-1]}, "rows": [\n{lines}\n]}}\n')
    return destination
