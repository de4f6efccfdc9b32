"""What a search leaves behind: `results.json` for reports, and settings as training files.

Fields of `results.json` (format 1):

- `model`, `status` (`running`, `interrupted`, `finished`), `key`, `updated_at` (UTC), `seconds`
  (wall time over all runs), `runs` (1, and 1 more for each resume).
- `request`: trials, time_s, search, scheduler, seeds, finalists, seed, budget, engine.
- `metrics`: list of `{name, better, unit}`; the first decides. `fidelity`: `{unit, low, high}` or
  null.
- `space`: list of `{name, range, scale, default, when, why}`. `data`: `{source, sha256, blocks}`.
- `trials`: every trial of every phase, `{id, number, phase, state, origin, values, seed, block,
  budget, step, metrics, curve, seconds, error, parent}`. `values` are stored ones: numbers, and
  choices by their labels; a parameter that did not count is absent. `curve` is a list of
  `{step, metrics, values, parent}`; `parent` is the trial that PBT copied from before it.
- `counts`: trials of the search phase by state.
- `pareto`: numbers of the finished settings that none other beats on every metric.
- `finalists`: list of `{number, rank, metrics}` over all seeds on their block; number 0 is
  the default.
- `decision`: see `tuning.choice.Decision.to_dict`; null before the search is finished.
- `best_so_far`: number of the best finished search trial, one seed; null where there is none.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from novacron.models.search_space import SearchSpace, Values
from tuning.choice import Decision, pareto_numbers, ranked, scores_of
from tuning.journal import Record
from tuning.objective import Objective, Prepared, SchedulerKind
from tuning.request import SearchRequest
from tuning.spaces import stored

FORMAT = 1
RESULTS = "results.json"
CONFIG = "config.yaml"
BEST_SO_FAR = "best_so_far.yaml"


class Results:
    """Builds the documents of one search.

    Args:
        request: What was asked for.
        objective: Of the model.
        space: What is searched.
        scheduler: The one in use.
        prepared: The data, for their names alone.
        key: Of the search.
    """

    def __init__(
        self,
        request: SearchRequest,
        objective: Objective,
        space: SearchSpace,
        scheduler: SchedulerKind,
        prepared: Prepared,
        key: str,
    ) -> None:
        self._request, self._objective, self._space = request, objective, space
        self._scheduler, self._prepared, self._key = scheduler, prepared, key

    def document(
        self,
        records: Sequence[Record],
        *,
        status: str,
        runs: int,
        seconds: float,
        decision: Decision | None,
    ) -> dict[str, Any]:
        """Return the content of `results.json`."""
        objective = self._objective
        best = ranked(records, objective.metrics[0])
        return {
            "format": FORMAT,
            "model": objective.model,
            "status": status,
            "key": self._key,
            "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "runs": runs,
            "request": self._asked(),
            "metrics": [
                {"name": one.name, "better": one.better, "unit": one.unit}
                for one in objective.metrics
            ],
            "fidelity": _fidelity(objective),
            "space": [
                dict(zip(("name", "range", "scale", "default", "when", "why"), row, strict=True))
                for row in self._space.table()
            ],
            "data": {
                "source": self._prepared.source,
                "sha256": self._prepared.sha256,
                "blocks": dict(self._prepared.blocks),
            },
            "trials": [self._trial(one) for one in records],
            "counts": dict(Counter(one.state for one in records if one.spec.phase == "search")),
            "pareto": pareto_numbers(records, objective.metrics),
            "finalists": self._finalists(records),
            "decision": None if decision is None else decision.to_dict(),
            "best_so_far": best[0].spec.number if best else None,
        }

    def _asked(self) -> dict[str, Any]:
        request = self._request
        return {
            "trials": request.trials,
            "time_s": request.time_s,
            "search": request.search,
            "scheduler": self._scheduler,
            "seeds": list(request.seeds),
            "finalists": request.finalists,
            "seed": request.seed,
            "budget": request.budget_of(self._objective),
            "engine": request.engine,
        }

    def config_text(self, values: Values, why: str) -> str:
        """Return a training file with these values; its head says where they come from."""
        head = "\n".join(
            f"# {line}"
            for line in (
                f"Found by `novacron tune {self._objective.model}`, search {self._key}.",
                *_wrapped(why),
                f"Data: {self._prepared.source}.",
            )
        )
        body = yaml.safe_dump(
            self._objective.config(values), sort_keys=False, default_flow_style=None
        )
        return f"{head}\n{body}"

    def _trial(self, record: Record) -> dict[str, Any]:
        spec = record.spec
        return {
            "id": spec.id,
            "number": spec.number,
            "phase": spec.phase,
            "state": record.state,
            "origin": spec.origin,
            "values": stored(self._space, record.values),
            "seed": spec.seed,
            "block": spec.block,
            "budget": spec.budget,
            "step": record.step,
            "metrics": dict(record.metrics),
            "curve": [
                {
                    "step": one.step,
                    "metrics": dict(one.metrics),
                    "values": stored(self._space, one.values),
                    "parent": one.parent,
                }
                for one in record.curve
            ],
            "seconds": record.seconds,
            "error": record.error,
            "parent": record.parent,
        }

    def _finalists(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        runs = [one for one in records if one.spec.phase == "finalists"]
        target = self._objective.metrics[0]
        found: list[dict[str, Any]] = []
        for number in sorted({one.spec.number for one in runs}):
            scores = scores_of(runs, number)
            if scores is not None:
                metrics = {name: one.value for name, one in scores.items()}
                found.append({"number": number, "metrics": metrics})
        sign = target.sign
        found.sort(key=lambda one: sign * one["metrics"][target.name])
        return [one | {"rank": rank} for rank, one in enumerate(found, start=1)]


def _fidelity(objective: Objective) -> dict[str, Any] | None:
    found = objective.fidelity
    return None if found is None else {"unit": found.unit, "low": found.low, "high": found.high}


def _wrapped(text: str, width: int = 96) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return [*lines, line] if line else lines
