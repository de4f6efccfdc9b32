"""A search in MLflow: one parent run, a child run for each trial that ended."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from novacron.models.search_space import SearchSpace
from novacron.registry.runs import Run
from novacron.registry.store import ModelStore
from tuning.journal import Journal, Record
from tuning.report import FOLDER as REPORT
from tuning.results import BEST_SO_FAR, CONFIG, RESULTS
from tuning.spaces import stored
from tuning.storage import Storage

log = logging.getLogger(__name__)

_MARK: Final = "tracked"
_PARENT: Final = "mlflow.json"


class Tracker:
    """Mirrors ended trials into the registry's MLflow, each once, also over resumes.

    Args:
        store: The registry.
        run: The parent run.
        journal: Where a tracked trial is marked.
        space: Of the values.
    """

    def __init__(self, store: ModelStore, run: Run, journal: Journal, space: SearchSpace) -> None:
        self._store, self._run, self._journal, self._space = store, run, journal, space
        self._failures = 0

    def catch_up(self, records: list[Record]) -> None:
        """Track what ended while nobody tracked it."""
        known = self._journal.marked(_MARK)
        for record in records:
            if record.state != "unfinished" and record.spec.id not in known:
                self.trial(record)

    def try_trial(self, record: Record) -> bool:
        """Write one child run; where that fails the search goes on, and `catch_up` tries again.

        Returns:
            False the first time that it fails.
        """
        try:
            self.trial(record)
        except Exception as error:  # noqa: BLE001 - whatever MLflow raises, the journal has the trial
            log.warning("trial %s is not in MLflow: %s", record.spec.id, error)
            self._failures += 1
            return self._failures > 1
        return True

    def trial(self, record: Record) -> None:
        """Write one child run."""
        spec = record.spec
        tags = {
            "phase": spec.phase,
            "state": record.state,
            "origin": spec.origin,
            "number": str(spec.number),
            "trial": spec.id,
        }
        if record.error:
            tags["error"] = record.error[:500]
        params = dict(stored(self._space, record.values)) | {"seed": spec.seed}
        with self._store.run(
            spec.id, params=params, tags=tags, parent_run_id=self._run.run_id
        ) as run:
            for report in record.curve:
                run.log_metrics(report.metrics, step=report.step)
            if record.metrics:
                run.log_metrics(record.metrics, step=record.step)
            run.log_metrics({"seconds": record.seconds})
            self._journal.mark(spec.id, _MARK, {"run_id": run.run_id})

    def finish(self, document: dict[str, Any], folder: Storage) -> None:
        """Write the decision and the files of the search."""
        decision = document["decision"] or {}
        for name, gap in decision.get("difference", {}).items():
            self._run.log_metrics({f"difference/{name}": gap["value"]})
        self._run.set_tags(
            {
                "status": document["status"],
                "chosen": str(decision.get("number", "")),
                "reason": decision.get("reason", "")[:500],
                "data_sha256": document["data"]["sha256"],
            }
        )
        with folder.folder_here(REPORT) as report:
            for path in sorted(report.iterdir()):
                self._run.log_artifact(path, REPORT)
        with TemporaryDirectory(prefix="novacron-tuning-") as scratch:
            for name in (RESULTS, CONFIG, BEST_SO_FAR):
                text = folder.read_text(name)
                if text is not None:
                    path = Path(scratch) / name
                    path.write_text(text)
                    self._run.log_artifact(path)


@contextmanager
def tracked(
    store: ModelStore,
    folder: Storage,
    journal: Journal,
    space: SearchSpace,
    *,
    model: str,
    key: str,
) -> Iterator[Tracker]:
    """Open the parent run, or go on with that of an earlier run of the search."""
    known = store.known_run((folder.read_json(_PARENT) or {}).get("run_id", ""))
    tags = {"job": "tune", "model": model, "search": key}
    with store.run(f"tune {model}", tags=tags, run_id=known) as run:
        folder.write_json(_PARENT, {"run_id": run.run_id})
        yield Tracker(store, run, journal, space)
