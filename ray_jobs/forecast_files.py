"""Forecasts whole files of link telemetry: one here, or a folder of them over a cluster."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.errors import ConfigError
from novacron.models.bandwidth.config import FEATURES
from novacron.registry.records import LoadedModel
from novacron.registry.store import ModelStore
from novacron.telemetry.quarantine import Quarantine
from novacron.telemetry.readers import READABLE_SUFFIXES, ReadConfig, open_source
from novacron.telemetry.validate import ValidationConfig, Validator
from ray_jobs.forecasting import FORECAST_SCHEMA, LinkForecaster
from ray_jobs.locations import registry_config

# A row behind another of its link cannot be told from a window that looks ahead.
_STRICT = ValidationConfig(max_disorder_s=0.0, nan_means_missing=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictRequest:
    """What to forecast, with which model, and where to."""

    model: str
    source: Path
    target: Path
    ref: str = "champion"
    step_s: float | None = None
    """Seconds between samples; None measures it for each link."""
    path_class: str | None = None
    """Class of the paths, as in training; None is answered by the pooled model."""
    batch_rows: int = 16_384
    """Rows in memory at once."""


def predict_file(
    loaded: LoadedModel,
    request: PredictRequest,
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> dict[str, Any]:
    """Forecast one file; rejected rows go to `<target>.quarantine.jsonl` with their reasons.

    The target appears when it is complete. Memory does not depend on the length of the file.

    Raises:
        SchemaError: The file is not link telemetry.
        UnreadableInputError: It is damaged.
    """
    started = time.perf_counter()
    source = open_source(
        request.source,
        LINK_SCHEMA,
        ReadConfig(batch_rows=request.batch_rows, unknown_columns="ignore"),
    )
    validator = Validator(LINK_SCHEMA, _STRICT, now=lambda: datetime.now(UTC))
    forecaster = LinkForecaster(
        loaded,
        history=FEATURES.history,
        step_s=request.step_s,
        path_class=request.path_class,
        vocabularies=validator.vocabularies,
    )
    request.target.parent.mkdir(parents=True, exist_ok=True)
    quarantine_path = request.target.with_suffix(".quarantine.jsonl")
    draft = request.target.with_suffix(".tmp")
    rows = 0
    with (
        Quarantine(quarantine_path) as quarantine,
        pq.ParquetWriter(draft, FORECAST_SCHEMA) as out,
    ):
        for raw in source.blocks():
            checked = validator.check(raw)
            quarantine.add(checked.rejected)
            out.write_batch(forecaster.forecast(checked.accepted))
            rows += len(checked.accepted)
            on_rows(rows)
        reasons = dict(quarantine.counts)
    draft.replace(request.target)
    seconds = time.perf_counter() - started
    return {
        "source": str(request.source),
        "target": str(request.target),
        "model": loaded.name,
        "version": loaded.version,
        "rows": rows,
        "rows_rejected": sum(reasons.values()),
        "reasons": reasons,
        "quarantine": str(quarantine_path),
        "rows_per_s": round(rows / seconds, 1),
        "seconds": round(seconds, 3),
    }


def predict_folder(request: PredictRequest) -> dict[str, Any]:
    """Forecast every file of a folder as tasks of the cluster, by Ray Data; one target for each.

    A link's rows must lie in one file. Needs a connection, see `ray_jobs.cluster.connect`.
    """
    import ray.data

    started = time.perf_counter()
    files = [path for path in sorted(request.source.iterdir()) if is_telemetry(path)]
    if not files:
        raise ConfigError(
            field="source", got=str(request.source), expected="a folder of telemetry files"
        )
    worker: Any = _FilePredictor  # Ray Data makes one per actor; its types ask for a function
    done = ray.data.from_items([{"path": str(path)} for path in files]).map(
        worker, fn_constructor_args=(request,), concurrency=(1, len(files)), num_cpus=1
    )
    answers = done.take_all()
    rows = sum(one["rows"] for one in answers)
    seconds = time.perf_counter() - started
    return {
        "source": str(request.source),
        "target": str(request.target),
        "files": len(answers),
        "rows": rows,
        "rows_rejected": sum(one["rows_rejected"] for one in answers),
        "rows_per_s": round(rows / seconds, 1),
        "seconds": round(seconds, 3),
    }


class _FilePredictor:
    """A worker of `predict_folder`: loads the model once."""

    def __init__(self, request: PredictRequest) -> None:
        self._request = request
        self._loaded = ModelStore.connect(registry_config()).load(request.model, request.ref)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        source = Path(item["path"])
        target = self._request.target / f"{source.stem}.parquet"
        answer = predict_file(self._loaded, replace(self._request, source=source, target=target))
        return {"rows": answer["rows"], "rows_rejected": answer["rows_rejected"]}


def is_telemetry(path: Path) -> bool:
    """Say whether a file has the suffix of a telemetry file."""
    return path.is_file() and path.name.lower().endswith(READABLE_SUFFIXES)
