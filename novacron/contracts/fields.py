"""The vocabulary in which telemetry tables are written: one `FieldSpec` per column."""

import dataclasses
from collections.abc import Iterator
from typing import Literal, get_args, get_origin, get_type_hints

Kind = Literal["timestamp", "string", "float", "int"]
Aggregate = Literal["key", "last", "mean", "max", "sum"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FieldSpec:
    """One column of a telemetry table.

    `tag` is the protobuf field number and never changes once released. `low` and `high` are
    inclusive bounds in `unit`; None means unbounded. `aggregate` says how several samples of one
    grid step become one value. `choices` limits a string column.
    """

    tag: int
    unit: str
    doc: str
    aggregate: Aggregate
    low: float | None = None
    high: float | None = None
    required: bool = False
    choices: tuple[str, ...] = ()
    name: str = ""
    kind: Kind = "float"

    @property
    def expected(self) -> str:
        """The accepted values in words, for error messages and docs."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind == "timestamp":
            return "a UTC timestamp"
        if self.kind == "string":
            return "a non-empty string"
        noun = "an integer" if self.kind == "int" else "a finite number"
        unit = "" if self.unit.startswith("0..1") else f" {self.unit}"
        return f"{noun} in [{self.low:g}, {self.high:g}]{unit}"


@dataclasses.dataclass(frozen=True, slots=True)
class SampleSchema:
    """A telemetry table: its name, the column naming the entity, and its columns in order."""

    name: str
    entity: str
    fields: tuple[FieldSpec, ...]

    def __iter__(self) -> Iterator[FieldSpec]:
        return iter(self.fields)

    def __getitem__(self, name: str) -> FieldSpec:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(field.name for field in self.fields)

    @property
    def required(self) -> tuple[str, ...]:
        """Columns that must be present and filled."""
        return tuple(field.name for field in self.fields if field.required)

    @property
    def metrics(self) -> tuple[FieldSpec, ...]:
        """The numeric columns: what is validated against bounds and joined on the grid."""
        return tuple(field for field in self.fields if field.kind in ("float", "int"))


_KINDS: dict[str, Kind] = {
    "datetime": "timestamp",
    "str": "string",
    "float": "float",
    "int": "int",
}


def schema_of(sample: type, *, name: str, entity: str) -> SampleSchema:
    """Read the table out of a sample class whose annotations carry a `FieldSpec` each.

    Args:
        sample: A dataclass; every field is `Annotated[T, FieldSpec(...)]` or
            `Annotated[T | None, FieldSpec(...)]`.
        name: Table name, also the protobuf message name in lower case.
        entity: The column that names the link or node.

    Raises:
        TypeError: A field carries no `FieldSpec`.
    """
    hints = get_type_hints(sample, include_extras=True)
    fields = []
    for column, hint in hints.items():
        annotated = get_args(hint)
        specs = [item for item in annotated if isinstance(item, FieldSpec)]
        if not specs:
            raise TypeError(f"{sample.__name__}.{column} is not Annotated with a FieldSpec")
        spec = specs[0]
        base = annotated[0]
        if get_origin(base) is not None or type(None) in get_args(base):
            base = next(item for item in get_args(base) if item is not type(None))
        fields.append(dataclasses.replace(spec, name=column, kind=_KINDS[base.__name__]))
    return SampleSchema(name=name, entity=entity, fields=tuple(fields))
