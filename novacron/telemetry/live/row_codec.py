"""Rows of the rings as bytes: a JSON head with names, then the numbers as they lie in memory."""

import json
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from novacron.errors import UnreadableInputError
from novacron.telemetry.live.rings import Rows

_LENGTH: Final = struct.Struct("<I")


def encode_rows(table: str, metrics: Sequence[str], rows: Rows) -> bytes:
    """Return rows of a table as bytes, little-endian."""
    head = json.dumps(
        {"table": table, "metrics": list(metrics), "entities": list(rows.entities)},
        separators=(",", ":"),
    ).encode("ascii")
    return b"".join(
        (
            _LENGTH.pack(len(head)),
            head,
            np.ascontiguousarray(rows.code_N, dtype="<i4").tobytes(),
            np.ascontiguousarray(rows.ts_us_N, dtype="<i8").tobytes(),
            np.ascontiguousarray(rows.x_NC, dtype="<f8").tobytes(),
        )
    )


def decode_rows(payload: bytes, n_rows: int, metrics: Sequence[str]) -> tuple[str, Rows]:
    """Return the table and the rows of a payload, with the metrics asked for.

    A metric that the payload has not is NaN, one that is not asked for is left out: settings may
    have changed since it was written.

    Raises:
        UnreadableInputError: The payload is no such rows.
    """
    try:
        (length,) = _LENGTH.unpack_from(payload)
        start = _LENGTH.size + length
        head: dict[str, Any] = json.loads(payload[_LENGTH.size : start])
        written = list(head["metrics"])
        code_N = np.frombuffer(payload, "<i4", n_rows, start)
        start += 4 * n_rows
        ts_us_N = np.frombuffer(payload, "<i8", n_rows, start)
        start += 8 * n_rows
        flat = np.frombuffer(payload, "<f8", n_rows * len(written), start)
    except (struct.error, ValueError, KeyError, TypeError) as cause:
        raise UnreadableInputError(
            field="rows", got=f"{len(payload)} bytes", expected=f"{n_rows} rows of samples"
        ) from cause
    x_NC = flat.reshape(n_rows, len(written))
    if written != list(metrics):
        picked = np.full((n_rows, len(metrics)), np.nan)
        for place, name in enumerate(metrics):
            if name in written:
                picked[:, place] = x_NC[:, written.index(name)]
        x_NC = picked
    return str(head["table"]), Rows(head["entities"], code_N, ts_us_N, x_NC)
