"""Measured tables that ship with the simulator, each with its provenance inside."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from novacron.errors import UnreadableInputError
from rl_envs.physics.codec import CodecCurves
from rl_envs.physics.quantities import FloatArray

CODEC_TABLE: Final = Path(__file__).parent / "codec_curves.json"
TESTBED_TABLE: Final = Path(__file__).parent / "tcp_testbed.json"
"""Real TCP over the emulated link, see `rl_envs.testbed`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecTables:
    """The curves and, per corpus [C], its side of the split and what telemetry shows of it."""

    curves: CodecCurves
    splits: tuple[str, ...]
    has_version: tuple[bool, ...]
    entropy_ratio: FloatArray
    zero_page_ratio: FloatArray
    changed_byte_ratio: FloatArray
    provenance: Mapping[str, Any]


def parse_codec_tables(body: Mapping[str, Any]) -> CodecTables:
    """Read the JSON body of a codec table.

    Raises:
        UnreadableInputError: A key is missing or of the wrong type.
        SchemaError: The arrays do not fit the lists of corpora, codecs and chunk sizes.
        OutOfRangeError: A ratio or speed is not positive.
    """
    try:
        corpora = body["corpora"]
        curves = CodecCurves(
            corpora=tuple(corpus["name"] for corpus in corpora),
            codecs=tuple(body["codecs"]),
            chunk_bytes=np.array(body["chunk_bytes"], dtype=np.float64),
            ratio_CVLS=np.array(body["ratio"], dtype=np.float64),
            compress_mb_s_CVLS=np.array(body["compress_mb_s"], dtype=np.float64),
            decompress_mb_s_CVLS=np.array(body["decompress_mb_s"], dtype=np.float64),
        )
        return CodecTables(
            curves=curves,
            splits=tuple(corpus["split"] for corpus in corpora),
            has_version=tuple(bool(corpus["has_version"]) for corpus in corpora),
            entropy_ratio=np.array([c["entropy_ratio"] for c in corpora], dtype=np.float64),
            zero_page_ratio=np.array([c["zero_page_ratio"] for c in corpora], dtype=np.float64),
            changed_byte_ratio=np.array(
                [c["changed_byte_ratio"] for c in corpora], dtype=np.float64
            ),
            provenance={
                key: body[key] for key in ("command", "seed", "date", "machine", "versions")
            },
        )
    except (KeyError, TypeError) as cause:
        raise UnreadableInputError(
            field="codec table",
            got=f"{type(cause).__name__}: {cause}",
            expected="the table that `python -m rl_envs.calibrate codec` writes",
        ) from cause


@functools.cache
def codec_tables() -> CodecTables:
    """Return the shipped codec curves, read once."""
    return parse_codec_tables(json.loads(CODEC_TABLE.read_text()))


def testbed_rows() -> list[dict[str, Any]]:
    """Return the measured rows of the shipped testbed table.

    Raises:
        UnreadableInputError: The table has no rows.
    """
    rows: list[dict[str, Any]] | None = json.loads(TESTBED_TABLE.read_text()).get("rows")
    if not rows:
        raise UnreadableInputError(
            field="testbed table",
            got="no rows",
            expected="what `python -m rl_envs.testbed ship` writes",
        )
    return rows
