"""Batch prediction over Parquet by any servable model: one file here, or a folder over a cluster.

On a cluster, Ray Data's `map_batches` hands row groups to workers, and each worker reads its row
group, writes its part and its quarantine, and returns counts. So answers never pass through the
object store or the driver, and a part that a lost worker had begun is written again, whole. Rows
are read by pyarrow and become numpy arrays of the tensors' own types; Ray Data's pandas batches
would bring Arrow-backed columns that LightGBM refuses.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from novacron.errors import ConfigError, UnreadableInputError
from novacron.registry.records import LoadedModel
from novacron.registry.store import ModelStore
from novacron.telemetry.quarantine import Quarantine
from ray_jobs.batch_answers import RowAnswerer
from ray_jobs.locations import registry_config

SUFFIX: Final = ".parquet"
DEFAULT_BATCH_ROWS: Final = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRequest:
    """What to answer, by which model, and where to."""

    model: str
    source: Path
    target: Path
    ref: str = "champion"
    batch_rows: int = DEFAULT_BATCH_ROWS
    """Rows in memory at once; a row of a long window is large."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A file, or one row group of it, and where its answers go."""

    path: Path
    target: Path
    row_group: int | None = None
    first_row: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Done:
    rows: int
    reasons: Counter[str]


def answer_file(
    loaded: LoadedModel,
    request: BatchRequest,
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> dict[str, Any]:
    """Answer every row of one file; bad rows go to `<target>.quarantine.jsonl` with their reasons.

    The target appears when it is complete.

    Raises:
        SchemaError: The columns are not what the model takes.
        UnreadableInputError: The file is no Parquet, or damaged.
    """
    started = time.perf_counter()
    part = _Part(path=request.source, target=request.target)
    done = _answer(loaded, part, request.batch_rows, on_rows)
    return _payload(request, loaded, done, started) | {
        "quarantine": str(_quarantine_path(request.target))
    }


def answer_folder(request: BatchRequest) -> dict[str, Any]:
    """Answer every Parquet file of a folder on the cluster; `<file>-<row group>.parquet` each.

    Needs a connection, see `ray_jobs.cluster.connect`, and storage that the workers share.

    Raises:
        ConfigError: The folder has no Parquet file.
    """
    import ray.data

    started = time.perf_counter()
    parts = list(_parts(request.source))
    if not parts:
        raise ConfigError(
            field="source", got=str(request.source), expected="a folder of Parquet files"
        )
    loaded = ModelStore.connect(registry_config()).load(request.model, request.ref)
    request.target.mkdir(parents=True, exist_ok=True)
    worker: Any = PartAnswerer  # Ray Data makes one per actor; its types ask for a function
    answers = (
        ray.data.from_items(parts, override_num_blocks=len(parts))
        .map_batches(
            worker,
            fn_constructor_args=(request,),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(parts)),
            num_cpus=1,
        )
        .take_all()
    )
    reasons: Counter[str] = Counter()
    for one in answers:
        reasons.update(dict(zip(one["reason"], one["rejected"], strict=True)))
    done = _Done(rows=sum(one["rows"] for one in answers), reasons=reasons)
    return _payload(request, loaded, done, started) | {
        "files": len({part["path"] for part in parts}),
        "parts": len(parts),
    }


class PartAnswerer:
    """A worker of `answer_folder`: loads the model once, answers row groups as they come."""

    def __init__(self, request: BatchRequest, loaded: LoadedModel | None = None) -> None:
        self._request = request
        self._loaded = loaded or ModelStore.connect(registry_config()).load(
            request.model, request.ref
        )

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Answer the row groups named by `path`, `row_group` and `first_row`; return counts."""
        counted = []
        for row in batch.to_pylist():
            path = Path(row["path"])
            part = _Part(
                path=path,
                target=self._request.target / f"{path.stem}-{row['row_group']:05d}{SUFFIX}",
                row_group=row["row_group"],
                first_row=row["first_row"],
            )
            done = _answer(self._loaded, part, self._request.batch_rows, lambda _rows: None)
            reasons, counts = list(done.reasons), list(done.reasons.values())
            counted.append({"rows": done.rows, "reason": reasons, "rejected": counts})
        kind = pa.schema(
            [
                ("rows", pa.int64()),
                ("reason", pa.list_(pa.string())),
                ("rejected", pa.list_(pa.int64())),
            ]
        )
        return pa.Table.from_pylist(counted, schema=kind)


def _answer(
    loaded: LoadedModel, part: _Part, batch_rows: int, on_rows: Callable[[int], None]
) -> _Done:
    """Answer a part batch by batch, whole or not at all."""
    part.target.parent.mkdir(parents=True, exist_ok=True)
    draft = part.target.with_suffix(".tmp")
    seen = rows = 0
    with _opened(part.path) as file:
        answerer = RowAnswerer(loaded, file.schema_arrow, part.path.stem)
        with (
            Quarantine(_quarantine_path(part.target)) as quarantine,
            pq.ParquetWriter(draft, answerer.schema) as out,
        ):
            for batch in _batches(file, part, batch_rows):
                answered = answerer.answer(batch, part.first_row + seen)
                quarantine.add(answered.rejected)
                out.write_table(answered.table)
                seen += batch.num_rows
                rows += answered.table.num_rows
                on_rows(seen)
            reasons: Counter[str] = Counter(quarantine.counts)
    draft.replace(part.target)
    return _Done(rows=rows, reasons=reasons)


def _batches(file: pq.ParquetFile, part: _Part, batch_rows: int) -> Iterator[pa.RecordBatch]:
    groups = None if part.row_group is None else [part.row_group]
    try:
        yield from file.iter_batches(batch_size=batch_rows, row_groups=groups)
    except (pa.ArrowException, OSError) as cause:
        raise UnreadableInputError(
            field=part.path.name, got=str(cause), expected="a whole Parquet file"
        ) from cause


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as cause:
        raise UnreadableInputError(
            field=path.name,
            got=str(cause),
            expected="a Parquet file",
            remedy="Give a folder only with --ray.",
        ) from cause


def _parts(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with _opened(path) as file:
            first = 0
            for number in range(file.num_row_groups):
                yield {"path": str(path), "row_group": number, "first_row": first}
                first += file.metadata.row_group(number).num_rows


def _quarantine_path(target: Path) -> Path:
    return target.with_suffix(".quarantine.jsonl")


def _payload(
    request: BatchRequest, loaded: LoadedModel, done: _Done, started: float
) -> dict[str, Any]:
    seconds = time.perf_counter() - started
    return {
        "source": str(request.source),
        "target": str(request.target),
        "model": loaded.name,
        "version": loaded.version,
        "rows": done.rows,
        "rows_rejected": done.reasons.total(),
        "reasons": dict(done.reasons),
        "rows_per_s": round((done.rows + done.reasons.total()) / seconds, 1),
        "seconds": round(seconds, 3),
    }
