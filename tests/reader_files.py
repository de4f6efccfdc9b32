"""Files of link telemetry for the tests of the readers, and what a reader makes of them."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.telemetry.readers import ReadConfig, open_source

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HEADER = "ts,link_id,bandwidth_mbps,rtt_ms\n"


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, **config):
    blocks = list(open_source(path, LINK_SCHEMA, ReadConfig(**config)).blocks())
    rows = [row for block in blocks for row in block.batch.to_pylist()]
    numbers = [int(number) for block in blocks for number in block.rows]
    malformed = [bad for block in blocks for bad in block.malformed]
    return rows, numbers, malformed


def parquet(folder, table, **options):
    path = folder / "links.parquet"
    pq.write_table(table, path, **options)
    return path


def link_table(n_rows, **columns):
    ts = pa.array([T0] * n_rows, pa.timestamp("us", "UTC"))
    base = {"ts": ts, "link_id": ["a"] * n_rows, "bandwidth_mbps": [1.0] * n_rows}
    return pa.table(base | columns)
