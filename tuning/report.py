"""The report of a search: one HTML page that loads nothing, and its pictures as PNG.

`python -m tuning.report FOLDER ...` writes `report/index.html` into folders that hold a
`results.json`, also while the search still runs. Everything on it comes from that file.
"""

import argparse
import base64
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from novacron.errors import UnreadableInputError
from tuning.importance import Document, Importance, finished_trials, importances
from tuning.pictures import (
    draw_coordinates,
    draw_front,
    draw_history,
    draw_importance,
    draw_slices,
)

FOLDER: Final = "report"
PAGE: Final = "index.html"
_RESULTS: Final = "results.json"
_DPI: Final = 110
_STYLE: Final = """
:root{--ink:#1b2733;--soft:#5b6b7a;--line:#e3e8ed;--paper:#fff;--good:#1b7a43}
body{font:16px/1.5 system-ui,sans-serif;max-width:66rem;margin:1.5rem auto;padding:0 1rem}
body{color:var(--ink);background:var(--paper);overflow-wrap:break-word}
h1{margin:0 0 .2rem}h2{margin:2.2rem 0 .4rem}.soft{color:var(--soft)}
p.decision{font-size:1.1rem;border-left:4px solid var(--soft);padding-left:.8rem}
p.gain{border-color:var(--good)}
div.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:14px;min-width:100%}
th,td{padding:.3rem .6rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
td.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
figure{margin:1.2rem 0}figcaption{color:var(--soft);font-size:14px}
img{max-width:100%;height:auto;background:#fff;border:1px solid var(--line)}
@media (prefers-color-scheme:dark){:root{--ink:#dde4ea;--soft:#9fb0bf;--line:#33414d;
--paper:#141a20;--good:#66c98f}}
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

Files = dict[str, bytes]


def report_files(document: Document) -> Files:
    """Return the page and the pictures of a search by file name.

    Args:
        document: Content of `results.json`, see `tuning.results`; also of a search that still runs.
    """
    ranked = importances(document)
    pictures = _pictures(document, ranked)
    files = {f"{name}.png": _png(draw()) for name, _, draw in pictures}
    captions = {f"{name}.png": caption for name, caption, _ in pictures}
    page = _page(document, ranked, [(captions[name], data) for name, data in files.items()])
    return {PAGE: page.encode()} | files


def _pictures(
    document: Document, ranked: tuple[Importance, ...]
) -> list[tuple[str, str, Callable[[], Figure]]]:
    found: list[tuple[str, str, Callable[[], Figure]]] = [
        ("history", "Settings in the order tried, on the search block.",
         lambda: draw_history(document)),
    ]  # fmt: skip
    if finished_trials(document):
        found += [
            ("coordinates", "Settings trained whole; each line is one, darker lines are better.",
             lambda: draw_coordinates(document, ranked)),
            ("slices", "The metric over each parameter; darker points were tried later.",
             lambda: draw_slices(document, ranked)),
        ]  # fmt: skip
    if ranked:
        found.append(
            ("importance", "Which parameters mattered, of the settings that were trained whole.",
             lambda: draw_importance(ranked))
        )  # fmt: skip
    if len(document["metrics"]) > 1 and finished_trials(document):
        found.append(
            ("pareto", "What one metric costs in the other.", lambda: draw_front(document))
        )
    return found


def _png(figure: Figure) -> bytes:
    held = BytesIO()
    figure.savefig(held, format="png", dpi=_DPI)
    return held.getvalue()


def _page(
    document: Document, ranked: Sequence[Importance], pictures: Sequence[tuple[str, bytes]]
) -> str:
    title = f"Search for {document['model']}"
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f"<p class='soft'>{escape(_facts(document))}</p>",
        _decision(document),
        _settings(document),
    ]
    for caption, data in pictures:
        encoded = base64.b64encode(data).decode()
        parts.append(
            f"<figure><img alt='{escape(caption, quote=True)}' "
            f"src='data:image/png;base64,{encoded}'><figcaption>{escape(caption)}</figcaption>"
            "</figure>"
        )
    parts += [_importance(ranked), _trials(document), _failed(document), _data(document)]
    return "".join(parts) + "</body></html>\n"


def _facts(document: Document) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in document["counts"].items())
    asked = document["request"]
    return (
        f"{document['status']}, {counts}; {asked['search']} with {asked['scheduler']} stopping, "
        f"{document['seconds']:.0f} s of wall time in {document['runs']} run(s), updated "
        f"{document['updated_at']}."
    )


def _decision(document: Document) -> str:
    found = document["decision"]
    if found is None:
        best = document["best_so_far"]
        text = "No choice was made yet." if best is None else (
            f"No choice was made yet; setting {best} is the best so far, with one seed."
        )  # fmt: skip
        return f"<p class='decision'>{escape(text)}</p>"
    gain = " gain" if found["is_gain"] else ""
    rows = [
        (name, _number(found["winner_scores"].get(name)), _number(found["default_scores"].get(name)),
         f"{_number(one['value'])} ({_number(one['lo'])} .. {_number(one['hi'])})", str(one["n"]))
        for name, one in found["difference"].items()
    ]  # fmt: skip
    head = ("metric on the untouched block", "setting", "default", "difference, 95 %", "groups")
    return f"<p class='decision{gain}'>{escape(found['reason'])}</p>" + (
        _table(head, rows) if rows else ""
    )


def _settings(document: Document) -> str:
    """Return a table of the parameters: default, chosen or best setting, range."""
    found = {one["number"]: one for one in document["trials"] if one["phase"] == "search"}
    decision = document["decision"] or {}
    shown = decision.get("winner") or document["best_so_far"] or 0
    values: Mapping[str, Any] = found[shown]["values"] if shown in found else {}
    rows = [
        (row["name"], row["default"], _number(values.get(row["name"])), row["range"], row["scale"],
         row["why"])
        for row in document["space"]
    ]  # fmt: skip
    head = ("parameter", "default", f"setting {shown}", "range", "scale", "what it does")
    return f"<h2>Parameters</h2>{_table(head, rows)}"


def _importance(ranked: Sequence[Importance]) -> str:
    if not ranked:
        return (
            "<h2>Importance</h2><p class='soft'>Too few settings were trained whole, or they all "
            "scored alike.</p>"
        )
    rows = [(one.name, f"{one.fanova:.2f}", f"{one.ped_anova:.2f}") for one in ranked]
    said = (
        "Shares of the settings that were trained whole: fANOVA of the variance, PED-ANOVA of what "
        "decides about the best quarter. Below some fifty settings they are hints."
    )
    table = _table(("parameter", "fANOVA", "PED-ANOVA"), rows)
    return f"<h2>Importance</h2><p class='soft'>{said}</p>{table}"


def _trials(document: Document) -> str:
    metrics = [one["name"] for one in document["metrics"]]
    rows = [
        (one["id"], one["state"], one["origin"], str(one["step"]),
         *(_number(one["metrics"].get(name)) for name in metrics), f"{one['seconds']:.1f}",
         ", ".join(f"{name} {_number(value)}" for name, value in one["values"].items()))
        for one in document["trials"]
    ]  # fmt: skip
    head = ("trial", "state", "from", "step", *metrics, "s", "values")
    return f"<h2>Trials</h2>{_table(head, rows)}"


def _failed(document: Document) -> str:
    rows = [(one["id"], one["error"]) for one in document["trials"] if one["state"] == "failed"]
    return f"<h2>Failures</h2>{_table(('trial', 'error'), rows)}" if rows else ""


def _data(document: Document) -> str:
    data = document["data"]
    rows = [("source", data["source"]), ("sha256", data["sha256"])]
    rows += [(f"block {name}", text) for name, text in data["blocks"].items()]
    return f"<h2>Data</h2>{_table(('', ''), rows)}"


def _number(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<div class='scroll'><table><tr>{top}</tr>{body}</table></div>"


def write_report(folder: Path) -> Path:
    """Write the report of the search in a folder and return its page.

    Raises:
        UnreadableInputError: The folder has no readable `results.json`.
    """
    try:
        document = json.loads((folder / _RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise UnreadableInputError(
            field=str(folder), got=str(cause), expected=f"a search with its {_RESULTS}"
        ) from cause
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    for name, data in report_files(document).items():
        (place / name).write_bytes(data)
    return place / PAGE


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the reports of the folders named."""
    parser = argparse.ArgumentParser(prog="python -m tuning.report", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    for folder in parser.parse_args(arguments).folders:
        try:
            sys.stdout.write(f"{write_report(folder)}\n")
        except UnreadableInputError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
