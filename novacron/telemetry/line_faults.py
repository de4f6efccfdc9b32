"""What can be said for certain about a line that does not parse, cell by cell.

Only faults that Arrow's parsers refuse as well are named here; anything doubtful is left to them.
"""

import json
import re
from dataclasses import dataclass
from typing import Final

from novacron.contracts.fields import FieldSpec
from novacron.telemetry.quarantine import Reason

NULL_CELLS: Final = ("", "null", "NULL", "NA")
"""Cells of a CSV file that mean: nothing was measured."""

_NAIVE_TS: Final = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?)?")
_BARE_NUMBER: Final = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFault:
    """Why one line is refused."""

    reason: Reason
    column: str = ""
    got: str = ""
    expected: str = ""
    hint: str = ""


def is_utf8(data: bytes) -> bool:
    """Tell whether bytes are UTF-8 text."""
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def cell_fault(cell: str, field: FieldSpec) -> LineFault | None:
    """Return what is wrong with a CSV cell, None if nothing certain is."""
    if cell in NULL_CELLS or field.kind == "string":
        return None
    if field.kind == "timestamp":
        return _ts_fault(cell, field)
    try:
        float(cell)
    except ValueError:
        # nan(...) is a number to Arrow; whatever is not certain is left to the trial.
        return None if "nan(" in cell.lower() else wrong_type(field, cell)
    return None


def value_fault(value: object, field: FieldSpec) -> LineFault | None:
    """Return what is wrong with a decoded JSON value, None if nothing certain is."""
    if value is None:
        return None
    if field.kind in ("timestamp", "string"):
        if not isinstance(value, str):
            return wrong_type(field, json.dumps(value))
        return _ts_fault(value, field) if field.kind == "timestamp" else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return wrong_type(field, json.dumps(value))
    return None


def _ts_fault(text: str, field: FieldSpec) -> LineFault | None:
    certain = _NAIVE_TS.fullmatch(text) or _BARE_NUMBER.fullmatch(text)
    return wrong_type(field, text) if certain else None


def wrong_type(field: FieldSpec, got: str) -> LineFault:
    """Return the fault of a value that is not of the type of its column."""
    hint = ""
    if field.kind == "timestamp":
        if _NAIVE_TS.fullmatch(got):
            hint = "state the offset: end the timestamp with Z if it is UTC"
        else:
            hint = "write ISO 8601, e.g. 2026-03-01T12:00:00Z"
    elif "," in got:
        hint = "write decimals with a point"
    return LineFault(
        reason="wrong_type", column=field.name, got=got[:80], expected=field.expected, hint=hint
    )
