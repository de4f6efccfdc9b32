"""A training run: its parameters, progress and pictures, kept even when the training dies."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from novacron.errors import NotFoundError

if TYPE_CHECKING:
    from novacron.registry.backend import MlflowBackend

PARAM_LIMIT: Final = 6000
"""Longest parameter value MLflow keeps, in characters."""


class Run:
    """One open run; get it from `ModelStore.run`."""

    def __init__(self, backend: "MlflowBackend", run_id: str) -> None:
        self._backend = backend
        self.run_id = run_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Write settings once; nested mappings become dotted names.

        Raises:
            ConfigError: The run was started with another value.
        """
        flat = dict(_flatten(params, ""))
        self._backend.log_params(
            self.run_id, {key: text[:PARAM_LIMIT] for key, text in flat.items()}
        )

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Write one value of each metric at a step; steps may come again after a resume."""
        self._backend.log_metrics(self.run_id, metrics, step=step)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Write free labels, such as the data digest."""
        self._backend.set_run_tags(self.run_id, tags)

    def log_figure(self, path: Path) -> None:
        """Upload one picture into the run's `figures` folder."""
        self._backend.log_file(self.run_id, path, "figures")

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Upload one file into a folder of the run."""
        self._backend.log_file(self.run_id, path, folder)

    def log_json(self, name: str, value: Any) -> None:
        """Upload a JSON document under a file name."""
        with TemporaryDirectory(prefix="novacron-") as scratch:
            path = Path(scratch) / name
            path.write_text(json.dumps(value, indent=1, default=str))
            self._backend.log_file(self.run_id, path, "")


@contextmanager
def open_run(
    backend: "MlflowBackend",
    name: str,
    *,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    run_id: str = "",
    parent_run_id: str = "",
) -> Iterator[Run]:
    """Start a run, or take one up again, and close it as what it turned out to be.

    A normal end closes it as FINISHED, an exception as FAILED, Ctrl-C and exit as KILLED. A
    process that is killed outright leaves it RUNNING; give its `run_id` to go on with it.

    Raises:
        NotFoundError: There is no run of that id.
        ConfigError: A parameter of the run has another value already.
    """
    if run_id:
        if backend.run_status(run_id) is None:
            raise NotFoundError(
                f"There is no run {run_id!r} in experiment {backend.config.experiment!r}.",
                remedy="Start a new run by leaving the run id out.",
            )
        backend.reopen_run(run_id)
    else:
        run_id = backend.start_run(name, tags, parent_run_id=parent_run_id)
    try:
        run = Run(backend, run_id)
        run.log_params(params)
        yield run
    except Exception:
        backend.end_run(run_id, "FAILED")
        raise
    except BaseException:
        backend.end_run(run_id, "KILLED")
        raise
    backend.end_run(run_id, "FINISHED")


def _flatten(params: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
