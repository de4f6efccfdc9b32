"""The parts of the benchmark: each is measured alone, kept when it is done, and taken up again.

A part is a function of `Bench` that returns a `PartResult`. To add one, add its name and its function
to `CATALOGUE`; nothing is imported before it runs.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from benchmarks.results_format import Metric

CATALOGUE: Final[dict[str, str]] = {
    "simulated": "benchmarks.rollout.simulated:measure",
    "live_samples": "benchmarks.rollout.memory:measure_samples",
    "prediction_log": "benchmarks.rollout.memory:measure_predictions",
    "updates": "benchmarks.rollout.updates:measure",
    "killed": "benchmarks.rollout.killed:measure",
    "canaries": "benchmarks.rollout.canaries:measure",
    "availability": "benchmarks.rollout.availability:measure",
    "breaker": "benchmarks.rollout.breaker:measure",
    "cache": "benchmarks.rollout.cache:measure",
    "cache_changes": "benchmarks.rollout.cache:measure_changes",
}
"""Name of a part to its function, in the order in which they run."""
WITHOUT_CLUSTER: Final = ("simulated", "breaker", "cache", "cache_changes")
"""Parts that need no cluster: those of the quick form."""


class PartResult(BaseModel):
    """What a part measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: tuple[Metric, ...]
    notes: tuple[str, ...] = ()
    """Sentences for the foot of the page: protocol, limits, what got worse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What every part is given."""

    work: Path
    """A folder of its own for the part; empty at its start."""
    quick: bool
    """Whether a test runs it: small and seconds short."""
    say: Callable[[str], None]
    """Prints one line of progress."""


def measure_part(name: str, bench: Bench, kept: Path, *, catalogue: dict[str, str]) -> PartResult:
    """Measure a part, or return what it measured before it was interrupted.

    Args:
        name: Of the catalogue.
        bench: What the part is given.
        kept: Folder of finished parts.
        catalogue: Name to `module:function`.
    """
    path = kept / f"{name}.json"
    if path.exists():
        bench.say(f"{name}: kept from an earlier run")
        return PartResult.model_validate_json(path.read_bytes())
    module, _, function = catalogue[name].partition(":")
    measure: Callable[[Bench], PartResult] = getattr(importlib.import_module(module), function)
    bench.say(f"{name}: measuring")
    bench.work.mkdir(parents=True, exist_ok=True)
    result = measure(bench)
    kept.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(result.model_dump_json(indent=1))
    temporary.replace(path)
    return result
