"""One searched setting: a real number, a whole number or a choice, with its range and its reason.

Legend of the checks: a value is refused with what it should have been; a table that contradicts
itself does not come into being.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from novacron.errors import ConfigError, OutOfRangeError

Choice = bool | int | float | str | tuple[int | float | str, ...]
Value = Choice
"""Of a parameter; a tuple is written as a list in YAML."""

_TOLERANCE: Final = 1e-9
"""Relative slack of a float at its bounds, and of a step: what a round trip by text may add."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """When a parameter counts: `parameter` counts itself and is above a number, or one of some.

    Raises:
        ConfigError: Not exactly one of `above` and `among` is given.
    """

    parameter: str
    above: float | None = None
    among: tuple[Choice, ...] = ()

    def __post_init__(self) -> None:
        """Check that it says one thing."""
        if (self.above is None) == (not self.among):
            raise ConfigError(
                field=f"condition on {self.parameter}",
                got=(self.above, self.among),
                expected="either `above` or `among`",
            )

    def holds(self, value: Value) -> bool:
        """Say whether it holds of the other parameter's value."""
        if self.above is None:
            return value in self.among
        return isinstance(value, int | float) and value > self.above

    @property
    def shown(self) -> str:
        """The condition in words."""
        if self.above is not None:
            return f"`{self.parameter}` above {self.above:g}"
        return f"`{self.parameter}` in {', '.join(text_of(one) for one in self.among)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parameter:
    """What all kinds share."""

    name: str
    """Dotted path below the space's block."""
    why: str
    """One line: what more of it does."""
    when: Condition | None = None
    """None: it always counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatParameter(_Parameter):
    """A real number in [low, high], on a logarithmic scale with `log`, in steps with `step`.

    Raises:
        ConfigError: Bounds, scale, step and default contradict each other.
    """

    default: float
    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        """Check the table's own consistency."""
        _check_numbers(self.name, self.low, self.high, log=self.log, step=self.step)
        _check_default(self)

    @property
    def expected(self) -> str:
        """The accepted values in words."""
        steps = f", in steps of {self.step:g}" if self.step else ""
        return f"a number in [{self.low:g}, {self.high:g}]{steps}"

    @property
    def scale(self) -> str:
        """The scale in one word."""
        return "log" if self.log else "linear"

    def check(self, value: object) -> float:
        """Return the value as a float.

        Raises:
            OutOfRangeError: It is no finite number in range, or between two steps.
        """
        number = _number(self, value)
        slack = _TOLERANCE * max(abs(self.low), abs(self.high))
        if not self.low - slack <= number <= self.high + slack or not _on_step(
            number, self.low, self.step
        ):
            raise OutOfRangeError(field=self.name, got=value, expected=self.expected)
        return min(max(number, self.low), self.high)

    def sample(self, rng: np.random.Generator) -> float:
        """Draw a value, uniformly on the scale."""
        if self.step is not None:
            return self.low + self.step * int(rng.integers(_steps(self.low, self.high, self.step)))
        if self.log:
            drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            return min(max(drawn, self.low), self.high)
        return float(rng.uniform(self.low, self.high))

    def near(self, value: float, rng: np.random.Generator, spread: float) -> float:
        """Draw around a value: normal on the scale, `spread` of the range wide, inside the range."""
        drawn = _near(self, value, rng, spread)
        if self.step is not None:
            places = round((drawn - self.low) / self.step)
            drawn = self.low + self.step * min(places, _steps(self.low, self.high, self.step) - 1)
        return self.check(drawn)


@dataclass(frozen=True, kw_only=True, slots=True)
class IntParameter(_Parameter):
    """A whole number in [low, high], on a logarithmic scale with `log`, in steps of `step`.

    Raises:
        ConfigError: Bounds, scale, step and default contradict each other.
    """

    default: int
    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        """Check the table's own consistency."""
        if not all(isinstance(one, int) for one in (self.low, self.high, self.step)):
            raise ConfigError(
                field=self.name, got=(self.low, self.high, self.step), expected="whole numbers"
            )
        # On a logarithmic scale a step of 1 is no grid: every whole number may be drawn.
        step = None if self.log and self.step == 1 else self.step
        _check_numbers(self.name, self.low, self.high, log=self.log, step=step)
        _check_default(self)

    @property
    def expected(self) -> str:
        """The accepted values in words."""
        steps = f", in steps of {self.step}" if self.step != 1 else ""
        return f"a whole number in [{self.low}, {self.high}]{steps}"

    @property
    def scale(self) -> str:
        """The scale in one word."""
        return "log" if self.log else "linear"

    def check(self, value: object) -> int:
        """Return the value as an int.

        Raises:
            OutOfRangeError: It is no whole number in range, or between two steps.
        """
        number = _number(self, value)
        if (
            number % 1.0
            or not self.low <= number <= self.high
            or (int(number) - self.low) % self.step
        ):
            raise OutOfRangeError(field=self.name, got=value, expected=self.expected)
        return int(number)

    def sample(self, rng: np.random.Generator) -> int:
        """Draw a value, uniformly on the scale."""
        if self.log:
            drawn = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
            return min(max(round(drawn), self.low), self.high)
        return self.low + self.step * int(rng.integers((self.high - self.low) // self.step + 1))

    def near(self, value: int, rng: np.random.Generator, spread: float) -> int:
        """Draw around a value: normal on the scale, `spread` of the range wide, inside the range."""
        places = round((_near(self, value, rng, spread) - self.low) / self.step)
        most = (self.high - self.low) // self.step
        return self.low + self.step * min(places, most)


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoricalParameter(_Parameter):
    """One of a few values; a search knows them by their labels.

    Raises:
        ConfigError: Fewer than two choices, two with one label, or a default that is none of them.
    """

    default: Choice
    choices: tuple[Choice, ...]

    def __post_init__(self) -> None:
        """Check the table's own consistency."""
        if len(self.choices) < 2 or len(set(self.labels)) < len(self.choices):
            raise ConfigError(
                field=f"{self.name}.choices",
                got=self.choices,
                expected="two different ones or more",
            )
        _check_default(self)

    @property
    def labels(self) -> tuple[str, ...]:
        """The choices as texts, in order: what is stored, drawn and shown."""
        return tuple(text_of(one) for one in self.choices)

    @property
    def expected(self) -> str:
        """The accepted values in words."""
        return f"one of {', '.join(self.labels)}"

    @property
    def scale(self) -> str:
        """The scale in one word."""
        return "choice"

    def check(self, value: object) -> Choice:
        """Return the choice that a value or a label means; a list means the tuple.

        Raises:
            OutOfRangeError: It is none of the choices.
        """
        wanted = tuple(value) if isinstance(value, list) else value
        for choice, label in zip(self.choices, self.labels, strict=True):
            # True == 1 and 1 == 1.0, so the label decides among equals.
            if wanted == label or (wanted == choice and text_of(wanted) == label):
                return choice
        raise OutOfRangeError(field=self.name, got=value, expected=self.expected)

    def sample(self, rng: np.random.Generator) -> Choice:
        """Draw a choice, all alike."""
        return self.choices[int(rng.integers(len(self.choices)))]

    def near(self, value: Choice, rng: np.random.Generator, spread: float) -> Choice:
        """Keep the value, or with probability `spread` draw one of all."""
        return self.sample(rng) if rng.random() < spread else value


Parameter = FloatParameter | IntParameter | CategoricalParameter


def shown_range(parameter: Parameter) -> str:
    """Return the values that a parameter may take, as a table shows them."""
    if isinstance(parameter, CategoricalParameter):
        return ", ".join(parameter.labels)
    steps = parameter.step if parameter.step not in (None, 1) else None
    return f"{parameter.low:g} .. {parameter.high:g}" + (f" by {steps:g}" if steps else "")


def text_of(value: object) -> str:
    """Return a value as tables and labels show it: `[64, 64]`, `true`, `0.001`."""
    if isinstance(value, tuple):
        return "[" + ", ".join(text_of(one) for one in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _near(
    parameter: FloatParameter | IntParameter, value: float, rng: np.random.Generator, spread: float
) -> float:
    low, high, middle = float(parameter.low), float(parameter.high), float(value)
    if parameter.log:
        low, high, middle = math.log(low), math.log(high), math.log(middle)
    drawn = min(max(middle + spread * (high - low) * rng.normal(), low), high)
    return math.exp(drawn) if parameter.log else drawn


def _number(parameter: FloatParameter | IntParameter, value: object) -> float:
    if isinstance(value, np.integer | np.floating):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise OutOfRangeError(field=parameter.name, got=value, expected=parameter.expected)
    return float(value)


def _steps(low: float, high: float, step: float) -> int:
    return math.floor((high - low) / step + _TOLERANCE) + 1


def _on_step(number: float, low: float, step: float | None) -> bool:
    if step is None:
        return True
    places = (number - low) / step
    return abs(places - round(places)) < 1e-6


def _check_numbers(name: str, low: float, high: float, *, log: bool, step: float | None) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(field=name, got=(low, high), expected="finite bounds, low < high")
    if log and (low <= 0 or step is not None):
        raise ConfigError(
            field=name, got=(low, step), expected="a logarithmic scale above 0 and without steps"
        )
    if step is not None and not 0 < step <= high - low:
        raise ConfigError(field=name, got=step, expected="a step in (0, high - low]")


def _check_default(parameter: Parameter) -> None:
    try:
        parameter.check(parameter.default)
    except OutOfRangeError as cause:
        raise ConfigError(
            field=f"{parameter.name}.default", got=parameter.default, expected=parameter.expected
        ) from cause
