"""What a search answers: a few lines for people, one object for machines."""

from typing import Any

from tuning.study import SearchOutcome


def payload(outcome: SearchOutcome) -> dict[str, Any]:
    """Return the JSON object of a command: the decision, the counts and where the rest lies."""
    document = outcome.document
    counts = document["counts"]
    return {
        "model": document["model"],
        "status": document["status"],
        "decision": document["decision"],
        "trials": counts,
        "failed": [
            {"id": one["id"], "values": one["values"], "error": one["error"]}
            for one in document["trials"]
            if one["state"] == "failed"
        ],
        "best_so_far": document["best_so_far"],
        "runs": document["runs"],
        "seconds": document["seconds"],
        "folder": outcome.folder.root,
    }


def text(outcome: SearchOutcome) -> str:
    """Return the same for people."""
    document = outcome.document
    counts = ", ".join(f"{count} {state}" for state, count in sorted(document["counts"].items()))
    lines = [
        f"{document['model']}: {counts}; {document['seconds']:.0f} s in {document['runs']} runs"
    ]
    lines += [
        f"failed: {one['id']}: {one['error']}; values {one['values']}"
        for one in document["trials"]
        if one["state"] == "failed"
    ]
    decision = document["decision"]
    if decision is not None:
        lines.append(decision["reason"])
    else:
        lines.append(
            f"Ended early; best so far is setting {document['best_so_far']}, not confirmed. "
            "The same command goes on."
        )
    lines.append(f"Everything is in {outcome.folder.root}")
    return "\n".join(lines)
