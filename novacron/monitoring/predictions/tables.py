"""Entries of the log as one Arrow table: a row for each row answered, a column for each tensor."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from novacron.monitoring.predictions.entry import Entry
from novacron.monitoring.predictions.horizons import horizon_s, valid_s

OUTPUT: Final = "output."
INPUT: Final = "input."
DIGEST_BYTES: Final = 16
TIME: Final = pa.timestamp("us", "UTC")
_STAGES: Final = ("decode_s", "queue_s", "predict_s", "encode_s")
US: Final = 1_000_000
_DAY_US: Final = 86_400 * US


def day_of(made_at_us: int) -> str:
    """Return the day of a time, as the folders are named."""
    return _day(made_at_us // _DAY_US)


@lru_cache(maxsize=64)
def _day(days: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=days)).isoformat()


def group_entries(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Part entries by model and day, and by which outputs they have and of which type."""
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        form = tuple((name, array.dtype.kind == "O") for name, array in entry.outputs.items())
        key = (entry.model, entry.kind, day_of(entry.made_at_us), form)
        groups.setdefault(key, []).append(entry)
    return list(groups.values())


def build_table(
    entries: Sequence[Entry],
    keeps_inputs: Sequence[bool],
    *,
    max_text_chars: int,
    breathe: Callable[[], None] = lambda: None,
) -> pa.Table:
    """Return the rows of one group of entries.

    Args:
        entries: Of one group, see `group_entries`.
        keeps_inputs: For each entry, whether its inputs are written.
        max_text_chars: Longer texts become null.
        breathe: Called between small pieces of work, so that other threads get their turn.
    """
    columns: dict[str, pa.Array] = {
        "prediction_id": pa.array([name for one in entries for name in one.row_ids()]),
        "kind": _told(entries, "kind"),
        "version": _told(entries, "version"),
        "role": _told(entries, "role"),
        "entity": _each(entries, "entities", pa.string()),
    }
    breathe()
    columns |= _times(entries)
    columns["inputs_digest"] = pa.array(list(_digests(entries, breathe)), pa.binary(DIGEST_BYTES))
    columns["fallback"] = pa.array(list(_fallbacks(entries)), pa.string())
    for place, name in enumerate(_STAGES):
        seconds = [one.stages_s[place] for one in entries]
        columns[name] = pa.array(_repeat(entries, np.array(seconds, np.float32)))
    for name in entries[0].outputs:
        breathe()
        given = [one.outputs[name] for one in entries]
        columns[OUTPUT + name] = _lists(entries, given, max_text_chars)
    for name in dict.fromkeys(name for one in entries for name in one.inputs):
        breathe()
        kept = [
            one.inputs.get(name) if keeps else None
            for one, keeps in zip(entries, keeps_inputs, strict=True)
        ]
        if any(array is not None for array in kept):
            columns[INPUT + name] = _lists(entries, kept, max_text_chars)
    return pa.table(columns)


def _repeat(entries: Sequence[Entry], values: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(values, [one.n_rows for one in entries])


def _told(entries: Sequence[Entry], name: str) -> pa.Array:
    texts = [getattr(one, name) for one in entries for _ in range(one.n_rows)]
    return pa.array(texts, pa.string()).dictionary_encode()


def _each(entries: Sequence[Entry], name: str, kind: pa.DataType) -> pa.Array:
    values: list[Any] = []
    for one in entries:
        values.extend(getattr(one, name) or [None] * one.n_rows)
    return pa.array(values, kind)


def _times(entries: Sequence[Entry]) -> dict[str, pa.Array]:
    made_us, steps, horizons, valid_us = [], [], [], []
    for one in entries:
        for row, step_s in enumerate(one.steps_s or [None] * one.n_rows):
            lasts_s = valid_s(one.kind, one.outputs, step_s, row)
            made_us.append(one.made_at_us)
            steps.append(step_s)
            horizons.append(horizon_s(one.kind, one.outputs, step_s))
            valid_us.append(None if lasts_s is None else one.made_at_us + round(lasts_s * US))
    return {
        "made_at": pa.array(made_us, pa.int64()).cast(TIME),
        "valid_until": pa.array(valid_us, pa.int64()).cast(TIME),
        "horizon_s": pa.array(horizons, pa.float64()),
        "step_s": pa.array(steps, pa.float64()),
    }


def row_digest(tensors: Sequence[tuple[str, NDArray[np.generic]]], row: int) -> bytes:
    """Return the digest of the inputs of one row, whatever the order of the tensors."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for name, array in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name}:{array.dtype.str}:{array.shape[1:]};".encode())
        own = array[row]
        if array.dtype.kind == "O":
            # Lengths in front: "ab" and "c" are not "a" and "bc".
            texts = [str(text).encode() for text in np.atleast_1d(np.asarray(own)).ravel()]
            digest.update(b"".join(len(text).to_bytes(4, "little") + text for text in texts))
        else:
            digest.update(np.ascontiguousarray(own).tobytes())
    return digest.digest()


def _digests(entries: Sequence[Entry], breathe: Callable[[], None]) -> Iterator[bytes]:
    done = 0
    for one in entries:
        tensors = tuple(one.inputs.items())
        for row in range(one.n_rows):
            yield row_digest(tensors, row)
            done += 1
            if done % _ROWS_AT_ONCE == 0:
                breathe()


_ROWS_AT_ONCE: Final = 64


def _fallbacks(entries: Sequence[Entry]) -> Iterator[str]:
    for one in entries:
        named = one.outputs.get("fallback")
        if one.fallback or named is None or named.size != one.n_rows:
            yield from [one.fallback] * one.n_rows
        else:
            yield from (str(text) for text in named.ravel())


def _lists(
    entries: Sequence[Entry], given: Sequence[NDArray[Any] | None], max_text_chars: int
) -> pa.Array:
    """Return tensors as lists, one for each row; null where a tensor is None."""
    n_rows = [one.n_rows for one in entries]
    sizes = [
        0 if array is None else array.size // rows
        for rows, array in zip(n_rows, given, strict=True)
    ]
    missing = np.repeat([array is None for array in given], n_rows)
    parts = [array.ravel() for array in given if array is not None]
    offsets = np.concatenate([[0], np.cumsum(np.repeat(sizes, n_rows))])
    values: pa.Array
    if any(part.dtype.kind == "O" for part in parts):
        texts = [str(text) for part in parts for text in part]
        values = pa.array([t if len(t) <= max_text_chars else None for t in texts], pa.string())
    else:
        values = pa.array(np.concatenate(parts).astype(np.float64))
    return pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), values, mask=pa.array(missing)
    )
