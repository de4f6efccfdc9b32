"""Plans many series, in units that run side by side as Ray tasks and are never done twice.

A unit plans some series and leaves one Parquet part; a killed worker's unit is run again, a killed
command goes on with the units whose part is missing. A series that cannot be planned is a row with
its error, never a missing row.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from novacron.errors import ConfigError, NovacronError, SchemaError
from novacron.models.capacity.answers import Need
from novacron.models.capacity.config import CapacityConfig
from novacron.models.capacity.planner import CapacityPlanner
from novacron.telemetry.digest import file_sha256
from ray_jobs.units import ProgressSink, UnitProgress, run_units

SERIES_PER_UNIT: Final = 20
COLUMNS: Final = ("series_id", "ts", "value")

_FLOATS: Final = pa.list_(pa.float64())
SCHEMA: Final = pa.schema(
    [
        ("series_id", pa.string()),
        ("metric", pa.string()),
        ("error", pa.string()),
        ("urgency", pa.string()),
        ("made_at", pa.timestamp("us", tz="UTC")),
        ("valid_until", pa.timestamp("us", tz="UTC")),
        ("horizon_s", _FLOATS),
        ("value", _FLOATS),
        ("lower", _FLOATS),
        ("upper", _FLOATS),
        ("coverage", pa.float64()),
        ("lower_95", _FLOATS),
        ("upper_95", _FLOATS),
        ("warning_probability", pa.float64()),
        ("warning_days_10", pa.float64()),
        ("warning_days_50", pa.float64()),
        ("warning_days_90", pa.float64()),
        ("cost", pa.float64()),
        ("action", pa.string()),
        ("fallback", pa.string()),
        ("notes", pa.string()),
        ("member_weights", pa.string()),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("features_hash", pa.string()),
    ]
)
"""One row per series. `error` is empty where it was planned, else it says why not and the rest is
null. Days to the warning are null where the quantile lies beyond the horizon."""


@dataclass(kw_only=True)
class PlanWork:
    """What a unit does; it travels to the workers, the model's folder does not."""

    source: Path
    """Parquet with `series_id`, `ts` and `value`, and `metric` where rules and prices shall hold."""
    folder: Path
    """Gets the parts."""
    bundle: Path | None
    """Model to use; None: the one that comes with the package."""
    version: str
    horizon_days: int
    config: CapacityConfig
    units: Mapping[str, tuple[str, ...]]
    """Unit -> its series."""
    model: str = "capacity"

    def part(self, unit: str) -> Path:
        """Return the file that a unit leaves."""
        return self.folder / f"{unit}.parquet"

    @cached_property
    def planner(self) -> CapacityPlanner:
        """The planner, made once per process."""
        if self.bundle is None:
            return CapacityPlanner(self.config)
        loaded = CapacityPlanner.load(self.bundle, version=self.version)
        return CapacityPlanner(self.config, model=loaded.model, version=self.version)

    def fit_unit(self, unit: str, progress: ProgressSink) -> None:
        """Plan the series of a unit and leave its part, whole or not at all."""
        wanted = self.units[unit]
        table = pq.read_table(self.source, filters=[("series_id", "in", list(wanted))])
        frames = dict(iter(table.to_pandas().groupby("series_id", sort=False)))
        rows = [self._row(name, frames[name]) for name in wanted]
        draft = self.part(unit).with_suffix(".tmp")
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), draft)
        draft.replace(self.part(unit))
        progress(
            UnitProgress(
                unit=unit, set="series", seed=self.config.seed, step=1, steps=1,
                rows=table.num_rows, losses={},
            )
        )  # fmt: skip

    def _row(self, name: str, frame: pd.DataFrame) -> dict[str, Any]:
        metric = str(frame["metric"].iloc[0]) if "metric" in frame else "demand"
        series = pd.Series(
            frame["value"].to_numpy(dtype=float), index=pd.DatetimeIndex(frame["ts"]), name=metric
        )
        try:
            plan = self.planner.generate_capacity_plan(
                series, forecast_horizon_days=self.horizon_days
            )
        except NovacronError as error:
            return {"series_id": name, "metric": metric, "error": str(error)}
        return {"series_id": name, "metric": metric, "error": ""} | _told(plan.needs[metric])


def _told(need: Need) -> dict[str, Any]:
    forecast = need.forecast
    warning = next((one for one in need.crossings if one.level == "warning"), None)
    days = dict(warning.days) if warning else {}
    return {
        "urgency": need.urgency,
        "made_at": forecast.made_at,
        "valid_until": forecast.valid_until,
        "horizon_s": forecast.horizon_s,
        "value": forecast.value,
        "lower": forecast.lower,
        "upper": forecast.upper,
        "coverage": forecast.coverage,
        "lower_95": forecast.lower_95,
        "upper_95": forecast.upper_95,
        "warning_probability": warning.probability if warning else None,
        "warning_days_10": days.get(0.1),
        "warning_days_50": days.get(0.5),
        "warning_days_90": days.get(0.9),
        "cost": need.cost.cost,
        "action": need.recommended_action,
        "fallback": forecast.fallback,
        "notes": json.dumps(dict(forecast.notes)),
        "member_weights": json.dumps(dict(forecast.member_weights)),
        "model_name": forecast.model_name,
        "model_version": forecast.model_version,
        "features_hash": forecast.features_hash,
    }


def series_names(source: Path) -> list[str]:
    """Return the series of a Parquet file, in order of name.

    Raises:
        SchemaError: A column is missing, or there is no row.
    """
    try:
        have = pq.read_schema(source).names
    except (OSError, pa.ArrowInvalid) as cause:
        raise ConfigError(
            field=str(source), got=str(cause)[:200], expected="a Parquet file"
        ) from cause
    missing = [name for name in COLUMNS if name not in have]
    if missing:
        raise SchemaError(
            field=missing[0], got=", ".join(have)[:200], expected="columns " + ", ".join(COLUMNS)
        )
    column = pq.read_table(source, columns=["series_id"])["series_id"]
    names = sorted(cast(list[str], column.unique().to_pylist()))
    if not names:
        raise SchemaError(field="series_id", got="no row", expected="at least one series")
    return names


def in_units(names: Sequence[str], size: int = SERIES_PER_UNIT) -> dict[str, tuple[str, ...]]:
    """Return units of at most `size` series each."""
    return {
        f"part-{start // size:05d}": tuple(names[start : start + size])
        for start in range(0, len(names), size)
    }


def work_key(source: Path, horizon_days: int, config: CapacityConfig, model: str) -> str:
    """Return a short digest of what decides the answers: other inputs get other parts."""
    facts = (file_sha256(source), horizon_days, config.model_dump_json(), model)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def plan_series(work: PlanWork, *, parallel: int, on_progress: ProgressSink) -> int:
    """Plan what is missing, and return how many units were there already.

    Raises:
        NovacronError: A unit failed three times.
    """
    work.folder.mkdir(parents=True, exist_ok=True)
    missing = [unit for unit in work.units if not work.part(unit).exists()]
    run_units(
        work, missing, progress_dir=work.folder / "progress", parallel=parallel,
        on_progress=on_progress,
    )  # fmt: skip
    return len(work.units) - len(missing)


def join_parts(work: PlanWork, target: Path) -> pa.Table:
    """Write all parts as one file and return it."""
    joined = pa.concat_tables([pq.read_table(work.part(unit)) for unit in work.units])
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".tmp")
    pq.write_table(joined, draft)
    draft.replace(target)
    return joined
