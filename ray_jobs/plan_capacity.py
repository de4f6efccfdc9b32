"""Job: plan the capacity of every series in a Parquet file.

`python -m ray_jobs.plan_capacity series.parquet plans.parquet`: columns `series_id`, `ts`, `value`,
and `metric` (see `novacron.models.capacity.config`) where thresholds and prices shall hold. Inside
a cluster its units run as Ray tasks. The same command goes on where it was killed.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from novacron.models.capacity.config import CapacityConfig
from novacron.registry.store import ModelStore
from ray_jobs.answers import Answer, facts, progress_bar
from ray_jobs.capacity_plans import (
    PlanWork,
    in_units,
    join_parts,
    plan_series,
    series_names,
    work_key,
)
from ray_jobs.config import load_config
from ray_jobs.job import run_job
from ray_jobs.locations import registry_config, runs_dir
from ray_jobs.units import UnitProgress

SHIPPED = "shipped"


def plan_answer(
    source: Path,
    target: Path,
    *,
    horizon_days: int = 30,
    ref: str = SHIPPED,
    config: CapacityConfig | None = None,
    parallel: int = 2,
    hide_progress: bool = True,
) -> Answer:
    """Plan the series of a file and say what came of it.

    Args:
        source: See above.
        target: Parquet file of the plans, see `ray_jobs.capacity_plans.SCHEMA`.
        horizon_days: How far ahead.
        ref: Version or alias of the registered model, or `shipped`.
        config: Rules, prices and the rest; default settings where None.
        parallel: Units at once, one CPU each.
        hide_progress: Show no progress bar.

    Raises:
        NovacronError: The source is unusable, or the model is not there.
    """
    started = time.monotonic()
    bundle, version = _model(ref)
    chosen = config or CapacityConfig()
    key = work_key(source, horizon_days, chosen, version)
    work = PlanWork(
        source=source.resolve(),
        folder=runs_dir() / "plan_capacity" / key,
        bundle=bundle,
        version=version,
        horizon_days=horizon_days,
        config=chosen,
        units=in_units(series_names(source)),
    )
    resumed = _planned(work, parallel, hide_progress)
    joined = join_parts(work, target)
    planned = [row for row in joined.to_pylist() if not row["error"]]
    payload: dict[str, Any] = {
        "series": joined.num_rows,
        "planned": len(planned),
        "errors": joined.num_rows - len(planned),
        "fallbacks": dict(Counter(row["fallback"] for row in planned if row["fallback"])),
        "urgency": dict(Counter(row["urgency"] for row in planned)),
        "model_version": version,
        "units": len(work.units),
        "units_resumed": resumed,
        "target": str(target),
        "seconds": round(time.monotonic() - started, 1),
    }
    return Answer(payload=payload, view=facts("Planned", payload))


def _planned(work: PlanWork, parallel: int, hide_progress: bool) -> int:
    with progress_bar(hidden=hide_progress) as bar:
        task = bar.add_task("units", total=len(work.units), note="")

        def show(event: UnitProgress) -> None:
            bar.update(task, advance=1, note=event.unit)

        return plan_series(work, parallel=parallel, on_progress=show)


def _model(ref: str) -> tuple[Path | None, str]:
    """Return the folder of a registered model and its version; None for the shipped one."""
    if ref == SHIPPED:
        return None, SHIPPED
    store = ModelStore.connect(registry_config())
    loaded = store.load("capacity", ref)
    folder = runs_dir() / "plan_capacity" / f"model-{loaded.version}"
    if not (folder / "bundle.json").exists():
        loaded.model.save(folder)
    return folder, loaded.version


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, plan, write one JSON line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.plan_capacity", description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--horizon-days", type=int, default=30)
    parser.add_argument("--ref", default=SHIPPED, help="registered version or alias")
    parser.add_argument("--config", type=Path, help="YAML of a CapacityConfig")
    parser.add_argument("--parallel", type=int, default=2, help="units at once, one CPU each")
    given = parser.parse_args(arguments)

    def work() -> Answer:
        return plan_answer(
            given.source,
            given.target,
            horizon_days=given.horizon_days,
            ref=given.ref,
            config=load_config(given.config, CapacityConfig) if given.config else None,
            parallel=given.parallel,
        )

    return run_job("plan_capacity", work, on_cluster=True)


if __name__ == "__main__":
    raise SystemExit(main())
