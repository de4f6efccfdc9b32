"""Predictions and outcomes in one frame, and errors by version from that alone."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from novacron.errors import DatasetNotFoundError
from novacron.monitoring.predictions.actuals import read_actuals
from novacron.monitoring.predictions.files import block_files
from novacron.monitoring.predictions.known import choose_points
from novacron.monitoring.predictions.tables import INPUT, OUTPUT, TIME

TOLD: Final = (
    "prediction_id",
    "kind",
    "version",
    "role",
    "entity",
    "made_at",
    "step_s",
    "fallback",
)

_CLOCKS_S: Final = 300.0
"""By how much the clocks of the machines that write a log may differ."""


def read_predictions(
    directory: Path,
    *,
    model: str,
    first_day: str = "",
    last_day: str = "9999",
    since: datetime | None = None,
    with_inputs: bool = True,
) -> pa.Table:
    """Return the rows of a model's predictions, oldest day first.

    Args:
        directory: The folder of the log.
        model: Its name.
        first_day: As `2026-03-01`; earlier ones are left out.
        last_day: Later ones are left out.
        since: Predictions made earlier are left out; files written well before it stay closed.
        with_inputs: Whether the inputs, most of what a log holds, are read too.

    Raises:
        DatasetNotFoundError: There are none.
    """
    found = [
        _read(file.path, since, with_inputs=with_inputs)
        for file in block_files(directory, model=model)
        if first_day <= file.day <= last_day
    ]
    tables = [table for table in found if table is not None]
    if not tables:
        raise DatasetNotFoundError(
            f"No predictions of {model!r} are in {directory}.",
            remedy="The endpoint writes them a few seconds after it answered.",
        )
    return pa.concat_tables(tables, promote_options="default")


def _read(path: Path, since: datetime | None, *, with_inputs: bool) -> pa.Table | None:
    """Return the rows of a file; None if it is too old to hold any, or was removed meanwhile."""
    try:
        # Answers are written after they are made.
        if since is not None and path.stat().st_mtime < since.timestamp() - _CLOCKS_S:
            return None
        names = pq.read_schema(path).names
        return pq.read_table(
            path,
            columns=[name for name in names if with_inputs or not name.startswith(INPUT)],
            filters=None if since is None else pc.field("made_at") >= pa.scalar(since, TIME),
            partitioning=None,
        )
    except FileNotFoundError:
        return None


def join_actuals(predictions: pa.Table, directory: Path) -> pd.DataFrame:
    """Return a row for each step of each prediction that has an outcome.

    Several outcomes of one row: the newest counts. Steps beyond the outcome's values, and those
    where nothing was measured, are left out.

    Args:
        predictions: As `read_predictions` returned them.
        directory: The folder of the log.

    Returns:
        `prediction_id`, `kind`, `version`, `role`, `entity`, `made_at`, `step_s`, `fallback`,
        `step` (1 is the first), `predicted`, `actual`, `error` (predicted - actual), and where the
        model gives an interval `lower`, `upper` and `is_covered`.
    """
    newest = {actual.prediction_id: actual.values for actual, _ in read_actuals(directory)}
    ids = predictions.column("prediction_id").to_pylist()
    rows = pa.array([n for n, name in enumerate(ids) if name in newest], pa.int64())
    told = predictions.select(list(TOLD)).take(rows).to_pandas()
    outputs = predictions.take(rows)
    lists = {
        part: outputs.column(OUTPUT + name).to_pylist()
        for part, name in _points(predictions).items()
    }
    frames: dict[str, list[Any]] = {name: [] for name in ("row", "step", "actual", *lists)}
    for place, name in enumerate(told["prediction_id"]):
        predicted = lists["predicted"][place]
        if predicted is None:
            continue
        for step, actual in enumerate(newest[name][: len(predicted)]):
            if actual is None:
                continue
            frames["row"].append(place)
            frames["step"].append(step + 1)
            frames["actual"].append(actual)
            for part, values in lists.items():
                frames[part].append(values[place][step])
    joined: pd.DataFrame = told.iloc[frames.pop("row")].reset_index(drop=True)
    for name, values in frames.items():
        joined[name] = np.asarray(values, dtype=np.int64 if name == "step" else np.float64)
    joined["error"] = joined["predicted"] - joined["actual"]
    if "lower" in joined and "upper" in joined:
        joined["is_covered"] = joined["actual"].between(joined["lower"], joined["upper"])
    return joined


def errors_by_version(joined: pd.DataFrame) -> pd.DataFrame:
    """Return rows, MAE, WAPE (sum of absolute errors / sum of absolute actuals), bias and coverage.

    One row for each version, role and step; WAPE is NaN where all outcomes are 0.
    """
    keys = ["version", "role", "step"]
    groups = joined.assign(absolute=joined["error"].abs(), size=joined["actual"].abs()).groupby(
        keys, observed=True
    )
    summed = groups[["absolute", "size", "error"]].sum()
    count = groups.size()
    found = pd.DataFrame(
        {
            "rows": count,
            "mae": summed["absolute"] / count,
            "wape": summed["absolute"] / summed["size"].replace(0.0, np.nan),
            "bias": summed["error"] / count,
        }
    )
    if "is_covered" in joined:
        found["coverage_ratio"] = groups["is_covered"].mean()
    errors: pd.DataFrame = found.reset_index()
    return errors


def _points(predictions: pa.Table) -> dict[str, str]:
    """Return which outputs are the value and its interval."""
    kinds: Sequence[str] = predictions.column("kind").unique().to_pylist()
    given = [name.removeprefix(OUTPUT) for name in predictions.column_names if OUTPUT in name]
    numbers = [
        name
        for name in given
        if pa.types.is_floating(predictions.schema.field(OUTPUT + name).type.value_type)
    ]
    value, lower, upper = choose_points(kinds[0] if kinds else "", numbers)
    if not value:
        raise DatasetNotFoundError(
            "These predictions have no output that is a number.",
            remedy="Their outcomes cannot be compared with them.",
        )
    parts = {"predicted": value, "lower": lower, "upper": upper}
    return {part: name for part, name in parts.items() if name}
