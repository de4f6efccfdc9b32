"""What may be searched of a model's settings: one typed table that searches and docs read.

A space stands beside its model's config and repeats nothing but ranges: a test holds every default
to the config's own. Names are dotted paths below `block`, the place of the config in a training
file: in a space with block `fit`, `lstm.hidden` is `fit: {lstm: {hidden: ...}}`.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np

from novacron.errors import ConfigError
from novacron.models.search_parameters import (
    CategoricalParameter,
    Condition,
    FloatParameter,
    IntParameter,
    Parameter,
    Value,
    shown_range,
    text_of,
)

__all__ = (
    "CategoricalParameter",
    "Condition",
    "FloatParameter",
    "IntParameter",
    "Parameter",
    "SearchSpace",
    "Value",
    "Values",
)

Values = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """The parameters of one model's search.

    Raises:
        ConfigError: There is no parameter, two have one name, one name is the block of another, or
            a condition names none of those before it.
    """

    model: str
    parameters: tuple[Parameter, ...]
    block: str = "fit"
    """Dotted place of the config in a training file; names are below it."""
    kept: Mapping[str, Value] = field(default_factory=dict)
    """Settings that a search leaves where they are, for conditions on them; see `only`."""

    def __post_init__(self) -> None:
        """Check the table's own consistency."""
        if not self.parameters:
            raise ConfigError(
                field=f"search space of {self.model}",
                got="no parameter",
                expected="at least one to search",
                remedy="Leave more of the space in.",
            )
        seen: set[str] = set(self.kept)
        for one in self.parameters:
            if one.name in seen or any(
                a.startswith(f"{b}.") for other in seen for a, b in _both_orders(one.name, other)
            ):
                raise ConfigError(
                    field=f"search space of {self.model}",
                    got=one.name,
                    expected="each setting once, and none the block of another",
                )
            if one.when is not None and one.when.parameter not in seen:
                raise ConfigError(
                    field=f"{one.name}.when",
                    got=one.when.parameter,
                    expected=f"one of the parameters before it: {', '.join(sorted(seen))}",
                )
            seen.add(one.name)

    def __iter__(self) -> Iterator[Parameter]:
        """Go through the parameters; whatever a condition names comes before it."""
        return iter(self.parameters)

    def __len__(self) -> int:
        """Return the number of parameters."""
        return len(self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(one.name for one in self.parameters)

    def parameter(self, name: str) -> Parameter:
        """Return a parameter.

        Raises:
            ConfigError: The space has none of that name.
        """
        for one in self.parameters:
            if one.name == name:
                return one
        near = difflib.get_close_matches(name, self.names, n=1)
        raise ConfigError(
            field=f"search space of {self.model}",
            got=name,
            expected=f"one of {', '.join(self.names)}",
            remedy=f"Did you mean {near[0]!r}?" if near else "",
        )

    def counts(self, parameter: Parameter, values: Values) -> bool:
        """Say whether a parameter counts beside these values: its condition holds."""
        when = parameter.when
        if when is None:
            return True
        if when.parameter in values:
            return when.holds(values[when.parameter])
        return when.parameter in self.kept and when.holds(self.kept[when.parameter])

    def default(self) -> dict[str, Value]:
        """Return the defaults of all parameters that count beside them."""
        return self.check({})

    def check(self, values: Mapping[str, object]) -> dict[str, Value]:
        """Return values in order, with defaults for those left out, without those that do not count.

        Raises:
            ConfigError: A name is unknown.
            OutOfRangeError: A value is not allowed.
        """
        for name in values:
            self.parameter(name)
        checked: dict[str, Value] = {}
        for one in self.parameters:
            value = one.check(values[one.name]) if one.name in values else one.default
            if self.counts(one, checked):
                checked[one.name] = value
        return checked

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """Draw every parameter on its own scale; those that then do not count are left out."""
        drawn: dict[str, Value] = {}
        for one in self.parameters:
            # Drawn in any case: a condition does not shift what later parameters draw.
            value = one.sample(rng)
            if self.counts(one, drawn):
                drawn[one.name] = value
        return drawn

    def near(self, values: Values, rng: np.random.Generator, spread: float) -> dict[str, Value]:
        """Draw every parameter around its value, `spread` of its range wide on its scale.

        A parameter that has none, as its condition did not hold, is drawn around its default.
        """
        drawn: dict[str, Value] = {}
        for one in self.parameters:
            value: Any = values.get(one.name, one.default)
            found = one.near(value, rng, spread)
            if self.counts(one, drawn):
                drawn[one.name] = found
        return drawn

    def nested(self, values: Values) -> dict[str, Any]:
        """Return values as the blocks of a training file: `{"fit": {"lstm": {"hidden": 40}}}`."""
        tree: dict[str, Any] = {}
        for name, value in values.items():
            *blocks, leaf = [*self.block.split("."), *name.split(".")]
            inside = tree
            for block in blocks:
                inside = inside.setdefault(block, {})
            inside[leaf] = list(value) if isinstance(value, tuple) else value
        return tree

    def with_defaults(self, config: Mapping[str, Any]) -> Self:
        """Return the space whose defaults are those of a training file's content, where it has any.

        Args:
            config: Nested blocks from the top; settings that the space does not hold are ignored.

        Raises:
            OutOfRangeError: A setting lies outside the space, so that no search could start there.
        """
        found = []
        for one in self.parameters:
            value: Any = config
            for part in [*self.block.split("."), *one.name.split(".")]:
                value = value.get(part) if isinstance(value, Mapping) else None
            found.append(one if value is None else replace(one, default=one.check(value)))  # type: ignore[arg-type]
        return replace(self, parameters=tuple(found))

    def only(self, names: Sequence[str]) -> Self:
        """Return the space of some parameters; the others stay at their defaults.

        Raises:
            ConfigError: A name is unknown, or none is left.
        """
        for name in names:
            self.parameter(name)
        left = tuple(one for one in self.parameters if one.name in names)
        kept = dict(self.kept) | {
            one.name: one.default for one in self.parameters if one.name not in names
        }
        return replace(self, parameters=left, kept=kept)

    def narrowed(self, changes: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return the space with other bounds, steps or choices: `{"lstm.hidden": {"high": 64}}`.

        A default outside the new range moves to its nearest value.

        Raises:
            ConfigError: An unknown parameter or field, an empty range, or a range wider than the
                declared one.
        """
        for name in changes:
            self.parameter(name)
        return replace(
            self,
            parameters=tuple(
                _narrow(one, changes[one.name]) if one.name in changes else one
                for one in self.parameters
            ),
        )

    def table(self) -> tuple[tuple[str, str, str, str, str, str], ...]:
        """Return a row for each parameter: name, range, scale, default, condition, why."""
        return tuple(
            (
                one.name, shown_range(one), one.scale, text_of(one.default),
                "" if one.when is None else one.when.shown, one.why,
            )
            for one in self.parameters
        )  # fmt: skip


def _both_orders(one: str, other: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return two names in both orders."""
    return (one, other), (other, one)


def _narrow(parameter: Parameter, change: Mapping[str, Any]) -> Parameter:
    known = {"choices"} if isinstance(parameter, CategoricalParameter) else {"low", "high", "step"}
    for key in change:
        if key not in known:
            raise ConfigError(
                field=f"range of {parameter.name}",
                got=key,
                expected=f"one of {', '.join(sorted(known))}",
            )
    made = {one.name: getattr(parameter, one.name) for one in fields(parameter)} | dict(change)
    if isinstance(parameter, CategoricalParameter):
        made["choices"] = tuple(parameter.check(one) for one in made["choices"])
        if parameter.default not in made["choices"] and made["choices"]:
            made["default"] = made["choices"][0]
        return CategoricalParameter(**made)
    for bound in ("low", "high"):
        parameter.check(made[bound])
    made["default"] = min(max(parameter.default, made["low"]), made["high"])
    return type(parameter)(**made)
