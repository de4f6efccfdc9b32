"""Windows of any metrics as contexts: checked, with the channel that carries the level found.

Legend: N windows, T steps (newest last), F channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import InvalidInputError, OutOfRangeError, SchemaError
from novacron.models.performance.config import PerformanceConfig
from novacron.models.performance.context import Context, Floats, blank
from novacron.models.performance.medians import row_ewma
from novacron.models.performance.names import Names, Priors, no_priors
from novacron.models.performance.parts import Material, Part

NO_CHANNEL: Final = -1
"""No channel carries the level of the target: it is the median of the training targets."""

_LEVEL_HALF_LIFE: Final = 8.0
_FEWEST_WINDOWS: Final = 20
_CELL: Final = (-1, -1, -1)


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowForm:
    """Shape of the windows a predictor was trained on, and the channel of the level."""

    steps: int
    channels: int
    level_channel: int
    step_s: float


def read_batches(loader: Iterable[Any], name: str) -> tuple[Floats, Floats]:
    """Join the batches (X, y) of a loader: x_NTF and y_N, checked.

    Raises:
        InvalidInputError: There is no batch, or a batch is no pair.
        SchemaError: A shape does not fit.
        OutOfRangeError: A value is missing or not finite.
    """
    xs: list[Floats] = []
    ys: list[Floats] = []
    for batch in loader:
        try:
            x, y = batch
        except (TypeError, ValueError) as cause:
            raise InvalidInputError(
                field=name, got=type(batch).__name__, expected="pairs (X [N, T, F], y [N])"
            ) from cause
        x_NTF = check_windows(x, f"{name}: X")
        y_N = np.asarray(y, dtype=np.float64)
        if y_N.ndim == 2 and y_N.shape[1] == 1:
            y_N = y_N[:, 0]
        if y_N.shape != (len(x_NTF),):
            raise SchemaError(
                field=f"{name}: y", got=list(y_N.shape), expected=f"shape [{len(x_NTF)}]"
            )
        _require_finite(y_N, f"{name}: y")
        if xs and x_NTF.shape[1:] != xs[0].shape[1:]:
            raise SchemaError(
                field=f"{name}: X",
                got=list(x_NTF.shape),
                expected=f"steps and channels as in the first batch, {list(xs[0].shape[1:])}",
            )
        xs.append(x_NTF)
        ys.append(y_N)
    if not xs:
        raise InvalidInputError(
            field=name, got="no batch", expected="at least one", remedy="Is it a used-up iterator?"
        )
    return np.concatenate(xs), np.concatenate(ys)


def check_windows(x: Any, name: str = "X") -> Floats:
    """Return windows as x_NTF.

    Raises:
        SchemaError: Not three axes, no row, or fewer than two steps.
        OutOfRangeError: A value is missing or not finite.
    """
    x_NTF = np.asarray(x, dtype=np.float64)
    if x_NTF.ndim != 3 or 0 in x_NTF.shape or x_NTF.shape[1] < 2:
        raise SchemaError(
            field=name,
            got=list(x_NTF.shape),
            expected="shape [N, T, F]: windows, at least 2 steps (newest last), channels",
        )
    _require_finite(x_NTF, name)
    return x_NTF


def _require_finite(values: Floats, name: str) -> None:
    wrong = ~np.isfinite(values)
    if wrong.any():
        where = np.unravel_index(int(np.argmax(wrong)), values.shape)
        raise OutOfRangeError(
            field=f"{name}[{', '.join(str(int(axis)) for axis in where)}]",
            got=float(values[where]),
            expected="a finite number",
            remedy="Fill or drop missing samples before.",
        )


def find_level_channel(x_NTF: Floats, y_N: Floats) -> int:
    """Return the channel whose EWMA is closest to the target in mean absolute error.

    `NO_CHANNEL` where none is closer than the median of the targets.
    """
    losses = [float(np.abs(y_N - np.median(y_N)).mean())]
    losses += [
        float(np.abs(y_N - row_ewma(x_NTF[:, :, place], _LEVEL_HALF_LIFE)).mean())
        for place in range(x_NTF.shape[2])
    ]
    return int(np.argmin(losses)) - 1


def to_context(x_NTF: Floats, form: WindowForm, config: PerformanceConfig) -> Context:
    """Return windows as contexts: the level channel as own samples, the others as extras.

    Raises:
        SchemaError: The windows differ in form from those of the training.
    """
    if x_NTF.shape[1:] != (form.steps, form.channels):
        raise SchemaError(
            field="X",
            got=list(x_NTF.shape),
            expected=f"shape [N, {form.steps}, {form.channels}], as in the training",
        )
    others = [place for place in range(form.channels) if place != form.level_channel]
    made = blank(
        len(x_NTF),
        history=config.history,
        peers=config.peers,
        extras=len(others),
        steps=form.steps,
    )
    made = replace(made, extra_NTE=x_NTF[:, :, others])
    if form.level_channel == NO_CHANNEL:
        return made
    own_NT, age_NT = made.own_NT, made.own_age_NT
    kept = min(form.steps, config.history)
    own_NT[:, -kept:] = x_NTF[:, -kept:, form.level_channel]
    age_NT[:, -kept:] = form.step_s * np.arange(kept, 0, -1)
    return made


def to_material(
    train: tuple[Floats, Floats], validation: tuple[Floats, Floats], form: WindowForm,
    config: PerformanceConfig,
) -> Material:  # fmt: skip
    """Return both parts as a fit reads them; too many training windows are thinned out evenly.

    Raises:
        InvalidInputError: Too few windows.
    """
    for name, (_, y_N) in (("train_loader", train), ("val_loader", validation)):
        if len(y_N) < _FEWEST_WINDOWS:
            raise InvalidInputError(
                field=name, got=f"{len(y_N)} windows", expected=f"at least {_FEWEST_WINDOWS}"
            )
    return Material(
        train=_part(train, form, config, config.twin.rows),
        validation=_part(validation, form, config, config.validation_rows),
        names=Names(),
        cells=(_CELL,),
        priors=_prior(train[1]) if form.level_channel == NO_CHANNEL else no_priors(),
    )


def _prior(y_N: Floats) -> Priors:
    """Return the median of the targets as what is typical: the level where no channel carries one.

    Windows that carry their own level may be of any scale: for them nothing is typical.
    """
    centre = float(np.median(y_N))
    return Priors(
        cell=(_CELL,),
        vm=(0,),
        median=np.array([centre]),
        distance=np.array([float(np.abs(y_N - centre).mean())]),
        low=np.zeros(0),
        high=np.zeros(0),
    )


def _part(
    pair: tuple[Floats, Floats], form: WindowForm, config: PerformanceConfig, most: int
) -> Part:
    x_NTF, y_N = pair
    if len(y_N) > most:
        rows: NDArray[np.intp] = np.linspace(0, len(y_N) - 1, most).astype(np.intp)
        x_NTF, y_N = x_NTF[rows], y_N[rows]
    return Part(context=to_context(x_NTF, form, config), actual_N=y_N, future_NH=y_N[:, None])
