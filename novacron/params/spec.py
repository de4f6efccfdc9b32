"""The vocabulary of the parameter tables: one knob, and a group of knobs decided together.

Bounds, kinds and defaults are data; `groups` holds them, `encode` turns them into numbers for a
policy, and nobody else repeats them.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

from novacron.contracts.telemetry import DwcpMode
from novacron.errors import ConfigError, OutOfRangeError, UnknownNameError

ParameterKind = Literal["int", "float", "log2", "enum"]
ParameterValue = float | int | str
Component = Literal["AMST", "HDE", "PBA", "ASS", "ACP", "ITP"]

_KINDS: Final = ("int", "float", "log2", "enum")


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterSpec:
    """One knob of DWCP.

    `low` and `high` are inclusive bounds in `unit`. A `log2` knob is a whole number searched on a
    logarithmic scale; an `enum` knob is one of `choices`, and its bounds are set from them.
    `default` is what ships for a wide-area path, `datacenter_default` for the datacenter mode where
    that differs. `tunable=False` marks what no policy may set: limits that guard correctness.

    Raises:
        ConfigError: The bounds, kind, choices and defaults contradict each other.
    """

    name: str
    unit: str
    kind: ParameterKind
    default: ParameterValue
    doc: str
    trades: str
    """The two physical effects that pull the knob in opposite directions."""
    source: str
    """Where range and default come from, and why this default."""
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()
    datacenter_default: ParameterValue | None = None
    tunable: bool = True

    def __post_init__(self) -> None:
        """Derive the bounds of an enum and check the table's own consistency."""
        if self.kind not in _KINDS:
            raise ConfigError(field=f"{self.name}.kind", got=self.kind, expected=", ".join(_KINDS))
        if (self.kind == "enum") != bool(self.choices):
            raise ConfigError(
                field=f"{self.name}.choices",
                got=self.choices,
                expected="choices for an enum and for nothing else",
            )
        if self.kind == "enum":
            object.__setattr__(self, "low", 0.0)
            object.__setattr__(self, "high", float(len(self.choices) - 1))
        floor = 1.0 if self.kind == "log2" else -math.inf
        if not floor <= self.low < self.high < math.inf:
            raise ConfigError(
                field=f"{self.name}.low", got=(self.low, self.high), expected="low < high, finite"
            )
        self.to_number(self.default)
        if self.datacenter_default is not None:
            self.to_number(self.datacenter_default)

    @property
    def expected(self) -> str:
        """The accepted values in words, for error messages and docs."""
        if self.kind == "enum":
            return "one of " + ", ".join(self.choices)
        noun = "a number" if self.kind == "float" else "a whole number"
        return f"{noun} in [{self.low:g}, {self.high:g}] {self.unit}"

    def to_number(self, value: ParameterValue) -> float:
        """Return a value as the float that arrays carry; an enum becomes its index.

        Raises:
            OutOfRangeError: The value is not one of the accepted ones.
        """
        if self.kind == "enum":
            if value in self.choices:
                return float(self.choices.index(str(value)))
            raise OutOfRangeError(field=self.name, got=value, expected=self.expected)
        # Bounds before wholeness: an integer of hundreds of digits has no float.
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not self.low <= value <= self.high
            or (self.kind != "float" and float(value) % 1.0 != 0.0)
        ):
            raise OutOfRangeError(field=self.name, got=value, expected=self.expected)
        return float(value)

    def from_number(self, number: float) -> ParameterValue:
        """Invert `to_number`.

        Raises:
            OutOfRangeError: The number is outside the bounds, or not whole where it has to be.
        """
        if self.kind == "float":
            return self.to_number(float(number))
        if number % 1.0 != 0.0 or not self.low <= number <= self.high:
            raise OutOfRangeError(field=self.name, got=number, expected=self.expected)
        return self.choices[int(number)] if self.kind == "enum" else int(number)

    def default_for(self, mode: DwcpMode) -> ParameterValue:
        """Return what ships in `mode`."""
        if mode == "datacenter" and self.datacenter_default is not None:
            return self.datacenter_default
        return self.default


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterGroup:
    """Knobs that are decided together by one policy.

    Iterating yields the tunable knobs in the order in which actions and observations carry them.
    """

    name: str
    doc: str
    components: tuple[Component, ...]
    parameters: tuple[ParameterSpec, ...]

    def __post_init__(self) -> None:
        """Refuse a table that names a knob twice."""
        names = [parameter.name for parameter in self.parameters]
        if len(set(names)) != len(names):
            raise ConfigError(
                field=f"{self.name}.parameters", got=names, expected="each name once"
            )

    def __iter__(self) -> Iterator[ParameterSpec]:
        return iter(self.tunable)

    def __len__(self) -> int:
        return len(self.tunable)

    def __getitem__(self, name: str) -> ParameterSpec:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise UnknownNameError(
            kind=f"{self.name} parameter", got=name, known=[p.name for p in self.parameters]
        )

    @property
    def tunable(self) -> tuple[ParameterSpec, ...]:
        """What a policy may set."""
        return tuple(parameter for parameter in self.parameters if parameter.tunable)

    @property
    def fixed(self) -> tuple[ParameterSpec, ...]:
        """What no policy may set."""
        return tuple(parameter for parameter in self.parameters if not parameter.tunable)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tunable knobs in order."""
        return tuple(parameter.name for parameter in self.tunable)

    def defaults(self, mode: DwcpMode = "internet") -> dict[str, ParameterValue]:
        """Return the shipped value of every tunable knob in `mode`."""
        return {parameter.name: parameter.default_for(mode) for parameter in self.tunable}

    def check(self, values: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
        """Return `values` in table order, typed.

        Raises:
            UnknownNameError: A name is not in the table.
            OutOfRangeError: A knob is missing, outside its range, or not tunable.
        """
        for name in values:
            if not self[name].tunable:
                raise OutOfRangeError(
                    field=name,
                    got=values[name],
                    expected="no value",
                    remedy="It guards correctness and is set by the operator alone.",
                )
        for name in self.names:
            if name not in values:
                raise OutOfRangeError(field=name, got=None, expected=self[name].expected)
        return {
            knob.name: knob.from_number(knob.to_number(values[knob.name])) for knob in self.tunable
        }

    def fingerprint(self) -> str:
        """Return a digest of what a policy depends on: names, order, kinds, bounds, choices."""
        keys = ("name", "unit", "kind", "low", "high", "choices")
        table = [{key: asdict(knob)[key] for key in keys} for knob in self.tunable]
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]
