"""Ways to run one model, of which the fastest that gives the framework's own answers is taken.

The framework's own call is the reference. Another engine is timed on the same rows and taken only
where its answers stay within the tolerance; one that differs is refused, and the log says by how
much.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError
from novacron.models.base import Tensors

logger = logging.getLogger(__name__)

Predict = Callable[[Tensors], Mapping[str, NDArray[Any]]]

RTOL: Final = 1e-6
ATOL: Final = 1e-9
"""How far an answer may be from the framework's: `ATOL + RTOL * |answer|`, for floats. Texts,
integers and bools must be equal."""
_ROUNDS: Final = 5
_ONE_ROW_SHARE: Final = 0.5
"""Weight of a lone row's time; the rest is that of the whole probe. Both sizes are served."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """One way to run a model."""

    name: str
    predict: Predict


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The engine taken, and what was seen of each: seconds, or why it was refused."""

    engine: Engine
    seconds: Mapping[str, float]
    refused: Mapping[str, str]


def choose_engine(
    reference: Engine,
    others: Sequence[Engine],
    probe: Tensors,
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """Time the engines on a probe and take the fastest one that answers as the reference.

    Args:
        reference: The framework's own call.
        others: The alternatives.
        probe: Rows to ask, the more kinds of them the better.
        clock: Seconds.

    Raises:
        ArtifactError: The reference itself does not answer.
    """
    try:
        wanted = dict(reference.predict(probe))
    except Exception as error:
        raise ArtifactError(f"{reference.name} cannot answer a probe: {error}") from error
    one = {name: array[:1] for name, array in probe.items()}
    seconds = {reference.name: _time(reference, one, probe, clock)}
    refused: dict[str, str] = {}
    for engine in others:
        problem = _compare(engine, wanted, probe)
        if problem:
            refused[engine.name] = problem
            logger.warning("engine %s refused: %s", engine.name, problem)
            continue
        seconds[engine.name] = _time(engine, one, probe, clock)
    known = {engine.name: engine for engine in (reference, *others)}
    fastest = min(seconds, key=lambda name: seconds[name])
    return Choice(engine=known[fastest], seconds=seconds, refused=refused)


def _compare(engine: Engine, wanted: Mapping[str, NDArray[Any]], probe: Tensors) -> str:
    try:
        got = dict(engine.predict(probe))
    except Exception as error:  # noqa: BLE001  an engine that cannot run is one not taken
        return f"it does not run: {error}"
    if set(got) != set(wanted):
        return f"it answers {sorted(got)}, the framework {sorted(wanted)}"
    for name, want in wanted.items():
        have = got[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            return f"{name} is {have.dtype}{have.shape}, the framework's {want.dtype}{want.shape}"
        if want.dtype.kind != "f":
            if not np.array_equal(have, want):
                return f"{name} differs"
        elif not np.allclose(have, want, rtol=RTOL, atol=ATOL, equal_nan=True):
            worst = float(np.max(np.abs(have - want)))
            return f"{name} differs by up to {worst:.3g}, more than {ATOL:g} + {RTOL:g} |answer|"
    return ""


def _time(engine: Engine, one: Tensors, probe: Tensors, clock: Callable[[], float]) -> float:
    best = [np.inf, np.inf]
    for _ in range(_ROUNDS):
        for place, rows in enumerate((one, probe)):
            began_s = clock()
            engine.predict(rows)
            best[place] = min(best[place], clock() - began_s)
    n_rows = len(next(iter(probe.values())))
    return float(_ONE_ROW_SHARE * best[0] + (1 - _ONE_ROW_SHARE) * best[1] / n_rows)
