"""Digests that tie a number, a model or a report to the exact data behind it."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from novacron.errors import DatasetNotFoundError
from novacron.telemetry.traces import MEASURED, Trace

_BLOCK_BYTES: Final = 1 << 20


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def data_sha256(paths: Iterable[Path]) -> str:
    """Return one digest for a set of files, whatever their order and wherever they lie.

    A directory stands for all files below it. The digest covers each file's bytes and its name
    (relative to the directory given), so a renamed or moved folder keeps its digest and a changed,
    added or removed file does not.

    Raises:
        DatasetNotFoundError: A path does not exist, or there is no file at all.
    """
    entries: list[tuple[str, str]] = []
    for path in paths:
        if path.is_dir():
            files = sorted(item for item in path.rglob("*") if item.is_file())
            entries += [(item.relative_to(path).as_posix(), file_sha256(item)) for item in files]
        elif path.is_file():
            entries.append((path.name, file_sha256(path)))
        else:
            raise DatasetNotFoundError(
                f"{path} does not exist.", remedy="Check NOVACRON_DATA_DIR and the file name."
            )
    if not entries:
        raise DatasetNotFoundError("There is no file to digest.", remedy="Name at least one file.")
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(entries))
    return hashlib.sha256(lines.encode()).hexdigest()


def tables_sha256(tables: Mapping[str, pa.Table]) -> str:
    """Return one digest for named tables: column names, types, null positions and values.

    Chunking and file encoding do not enter it, so a table read back from disk keeps its digest.
    """
    digest = hashlib.sha256()
    for name in sorted(tables):
        digest.update(f"table {name}\0".encode())
        for field, column in zip(tables[name].schema, tables[name].columns, strict=True):
            digest.update(f"{field.name}\0{field.type}\0".encode())
            digest.update(np.asarray(column.is_valid(), dtype=bool).tobytes())
            _update_with_values(digest, column)
    return digest.hexdigest()


def _update_with_values(digest: "hashlib._Hash", column: pa.ChunkedArray) -> None:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        digest.update("\0".join("" if v is None else v for v in column.to_pylist()).encode())
        return
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    digest.update(np.ascontiguousarray(column.fill_null(0).to_numpy()).tobytes())


def traces_sha256(traces: Iterable[Trace]) -> str:
    """Return one digest for traces in their order: ids, clocks and every channel."""
    digest = hashlib.sha256()
    for trace in traces:
        start = "" if trace.start is None else trace.start.isoformat()
        digest.update(f"{trace.trace_id}\0{trace.path_class}\0{start}\0{len(trace)}\0".encode())
        channels = {"t_s": trace.t_s, "bandwidth_mbps": trace.bandwidth_mbps}
        channels |= {name: getattr(trace, name) for name in MEASURED}
        for name, values in {**channels, **trace.extras}.items():
            digest.update(f"{name}\0".encode())
            digest.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
