"""Copies measured figures from `benchmarks/results/*.json` into the marked tables of the docs.

A table in a document stands between `<!-- results: THEME METRIC[,METRIC] [SET,SET] -->` and
`<!-- /results -->`; `make results` fills it. No figure in the docs is typed by hand.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results_format import RESULTS_DIR, BenchmarkResult, Metric

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(
    r"(<!-- results: (?P<theme>\S+) (?P<metrics>\S+)(?: (?P<sets>\S+))? -->\n)"
    r".*?(<!-- /results -->)",
    re.DOTALL,
)


def documents() -> list[Path]:
    """Return the documents that may hold result tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def fill(text: str, directory: Path = RESULTS_DIR) -> str:
    """Return `text` with every marked table written anew from the result files."""

    def replace(match: re.Match[str]) -> str:
        path = directory / f"{match['theme']}.json"
        result = BenchmarkResult.model_validate(json.loads(path.read_text()))
        sets = match["sets"].split(",") if match["sets"] else None
        chosen = select(result.metrics, match["metrics"].split(","), sets)
        return match[1] + render(chosen) + match[5]

    return _BLOCK.sub(replace, text)


def select(
    metrics: Sequence[Metric], names: Sequence[str], sets: Sequence[str] | None
) -> list[Metric]:
    """Return the metrics of the given names, in that order, on the given sets or on all.

    Raises:
        KeyError: A name or set is not in the results: a document claims what was not measured.
    """
    chosen = [
        metric
        for name in names
        for metric in metrics
        if metric.name == name and (sets is None or metric.set in sets)
    ]
    missing = set(names) - {metric.name for metric in chosen}
    missing |= set(sets or ()) - {metric.set for metric in chosen}
    if missing:
        raise KeyError(f"not in the results: {', '.join(sorted(missing))}")
    return chosen


def render(metrics: Sequence[Metric]) -> str:
    """Render metrics as a Markdown table, one row each."""
    lines = ["| what | on | value | 95 % interval | n | beside |", "|---|---|---|---|---|---|"]
    for metric in metrics:
        interval = (
            f"{metric.lo:.3g} .. {metric.hi:.3g}"
            if metric.lo is not None and metric.hi is not None
            else ""
        )
        value = f"{metric.value:,.0f}" if abs(metric.value) >= 1000 else f"{metric.value:.3g}"
        lines.append(
            f"| {metric.name} | {metric.set} | {value} | {interval} | {metric.n:,} "
            f"| {metric.baseline} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Fill the tables of all documents."""
    for path in documents():
        text = path.read_text()
        filled = fill(text)
        if filled != text:
            path.write_text(filled)


if __name__ == "__main__":
    main()
