"""The quality report as one HTML page with inline pictures; it loads nothing from anywhere."""

from collections.abc import Sequence
from html import escape
from typing import Final

from novacron.telemetry.quality import ColumnQuality, EntityQuality, QualityReport
from novacron.telemetry.quarantine import REASONS

_ENTITIES_SHOWN: Final = 50
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
body{color:#1b2733}
h1{margin-bottom:0}h2{margin-top:2rem}p.sub{color:#5b6b7a;margin-top:.2rem}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #e3e8ed;white-space:nowrap}
th:first-child,td:first-child,td.text,th.text{text-align:left}td.text{white-space:normal}
div.tiles{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0}
div.tile{border:1px solid #e3e8ed;border-radius:6px;padding:.5rem .9rem;min-width:8rem}
div.tile b{display:block;font-size:1.3rem}div.scroll{overflow-x:auto}
.bad{color:#b3261e;font-weight:600}svg{vertical-align:middle}
"""


def render_page(report: QualityReport) -> str:
    """Render a report as a self-contained HTML page.

    Names from the data are escaped, and a content security policy forbids scripts and any load.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta http-equiv='Content-Security-Policy' "
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Data quality: {escape(report.table)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Data quality: {escape(report.table)}</h1>",
        f"<p class='sub'>{report.made_at.isoformat(timespec='seconds')}, "
        f"grid of {report.step_s:g} s</p>",
        _tiles(report),
        _over_time(report),
        _reasons(report),
        _columns(report.columns),
        _entities(report),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _tiles(report: QualityReport) -> str:
    tiles = (
        ("rows read", f"{report.rows_read:,}"),
        ("rows rejected", f"{report.rows_rejected:,}"),
        ("entities", f"{report.entities_total:,}"),
        ("grid steps", f"{report.steps:,}"),
        ("steps with a sample", _percent(report.completeness_ratio)),
        ("entities with monotone time", _percent(report.monotone_ratio)),
        ("pauses too long to fill", f"{report.grid_breaks:,}"),
    )
    body = "".join(f"<div class='tile'>{name}<b>{value}</b></div>" for name, value in tiles)
    return f"<div class='tiles'>{body}</div>"


def _over_time(report: QualityReport) -> str:
    span = report.over_time
    if span is None:
        return "<p>No row was accepted.</p>"
    picture = _bars(span.counts, width=960, height=90, title="accepted rows over time")
    return (
        f"<h2>Rows over time</h2><div class='scroll'>{picture}</div>"
        f"<p class='sub'>from {span.start.isoformat()}, {span.width_s:g} s a bar</p>"
    )


def _reasons(report: QualityReport) -> str:
    if not report.reasons:
        return "<h2>Rejected rows</h2><p>None.</p>"
    meanings = {str(reason): text for reason, text in REASONS.items()}
    rows = "".join(
        f"<tr><td>{escape(reason)}</td><td class='bad'>{count:,}</td>"
        f"<td class='text'>{escape(meanings.get(reason, ''))}</td></tr>"
        for reason, count in sorted(report.reasons.items(), key=lambda item: -item[1])
    )
    return (
        "<h2>Rejected rows</h2><table><tr><th>reason</th><th>rows</th>"
        f"<th class='text'>meaning</th></tr>{rows}</table>"
    )


def _columns(columns: Sequence[ColumnQuality]) -> str:
    head = (
        "<tr><th>column</th><th>unit</th><th>filled</th><th>filled on grid</th><th>allowed</th>"
        "<th>min</th><th>1 %</th><th>median</th><th>99 %</th><th>max</th><th>rejected</th>"
        "<th class='text'>values, log scale</th></tr>"
    )
    return (
        "<h2>Columns</h2><div class='scroll'><table>"
        + head
        + "".join(map(_column, columns))
        + "</table></div>"
    )


def _column(column: ColumnQuality) -> str:
    allowed = "" if column.low is None else f"{_number(column.low)} .. {_number(column.high)}"
    numbers = (column.minimum, column.p01, column.p50, column.p99, column.maximum)
    rejected = sum(column.rejected.values())
    cells = [
        f"<td>{escape(column.column)}</td><td>{escape(column.unit)}</td>",
        f"<td>{_percent(column.completeness_ratio)}</td>",
        f"<td>{_percent(column.grid_completeness_ratio)}</td><td>{allowed}</td>",
        "".join(f"<td>{_number(value)}</td>" for value in numbers),
        f"<td class='{'bad' if rejected else ''}'>{rejected:,}</td>",
        "<td class='text'>",
        _bars(
            [bar.count for bar in column.histogram],
            width=160,
            height=26,
            title=f"values of {column.column}",
        ),
        "</td>",
    ]
    return "<tr>" + "".join(cells) + "</tr>"


def _entities(report: QualityReport) -> str:
    shown = report.entities[:_ENTITIES_SHOWN]
    head = (
        "<tr><th>entity</th><th>rows</th><th>from</th><th>to</th><th>stale</th>"
        "<th class='text'>complete</th><th>gaps</th><th>longest</th><th>time</th></tr>"
    )
    note = f"The {len(shown)} least complete of {report.entities_total:,}."
    return (
        f"<h2>Entities</h2><p class='sub'>{note}</p><div class='scroll'><table>{head}"
        + "".join(map(_entity, shown))
        + "</table></div>"
    )


def _entity(entity: EntityQuality) -> str:
    bar = _share_bar(entity.completeness_ratio, title=f"completeness of {entity.entity}")
    back = entity.disordered_rows + entity.clock_went_back_rows
    time = "monotone" if entity.monotone else f"<span class='bad'>{back:,} rows back</span>"
    return (
        f"<tr><td>{escape(entity.entity)}</td><td>{entity.rows:,}</td>"
        f"<td>{entity.first_ts.isoformat(timespec='seconds')}</td>"
        f"<td>{entity.last_ts.isoformat(timespec='seconds')}</td>"
        f"<td>{_duration(entity.staleness_s)}</td>"
        f"<td class='text'>{bar} {_percent(entity.completeness_ratio)}</td>"
        f"<td>{entity.gaps:,}</td><td>{_duration(entity.longest_gap_s)}</td><td>{time}</td></tr>"
    )


def _bars(counts: Sequence[int], *, width: int, height: int, title: str) -> str:
    if not counts:
        return ""
    top = max(*counts, 1)
    step = width / len(counts)
    bars = "".join(
        f"<rect x='{index * step:.1f}' y='{height - height * count / top:.1f}' "
        f"width='{max(step - 1, 0.5):.1f}' height='{height * count / top:.1f}'/>"
        for index, count in enumerate(counts)
    )
    return (
        f"<svg role='img' width='{width}' height='{height}' viewBox='0 0 {width} {height}' "
        f"fill='#2f6f9f'><title>{escape(title)}</title>{bars}</svg>"
    )


def _share_bar(share: float, *, title: str) -> str:
    return (
        f"<svg role='img' width='100' height='10' viewBox='0 0 100 10'><title>{escape(title)}"
        f"</title><rect width='100' height='10' fill='#e3e8ed'/>"
        f"<rect width='{100 * share:.1f}' height='10' fill='#2f6f9f'/></svg>"
    )


def _percent(share: float) -> str:
    # 99.996 % must not read as complete.
    return "100 %" if share == 1 else f"{min(100 * share, 99.99):.2f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
