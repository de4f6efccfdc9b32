"""Job: read telemetry files, check them, and join them on one grid.

`python -m ray_jobs.ingest --schema link --out runs/telemetry FILES...` runs in this process, since
one grid is joined in order of time; inside a cluster its rows are counted in its metrics.
"""

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from novacron.contracts.telemetry import SCHEMAS
from novacron.errors import ConfigError
from novacron.monitoring.metric_names import ROWS_READ, ROWS_REJECTED
from novacron.telemetry.ingest import IngestConfig, IngestProgress, IngestReport, ingest
from novacron.telemetry.join import JoinConfig
from ray_jobs.answers import Answer, answer, configure_logging, facts, progress_bar
from ray_jobs.cluster import connect
from ray_jobs.config import load_config
from ray_jobs.job import run_job

Listener = Callable[[IngestProgress], None]


def ingest_answer(
    files: Sequence[Path],
    schema_name: str,
    out_dir: Path,
    config: IngestConfig,
    *,
    hide_progress: bool = True,
) -> Answer:
    """Ingest files, say what came of it, and raise what `ingest` raises."""
    with _counting(schema_name) as count, _showing(hidden=hide_progress) as show:

        def listen(progress: IngestProgress) -> None:
            count(progress)
            show(progress)

        report = ingest(
            list(files),
            SCHEMAS[schema_name],
            out_dir,
            config,
            listen,
            now=lambda: datetime.now(UTC),
        )
    return Answer(payload=report.model_dump(mode="json"), view=facts("Ingested", _shown(report)))


def _shown(report: IngestReport) -> dict[str, object]:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.reasons.items())
    return {
        "rows read": f"{report.rows_read:,}, files: {len(report.sources)}",
        "rows rejected": f"{report.rows_rejected:,} {f'({reasons})' if reasons else ''}",
        "entities": f"{report.entities:,}",
        "grid": f"{report.steps:,} steps, {report.completeness_ratio:.2%} with a sample",
        "joined": report.grid,
        "quarantine": report.quarantine,
        "quality report": report.quality_page,
    }


@contextlib.contextmanager
def _counting(schema_name: str) -> Iterator[Listener]:
    """Yield what adds to the cluster's counters, if there is a cluster."""
    if not os.environ.get("RAY_ADDRESS"):
        yield lambda _: None
        return
    with connect():
        from ray.util import metrics

        read, rejected = ROWS_READ.create(metrics), ROWS_REJECTED.create(metrics)
        yield count_growth(schema_name, read, rejected)


def count_growth(schema_name: str, read: Any, rejected: Any) -> Listener:
    """Return a listener that adds to two counters what is new since its last call."""
    seen: dict[str, int] = {}

    def count(progress: IngestProgress) -> None:
        for reason, total in {"": progress.rows_read, **progress.reasons}.items():
            new = total - seen.get(reason, 0)
            seen[reason] = total
            if new and reason:
                rejected.inc(new, tags={"schema": schema_name, "reason": reason})
            elif new:
                read.inc(new, tags={"schema": schema_name})

    return count


@contextlib.contextmanager
def _showing(*, hidden: bool) -> Iterator[Listener]:
    with progress_bar(hidden=hidden) as bar:
        task = bar.add_task("files", total=None, note="")

        def show(progress: IngestProgress) -> None:
            note = f"{progress.rows_read:,} rows, {progress.rows_rejected:,} rejected"
            bar.update(task, total=progress.sources, completed=progress.sources_done, note=note)

        yield show


def _config(given: argparse.Namespace) -> IngestConfig:
    config = load_config(given.config, IngestConfig) if given.config else IngestConfig()
    asked = {"step_s": given.step_s, "allowed_lateness_s": given.lateness_s}
    changes = {name: value for name, value in asked.items() if value is not None}
    try:
        join = JoinConfig.model_validate(config.join.model_dump() | changes)
    except ValueError as error:
        raise ConfigError(
            field="--step-s, --lateness-s", got=changes, expected="seconds in range"
        ) from error
    unknown = "ignore" if given.ignore_unknown_columns else config.read.unknown_columns
    read = config.read.model_copy(update={"unknown_columns": unknown})
    order = given.order or config.order
    return config.model_copy(update={"join": join, "read": read, "order": order})


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, ingest, write a table or one JSON line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.ingest", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="Parquet, CSV or JSON lines")
    parser.add_argument("--schema", required=True, choices=sorted(SCHEMAS))
    parser.add_argument("--out", required=True, type=Path, help="folder of the results")
    parser.add_argument("--config", type=Path, help="YAML of an IngestConfig")
    parser.add_argument("--step-s", type=float, help="length of a grid step, default 60")
    parser.add_argument("--lateness-s", type=float, help="how long a step waits, default 60")
    parser.add_argument("--order", choices=("time", "any"), help="of rows in a file, default time")
    parser.add_argument("--ignore-unknown-columns", action="store_true")
    parser.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    given = parser.parse_args(arguments)

    def work() -> Answer:
        return ingest_answer(
            given.files, given.schema, given.out, _config(given), hide_progress=given.json
        )

    if given.json:
        return run_job("ingest", work)
    configure_logging()
    return answer(work, as_json=False)


if __name__ == "__main__":
    raise SystemExit(main())
