"""The report of a training: one HTML page with tables and pictures, readable without network."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from novacron.registry.card import CardMetric, ModelCard
from ray_jobs.run_folder import RunFolder
from ray_jobs.trainers import Picture
from ray_jobs.units import UnitProgress, read_progress

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
       color: #1c1c1c; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #ddd; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 100%; height: auto; }
code { overflow-wrap: anywhere; }
"""


def write_report(
    folder: RunFolder,
    card: ModelCard,
    series: Mapping[str, Any],
    more: Sequence[Picture] = (),
) -> list[Path]:
    """Write `index.html` and its pictures and return the pictures.

    Args:
        folder: The run; the loss curves come from its progress files.
        card: What is said of the model.
        series: `forecast`: a mapping with equally long lists `t_s`, `actual_mbps`, `value_mbps`,
            `lower_mbps`, `upper_mbps` of one held-out trace; may be missing.
        more: The trainer's own pictures, in their order after these.
    """
    folder.report.mkdir(parents=True, exist_ok=True)
    pictures: list[tuple[str, Path]] = []
    progress = read_progress(folder.progress)
    if any(event.losses for events in progress.values() for event in events):
        path = folder.report / "loss.png"
        _draw_losses(progress, path)
        pictures.append(("Loss while training, by unit", path))
    ratios = [
        metric for metric in card.metrics if "ratio" in metric.name and metric.lo is not None
    ]
    if ratios:
        path = folder.report / "ratios.png"
        _draw_ratios(ratios, path)
        pictures.append(
            ("Error as a ratio to the baseline, 95 % interval; below 1 is better", path)
        )
    if "forecast" in series:
        path = folder.report / "forecast.png"
        _draw_forecast(series["forecast"], path)
        pictures.append(("One held-out trace: actual, forecast and its 80 % interval", path))
    for picture in more:
        path = folder.report / f"{picture.name}.png"
        picture.draw().savefig(path, dpi=110)
        pictures.append((picture.title, path))
    (folder.report / "index.html").write_text(_page(card, pictures), encoding="utf-8")
    return [path for _, path in pictures]


def _page(card: ModelCard, pictures: Sequence[tuple[str, Path]]) -> str:
    facts = {
        "data": f"{card.data_source}, sha256 {card.data_sha256}",
        "code": card.code_version,
        "features": card.features_hash,
        "seeds": ", ".join(map(str, card.seeds)),
        "trained": card.created_at.isoformat(timespec="seconds"),
        "libraries": ", ".join(f"{name} {version}" for name, version in card.versions.items()),
    }
    shown = "".join(
        f"<tr><th>{html.escape(name)}</th><td><code>{html.escape(value)}</code></td></tr>"
        for name, value in facts.items()
    )
    images = "".join(
        f'<h2>{html.escape(title)}</h2><img src="{path.name}" alt="{html.escape(title)}">'
        for title, path in pictures
    )
    limits = "".join(f"<li>{html.escape(limit)}</li>" for limit in card.limits)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(card.name)}: training report</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>
<body><h1>{html.escape(card.name)}: training report</h1><p>{html.escape(card.intended_use)}</p>
<h2>Measured on held-out data</h2>{_metric_table(card.metrics)}{images}
<h2>Limits</h2><ul>{limits}</ul><h2>Made from</h2><table>{shown}</table></body></html>
"""


def _metric_table(metrics: Sequence[CardMetric]) -> str:
    heads = ("metric", "set", "value", "95 % interval", "n", "beside")
    rows = []
    for metric in metrics:
        interval = "" if metric.lo is None else f"{metric.lo:.4g} .. {metric.hi:.4g}"
        cells = (metric.name, metric.set, f"{metric.value:.4g}", interval, str(metric.n))
        numbers = "".join(f'<td class="number">{html.escape(cell)}</td>' for cell in cells[2:])
        names = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells[:2])
        rows.append(f"<tr>{names}{numbers}<td>{html.escape(metric.baseline)}</td></tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _draw_losses(progress: Mapping[str, Sequence[UnitProgress]], path: Path) -> None:
    figure, axes = _canvas(height_in=4.0)
    for unit, events in progress.items():
        split = "validation" if "validation" in events[-1].losses else "train"
        points = [(event.step, event.losses[split]) for event in events if split in event.losses]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=unit)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    if len(progress) <= 16:
        axes.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=110)


def _draw_ratios(metrics: Sequence[CardMetric], path: Path) -> None:
    figure, axes = _canvas(height_in=1.0 + 0.3 * len(metrics))
    labels = [f"{metric.set}: {metric.name}" for metric in metrics]
    values = [metric.value for metric in metrics]
    below = [metric.value - (metric.lo or metric.value) for metric in metrics]
    above = [(metric.hi or metric.value) - metric.value for metric in metrics]
    places = list(range(len(metrics)))[::-1]
    axes.errorbar(values, places, xerr=[below, above], fmt="o", capsize=3)
    axes.axvline(1.0, color="grey", linestyle="--", linewidth=1)
    axes.set_yticks(places, labels, fontsize=8)
    figure.savefig(path, dpi=110)


def _draw_forecast(series: Mapping[str, Sequence[float]], path: Path) -> None:
    figure, axes = _canvas(height_in=3.5)
    t_s = series["t_s"]
    axes.fill_between(t_s, series["lower_mbps"], series["upper_mbps"], alpha=0.25, label="80 %")
    axes.plot(t_s, series["actual_mbps"], color="black", linewidth=0.8, label="actual")
    axes.plot(t_s, series["value_mbps"], linewidth=1.0, label="forecast, one step ahead")
    axes.set_xlabel("s")
    axes.set_ylabel("Mbit/s")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def _canvas(*, height_in: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, height_in), layout="constrained")
    return figure, figure.subplots()
