"""One HTML page per benchmark: its figures beside baseline and goal, its pictures, its protocol.

`python -m benchmarks.report_page THEME ...` writes a plain page for result files that are there. A
theme with more to say calls `write_report` with sections of its own. The page is one file: pictures
are inside it, and it loads nothing.
"""

import argparse
import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from benchmarks.results_format import RESULTS_DIR, BenchmarkResult, Metric

_STYLE: Final = """
:root{--ink:#1b2733;--soft:#5b6b7a;--line:#e3e8ed;--paper:#fff;--good:#1b7a43;--bad:#b3261e}
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:1.5rem auto;padding:0 1rem}
body{color:var(--ink);background:var(--paper);overflow-wrap:break-word}
h1{margin:0 0 .2rem;line-height:1.2}h2{margin:2.2rem 0 .4rem}.soft{color:var(--soft)}
div.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:14px;min-width:100%}
th,td{padding:.3rem .6rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
td.number,th.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.met{color:var(--good)}td.missed{color:var(--bad);font-weight:600}
figure{margin:1.2rem 0}figcaption{color:var(--soft);font-size:14px}
img{max-width:100%;height:auto;background:#fff;border:1px solid var(--line)}
code{font-size:.9em;background:#8882;padding:.05rem .25rem;border-radius:3px}
@media (prefers-color-scheme:dark){:root{--ink:#dde4ea;--soft:#9fb0bf;--line:#33414d;--paper:#141a20;
--good:#66c98f;--bad:#ff8a80}}
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure should reach: `low <= figure <= high`, either of them may be left open."""

    low: float | None = None
    high: float | None = None
    whole_interval: bool = False
    """The 95 % interval, not only the value, must lie within the bounds."""

    def met_by(self, metric: Metric) -> bool:
        """Return whether `metric` reaches the goal; without an interval its value must."""
        least, most = metric.value, metric.value
        if self.whole_interval:
            least = metric.value if metric.lo is None else metric.lo
            most = metric.value if metric.hi is None else metric.hi
        return (self.low is None or least >= self.low) and (self.high is None or most <= self.high)

    def __str__(self) -> str:
        bounds = (
            f"{_number(self.low)} .. {_number(self.high)}"
            if self.low is not None and self.high is not None
            else f"at least {_number(self.low)}"
            if self.low is not None
            else f"at most {_number(self.high)}"
            if self.high is not None
            else "none"
        )
        return f"{bounds}, whole interval" if self.whole_interval else bounds


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG and the sentence under it, which also stands for it where it cannot be seen."""

    path: Path
    caption: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, paragraphs (`code` in backticks), a table of chosen metrics, pictures."""

    title: str
    prose: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    """Names of metrics to show, in this order; a name that was not measured is refused."""
    sets: tuple[str, ...] | None = None
    """Only on these sets; `None` shows all."""
    pictures: tuple[Picture, ...] = ()


GoalKey = str | tuple[str, str]


def write_report(
    result: BenchmarkResult,
    sections: Sequence[Section],
    *,
    title: str,
    lead: str = "",
    goals: Mapping[GoalKey, Goal] | None = None,
    directory: Path = RESULTS_DIR,
) -> Path:
    """Write `<theme>.html` and return its path.

    Args:
        result: The figures, as written to `<theme>.json`.
        sections: The page in order; protocol, machine and versions follow by themselves.
        title: Heading of the page.
        lead: One paragraph under the heading.
        goals: By metric name, or by (name, set), which goes before the name alone.
        directory: Where the page is written.

    Raises:
        KeyError: A section names a metric or set that was not measured.
        FileNotFoundError: A picture is missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{result.theme}.html"
    path.write_text(render_report(result, sections, title=title, lead=lead, goals=goals or {}))
    return path


def render_report(
    result: BenchmarkResult,
    sections: Sequence[Section],
    *,
    title: str,
    lead: str = "",
    goals: Mapping[GoalKey, Goal],
) -> str:
    """Render the page; see `write_report`. All text is escaped; a policy forbids any load."""
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<meta http-equiv='Content-Security-Policy' content=\"{_POLICY}\">",
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_text(title)}</h1>",
        f"<p>{_text(lead)}</p>" if lead else "",
        f"<p class='soft'>Again with <code>{escape(result.command)}</code>; seeds "
        f"{escape(', '.join(map(str, result.seeds)) or 'none')}; data "
        f"<code>{escape(result.data_sha256[:23])}</code>.</p>",
        *(_section(result, section, goals) for section in sections),
        _protocol(result),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def plain_sections(result: BenchmarkResult, directory: Path = RESULTS_DIR) -> list[Section]:
    """Return one section with every metric and the pictures `<theme>*.png` of `directory`."""
    return [
        Section(
            title="Figures",
            metrics=tuple(dict.fromkeys(metric.name for metric in result.metrics)),
            pictures=tuple(
                Picture(path=path, caption=path.stem.replace("_", " "))
                for path in sorted(directory.glob(f"{result.theme}*.png"))
            ),
        )
    ]


def _section(result: BenchmarkResult, section: Section, goals: Mapping[GoalKey, Goal]) -> str:
    chosen = _chosen(result.metrics, section)
    return "\n".join(
        [
            f"<h2>{_text(section.title)}</h2>",
            *(f"<p>{_text(paragraph)}</p>" for paragraph in section.prose),
            *([_table(chosen, goals)] if chosen else []),
            *map(_figure, section.pictures),
        ]
    )


def _chosen(metrics: Sequence[Metric], section: Section) -> list[Metric]:
    sets = section.sets
    chosen = [
        metric
        for name in section.metrics
        for metric in metrics
        if metric.name == name and (sets is None or metric.set in sets)
    ]
    missing = set(section.metrics) - {metric.name for metric in chosen}
    missing |= set(sets or ()) - {metric.set for metric in chosen}
    if missing:
        raise KeyError(f"not in the results: {', '.join(sorted(missing))}")
    return chosen


def _table(metrics: Sequence[Metric], goals: Mapping[GoalKey, Goal]) -> str:
    found = [goals.get((metric.name, metric.set), goals.get(metric.name)) for metric in metrics]
    with_goals = any(found)
    head = (
        "<tr><th>what</th><th>on</th><th class='number'>value</th>"
        "<th class='number'>95 % interval</th><th class='number'>n</th><th>beside</th>"
    )
    head += "<th>goal</th><th>reached</th></tr>" if with_goals else "</tr>"
    rows = "".join(
        _row(metric, goal, with_goals) for metric, goal in zip(metrics, found, strict=True)
    )
    return f"<div class='scroll'><table>{head}{rows}</table></div>"


def _row(metric: Metric, goal: Goal | None, with_goals: bool) -> str:
    interval = (
        f"{_number(metric.lo)} .. {_number(metric.hi)}"
        if metric.lo is not None and metric.hi is not None
        else ""
    )
    cells = [
        f"<td>{escape(metric.name)}</td><td>{escape(metric.set)}</td>",
        f"<td class='number'>{_number(metric.value)}</td><td class='number'>{interval}</td>",
        f"<td class='number'>{metric.n:,}</td><td>{escape(metric.baseline)}</td>",
    ]
    if with_goals and goal is None:
        cells.append("<td></td><td></td>")
    elif goal is not None:
        word, style = ("yes", "met") if goal.met_by(metric) else ("no", "missed")
        cells.append(f"<td>{escape(str(goal))}</td><td class='{style}'>{word}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode()
    caption = escape(picture.caption, quote=True)
    return (
        f"<figure><img alt='{caption}' src='data:image/png;base64,{data}'>"
        f"<figcaption>{_text(picture.caption)}</figcaption></figure>"
    )


def _protocol(result: BenchmarkResult) -> str:
    notes = "".join(f"<li>{_text(note)}</li>" for note in result.notes)
    machine = ", ".join(f"{key} {value}" for key, value in result.machine.items())
    versions = ", ".join(f"{key} {value}" for key, value in result.versions.items())
    return (
        f"<h2>How it was measured</h2><ul>{notes}</ul>"
        f"<p class='soft'>Machine: {escape(machine)}. Versions: {escape(versions)}.</p>"
    )


def _text(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def main() -> None:
    """Write a plain page for each theme named, from its result file and pictures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("themes", nargs="+", help="names of files in benchmarks/results")
    for theme in parser.parse_args().themes:
        text = (RESULTS_DIR / f"{theme}.json").read_text()
        result = BenchmarkResult.model_validate(json.loads(text))
        write_report(result, plain_sections(result), title=theme)


if __name__ == "__main__":
    main()
