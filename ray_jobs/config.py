"""The door for settings: one function turns a YAML file into a frozen, checked object."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from novacron.errors import ConfigError

Settings = TypeVar("Settings", bound=BaseModel)


def load_config(path: Path, model: type[Settings]) -> Settings:
    """Read a YAML file into `model`.

    Raises:
        ConfigError: The file is missing or is not YAML, or a key or value is not allowed; an
            unknown key is named together with the nearest one that exists.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(
            field=str(path), got=str(cause), expected="a readable YAML file"
        ) from cause
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise ConfigError(field=str(path), got=str(cause), expected="valid YAML") from cause
    return parse_config(raw if raw is not None else {}, model, source=path.name)


def parse_config(raw: object, model: type[Settings], *, source: str) -> Settings:
    """Check parsed YAML or JSON against `model`.

    Raises:
        ConfigError: See `load_config`; all faults are named, the first in `field`.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(field=source, got=type(raw).__name__, expected="a mapping of settings")
    try:
        return model.model_validate(dict(raw))
    except ValidationError as cause:
        raise _to_config_error(cause.errors(), model, source) from cause


def _to_config_error(
    faults: list[ErrorDetails], model: type[BaseModel], source: str
) -> ConfigError:
    # A misspelt key often leaves another one missing: name the cause first.
    faults = sorted(faults, key=lambda fault: fault["type"] != "extra_forbidden")
    first = faults[0]
    where = ".".join(str(part) for part in first["loc"]) or source
    others = "; ".join(
        f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults[1:]
    )
    remedy = f"Also wrong: {others}." if others else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, first["loc"][:-1])
        nearest = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.0)
        expected = f"one of {', '.join(known)}"
        guess = f"Did you mean {nearest[0]!r}?" if nearest else ""
        remedy = f"{guess} {remedy}".strip()
        return ConfigError(
            field=f"{source}: {where}", got=first["loc"][-1], expected=expected, remedy=remedy
        )
    got = "nothing" if first["type"] == "missing" else first.get("input")
    return ConfigError(field=f"{source}: {where}", got=got, expected=first["msg"], remedy=remedy)


def _known_keys(model: type[BaseModel], parents: tuple[int | str, ...]) -> list[str]:
    """Return the keys allowed at `parents`, walking nested models by their field types."""
    current: type[BaseModel] = model
    for part in parents:
        field = current.model_fields.get(str(part))
        if field is not None:
            current = _model_within(field.annotation) or current
    return list(current.model_fields)


def _model_within(annotation: Any) -> type[BaseModel] | None:
    """Return the first pydantic model in a type such as `tuple[Model, ...]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_within(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)
