"""The demo's summary for people: one table of what was done and where to look next."""

from typing import Any, Final

from rich.console import Group
from rich.text import Text

from ray_jobs.answers import facts, table
from ray_jobs.train import interval

_COLD_START: Final = ("model", "asked", "answer", "fallback", "seconds")


def summary_view(summary: dict[str, Any]) -> Group:
    """Lay out the summary that the demo wrote."""
    trained = summary["training"]
    endpoint = summary["endpoint"]
    batch = summary["batch"]
    done = {
        "data": f"{summary['data_source']}, {trained['rows']} samples",
        "model": f"{trained['model']} version {trained['version']}"
        + (", reused: same data, config and code" if trained["reused"] else ", trained now"),
        "champion": _promotion(summary["promotion"]),
        "endpoint": f"{endpoint['url']}, answers with version {endpoint['model_version']}",
        "file forecast": f"{batch['rows']} rows at {batch['rows_per_s']:.0f} rows/s, "
        f"{batch['rows_rejected']} rejected",
        "took": f"{summary['seconds']:.0f} s",
    }
    errors = [
        (one["set"], one["name"], f"{one['value']:.4g}", interval(one), one["n"], one["baseline"])
        for one in trained["metrics"]
        if "/" not in one["name"]  # the members of the blend are in the report
    ]
    latency = [
        (
            one["rows"],
            one["requests"],
            f"{one['p50_ms']:.1f}",
            f"{one['p95_ms']:.1f}",
            f"{one['in_process_p50_ms']:.1f}",
            f"{one['ratio']:.1f}",
        )
        for one in endpoint["latency"]
    ]
    return Group(
        facts("Done", done),
        table(
            "Held-out traces, beside the baselines",
            ("set", "metric", "value", "95 % interval", "n", "beside"),
            errors,
        ),
        table(
            "Endpoint latency in ms, beside the same call in process",
            ("rows", "requests", "p50", "p95", "in process p50", "ratio"),
            latency,
        ),
        table(
            "Other models from a cold start, on generated data with a known cause",
            _COLD_START,
            [[one[name] for name in _COLD_START] for one in summary["cold_start"]],
        ),
        facts("Where to look", _where(summary)),
    )


def _promotion(promotion: dict[str, Any]) -> str:
    if not promotion["passed"]:
        return f"unchanged: {promotion['refused']}"
    notes = " ".join(promotion["gate"]["notes"])
    return f"version {promotion['champion']} passed the gate. {notes}".strip()


def _where(summary: dict[str, Any]) -> dict[str, object]:
    cluster = summary["cluster"]
    shown: dict[str, object] = {
        "report": summary["training"]["report"],
        "training log": summary["training"]["log"],
        "MLflow": Text(cluster["mlflow"]),
        "forecasts": summary["batch"]["target"],
        "summary": summary["summary"],
    }
    if cluster["kept"]:
        shown["Ray dashboard"] = cluster["dashboard"]
        shown["its token"] = cluster["token_path"]
        shown["stop it with"] = cluster["stop"]
    else:
        shown["Ray dashboard"] = "stopped with the cluster; `make demo KEEP=1` leaves it running"
    return shown
