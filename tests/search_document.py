"""Results of a made-up search, as `results.json` holds them."""

import numpy as np

SPACE = [
    ("rate", "0.001 .. 1", "log", "0.01"),
    ("width", "1 .. 64", "linear", "8"),
    ("kind", "a, [1, 2]", "choice", "a"),
]


def trial(number, values, loss, *, state="finished", size=10.0, step=8):
    return {
        "id": f"search-{number:05d}-7", "number": number, "phase": "search", "state": state,
        "origin": "default" if number == 0 else "tpe", "values": values, "seed": 7,
        "block": "search", "budget": 8, "step": step,
        "metrics": {} if loss is None else {"loss": loss, "size": size},
        "curve": [], "seconds": 1.5, "error": "boom <b>" if state == "failed" else "", "parent": "",
    }  # fmt: skip


def document(trials, *, metrics=("loss",), decision=None):
    return {
        "format": 1, "model": "toy", "status": "finished" if decision else "running",
        "key": "abc", "updated_at": "2026-01-01T00:00:00+00:00", "seconds": 12.0, "runs": 2,
        "request": {"trials": 30, "search": "tpe", "scheduler": "asha"},
        "metrics": [{"name": name, "better": "lower", "unit": ""} for name in metrics],
        "fidelity": {"unit": "epochs", "low": 1, "high": 8},
        "space": [
            {"name": n, "range": r, "scale": s, "default": d, "when": "", "why": "<why>"}
            for n, r, s, d in SPACE
        ],
        "data": {"source": "generator seed 7", "sha256": "0f", "blocks": {"search": "3 folds"}},
        "trials": trials, "counts": {"finished": len(trials)}, "pareto": [0],
        "finalists": [], "decision": decision, "best_so_far": 0 if trials else None,
    }  # fmt: skip


def planted(count=24):
    """Trials in which `rate` decides everything."""
    rng = np.random.default_rng(1)
    found = []
    for number in range(count):
        rate, width = float(10 ** rng.uniform(-3, 0)), int(rng.integers(1, 65))
        kind = str(rng.choice(["a", "[1, 2]"]))
        loss = float(np.log10(rate / 0.03) ** 2 + 0.01 * rng.normal())
        found.append(trial(number, {"rate": rate, "width": width, "kind": kind}, loss))
    return found
