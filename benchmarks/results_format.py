"""The one format of `benchmarks/results/<theme>.json`, and the `.md` written beside it."""

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

RESULTS_DIR = Path(__file__).parent / "results"


class Metric(BaseModel):
    """One measured number: `value` with its 95 % interval [lo, hi] over `n` independent units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    set: str
    """What it was measured on: a data set, a lane, a scenario class."""
    value: float
    lo: float | None = None
    hi: float | None = None
    n: int
    """Number of resampled units (traces, runs, requests), not of rows."""
    baseline: str
    """What `value` is compared with or stands beside; `none` only for raw counts."""


class BenchmarkResult(BaseModel):
    """Everything needed to run a benchmark again and compare."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    theme: str
    command: str
    seeds: tuple[int, ...]
    data_sha256: str
    """Digest of the input files, or `generated:<seed>`."""
    machine: dict[str, Any]
    versions: dict[str, str]
    metrics: tuple[Metric, ...]
    notes: tuple[str, ...] = ()
    """Sentences printed under the table: protocol, limits, and what got worse."""


def describe_machine() -> dict[str, Any]:
    """Return what a reader needs to judge a timing: processor, cores, memory, load, system."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0].split(":", 1)[1].strip() if names else ""
    return {
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
    }


def describe_versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the installed version of Python, of this project and of each package named."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def write_result(result: BenchmarkResult, directory: Path = RESULTS_DIR) -> Path:
    """Write `<theme>.json` and `<theme>.md` and return the path of the JSON."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{result.theme}.json"
    path.write_text(json.dumps(result.model_dump(mode="json"), indent=1) + "\n")
    path.with_suffix(".md").write_text(render_markdown(result))
    return path


def render_markdown(result: BenchmarkResult) -> str:
    """Render a result as the page that the docs include."""
    lines = [
        f"# {result.theme}",
        "",
        f"`{result.command}`, seeds {', '.join(map(str, result.seeds)) or 'none'}, "
        f"data `{result.data_sha256[:23]}`.",
        "",
        "| metric | set | value | 95 % interval | n | beside |",
        "|---|---|---|---|---|---|",
    ]
    for metric in result.metrics:
        interval = ""
        if metric.lo is not None and metric.hi is not None:
            interval = f"{metric.lo:.4g} .. {metric.hi:.4g}"
        lines.append(
            f"| {metric.name} | {metric.set} | {metric.value:.4g} | {interval} "
            f"| {metric.n} | {metric.baseline} |"
        )
    lines += [""] + [f"- {note}" for note in result.notes] + [""]
    machine = ", ".join(f"{key} {value}" for key, value in result.machine.items())
    versions = ", ".join(f"{key} {value}" for key, value in result.versions.items())
    lines += [f"Machine: {machine}.", "", f"Versions: {versions}.", ""]
    return "\n".join(lines)
