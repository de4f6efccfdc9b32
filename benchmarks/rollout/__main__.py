"""Change without harm: updates, rollouts and faults under load, and 1,000 simulated rollouts.

`python -m benchmarks.rollout`: the parts run one after another, each on a cluster of its own where it
needs one, with callers in a closed loop who check every answer. A run that was killed goes on after
the last part that it finished; `--only NAME,NAME` measures some parts and keeps the others.
"""

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    write_result,
)
from benchmarks.rollout.parts import CATALOGUE, WITHOUT_CLUSTER, Bench, PartResult, measure_part

COMMAND: Final = "python -m benchmarks.rollout"
SEED: Final = 7


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result; `--quick` takes the parts without a cluster, made small."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no cluster, seconds short")
    parser.add_argument("--only", default="", help="parts to measure now, with commas")
    parser.add_argument("--fresh", action="store_true", help="measure finished parts again")
    parser.add_argument("--runs", type=Path, default=Path("runs/bench-rollout"))
    parser.add_argument("--out", type=Path, default=RESULTS_DIR)
    given = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # What the plan of events does in its thread must not hold up the callers in theirs.
    sys.setswitchinterval(0.0005)
    names = list(WITHOUT_CLUSTER) if given.quick else list(CATALOGUE)
    chosen = [one for one in given.only.split(",") if one] or names
    unknown = set(chosen) - set(CATALOGUE)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; known: {', '.join(CATALOGUE)}")
    runs: Path = given.runs.resolve()
    kept = runs / ("quick" if given.quick else "parts")
    results: dict[str, PartResult] = {}
    missing = []
    for name in names:
        if name not in chosen and not (kept / f"{name}.json").exists():
            missing.append(f"{name} was not measured in this run.")
            continue
        if given.fresh and name in chosen:
            (kept / f"{name}.json").unlink(missing_ok=True)
        work = runs / "work" / name
        shutil.rmtree(work, ignore_errors=True)
        bench = Bench(work=work, quick=given.quick, say=_say)
        with _silent_models():
            results[name] = measure_part(name, bench, kept, catalogue=CATALOGUE)
    path = write_result(to_result(results, missing), given.out)
    _say(f"wrote {path}")


@contextmanager
def _silent_models() -> Iterator[None]:
    """Keep models that fail on purpose from filling the terminal with their stacks."""
    log = logging.getLogger("serve_apps")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def to_result(results: dict[str, PartResult], missing: Sequence[str]) -> BenchmarkResult:
    """Join the parts into one result."""
    metrics: list[Metric] = []
    notes = []
    for name, result in results.items():
        metrics += result.metrics
        notes += [f"{name}: {note}" for note in result.notes]
    return BenchmarkResult(
        theme="rollout",
        command=COMMAND,
        seeds=(SEED,),
        data_sha256=f"generated:{SEED}",
        machine=describe_machine(),
        versions=describe_versions(("novacron-ml", "ray", "numpy", "mlflow")),
        metrics=tuple(metrics),
        notes=(*notes, *missing),
    )


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the progress of a command


if __name__ == "__main__":
    main()
