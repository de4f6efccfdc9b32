"""Searches the settings of a model: `python -m tuning.search --model bandwidth --trials 40`.

Runs on the cluster that `RAY_ADDRESS` names, as inside a Ray job, else on a private Ray. Writes a
line for each trial to standard error and one JSON object to standard output. Exit codes: 0 done,
1 failed, 2 usage or bad input, 130 ended by Ctrl-C with what was found so far.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from novacron.errors import ConfigError, NovacronError
from novacron.registry.config import VARIABLES, RegistryConfig
from novacron.registry.store import ModelStore
from tuning.catalog import objective_of
from tuning.progress import Lines
from tuning.request import SearchRequest, ranges_of
from tuning.study import run_search
from tuning.summary import payload, text

GENERATOR: Final = "generator"
_RUNS: Final = "NOVACRON_RUNS_DIR"
_DATA: Final = "NOVACRON_DATA_DIR"
_INTERRUPTED: Final = 130


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a search."""
    new = parser.add_argument
    new("--model", required=True, help="a known model, or package.module:VARIABLE")
    new("--trials", type=int, default=30, help="settings in all, the default among them")
    new("--time", type=float, help="seconds of the search phase, over all its runs")
    new("--search", choices=("tpe", "random"), default="tpe")
    new("--scheduler", choices=("asha", "median", "pbt", "none"), help="default: the model's own")
    new("--seeds", default="1,2,3", help="of the finalists")
    new("--finalists", type=int, default=3, help="settings that are confirmed")
    new("--seed", type=int, default=7, help="of the search")
    new("--data-seed", type=int, help="of generated or drawn data; default: that of the search")
    new("--budget", type=int, help="of a trial, in the model's unit; default: a full training")
    new("--storage", help="folder or URI; default $NOVACRON_RUNS_DIR/tune")
    new("--data", help=f"folder of traces or `{GENERATOR}`; default ${_DATA}")
    new("--only", action="append", default=[], metavar="NAME", help="search this parameter")
    new("--range", action="append", default=[], metavar="NAME=LOW..HIGH", help="or NAME=A,B")
    new("--engine", choices=("ray", "here"), default="ray", help="here: no Ray, one at a time")
    new("--parallel", type=int, help="most trials at once; default: as many as fit")
    new("--cpus-per-trial", type=int, default=1)
    new("--small", action="store_true", help="as little data as still trains")
    new("--no-track", action="store_true", help="leave MLflow out")


def request_of(given: argparse.Namespace) -> SearchRequest:
    """Turn options into a request.

    Raises:
        UnknownNameError: Nothing of that name can be searched.
        ConfigError: An option does not say what it must.
        OutOfRangeError: A number is outside its range.
    """
    space = objective_of(given.model).space
    return SearchRequest(
        model=given.model,
        trials=given.trials,
        time_s=given.time,
        search=given.search,
        scheduler=given.scheduler,
        seeds=seeds_of(given.seeds),
        finalists=given.finalists,
        seed=given.seed,
        data_seed=given.data_seed,
        budget=given.budget,
        storage=given.storage or default_storage(),
        data=data_folder(given.data),
        small=given.small,
        only=tuple(given.only),
        ranges=ranges_of(tuple(given.range), space),
        engine=given.engine,
        parallel=given.parallel,
        cpus_per_trial=given.cpus_per_trial,
    )


def seeds_of(text: str) -> tuple[int, ...]:
    """Return the seeds of `1,2,3`.

    Raises:
        ConfigError: It is no list of whole numbers.
    """
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError as cause:
        raise ConfigError(field="seeds", got=text, expected="numbers, e.g. 1,2,3") from cause


def default_storage() -> str:
    """Return the folder of searches in the runs folder."""
    return str(Path(os.environ.get(_RUNS) or "runs").resolve() / "tune")


def data_folder(named: str | None) -> Path | None:
    """Return the folder of real data, or None for generated data.

    Raises:
        ConfigError: What is named is neither a folder nor `generator`.
    """
    found = named or os.environ.get(_DATA)
    if named == GENERATOR or not found:
        return None
    if not Path(found).is_dir():
        raise ConfigError(
            field="data" if named else _DATA,
            got=found,
            expected=f"a folder of data, or {GENERATOR!r}",
        )
    return Path(found).resolve()


def registry() -> ModelStore:
    """Connect to the registry that the environment names; by default it lies in the runs folder.

    Raises:
        NovacronError: It does not answer, or a setting is wrong.
    """
    root = os.environ.get(VARIABLES["root"]) or str(
        Path(os.environ.get(_RUNS) or "runs").resolve() / "registry"
    )
    config = RegistryConfig.from_mapping({**os.environ, VARIABLES["root"]: root})
    return ModelStore.connect(config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, search, write one JSON line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tuning.search", description=__doc__)
    add_options(parser)
    given = parser.parse_args(arguments)
    try:
        request = request_of(given)
        lines = Lines(objective_of(request.model).metrics)
        store = None if given.no_track else registry()
        outcome = run_search(request, lines, store=store)
    except NovacronError as error:
        _write(error.to_dict() | {"exit_code": error.exit_code})
        return error.exit_code
    except KeyboardInterrupt:  # before the search had begun, or a second time
        return _INTERRUPTED
    lines.said(text(outcome))
    _write(payload(outcome))
    return outcome.exit_code


def _write(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
