"""How a command answers: one JSON object for machines, or a table for people, and an exit code."""

import json
import logging
import logging.config
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from novacron.errors import NovacronError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a command found or did."""

    payload: Mapping[str, Any]
    """The JSON object of `--json`."""
    view: RenderableType
    """The same for people."""
    exit_code: int = 0


def answer(work: Callable[[], Answer], *, as_json: bool) -> int:
    """Run a command's work, write its answer, and return the exit code.

    An error this project raises on purpose is written in one line or one object, without a
    traceback; any other is a defect and is left to the interpreter.
    """
    try:
        result = work()
    except NovacronError as error:
        if as_json:
            write_json(error.to_dict() | {"exit_code": error.exit_code})
        else:
            print_error(error, Console(stderr=True))
        return error.exit_code
    if as_json:
        write_json(result.payload)
    elif isinstance(result.view, str):
        # As it is: a shell may read it, and half a path is no path.
        Console().print(result.view, markup=False, highlight=False, soft_wrap=True)
    else:
        Console().print(result.view)
    return result.exit_code


def print_error(error: NovacronError, console: Console) -> None:
    """Write an error on one line, however long, so that paths in it can be copied."""
    console.print(f"[bold red]{type(error).__name__}[/]", end=" ")
    console.print(str(error), markup=False, highlight=False, soft_wrap=True)


def write_json(payload: Mapping[str, Any]) -> None:
    """Write one JSON object on one line of standard output."""
    sys.stdout.write(json.dumps(payload, default=str, allow_nan=False) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Build a table; cells are shown as they are, without markup."""
    built = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        built.add_column(column, overflow="fold")
    for row in rows:
        built.add_row(*(_plain(cell) for cell in row))
    return built


def facts(title: str, pairs: Mapping[str, object]) -> Table:
    """Build a table of names and values."""
    built = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    built.add_column(style="cyan")
    built.add_column(overflow="fold")
    for name, value in pairs.items():
        built.add_row(name, _plain(value))
    return built


def progress_bar(*, hidden: bool) -> Progress:
    """Return a progress bar on standard error, which leaves the answer alone on standard output."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        disable=hidden,
    )


def configure_logging(level: str = "INFO") -> None:
    """Send log lines to standard error; called by entry points only."""
    # MLflow sets up its own logging when it is imported, by this.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
            },
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
            },
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {name: {"level": level} for name in ("novacron", "ray_jobs", "__main__")},
        }
    )


def _plain(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return text.replace("[", r"\[")
