"""Checksummed blocks of an append-only file, and what can be saved of a damaged one.

A block is a header of 28 bytes - mark, kind, payload length, number of its first row, rows, CRC-32
of all that - and a payload. A block that was cut short or changed is told from a whole one; the
blocks behind it are found again by their mark.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MARK: Final = b"\xb1NVC"
_HEAD: Final = struct.Struct("<4sIIQII")
HEAD_BYTES: Final = _HEAD.size
DATA: Final = 1
NOTE: Final = 2
END: Final = 3
"""Kinds: rows, a remark in JSON, and the end of a segment, after which the next one goes on."""
_KINDS: Final = (DATA, NOTE, END)
MAX_PAYLOAD_BYTES: Final = 2**31


@dataclass(frozen=True, slots=True)
class Block:
    """One block; `first_row` counts all rows ever written, across segments."""

    kind: int
    first_row: int
    n_rows: int
    payload: bytes

    def encode(self) -> bytes:
        """Return the bytes of the block."""
        return _head(self, _crc(self)) + self.payload


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no whole block, with whole ones behind them."""

    n_bytes: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Bytes at the end that are not a whole block: cut short, or still being written.

    `n_rows` is what the header says, where it is whole.
    """

    n_bytes: int
    n_rows: int


def read_blocks(data: bytes) -> Iterator[tuple[int, Block | Damage | Rest]]:
    """Yield what bytes hold, each with the offset behind it; a `Rest` can only come last."""
    at = 0
    while at < len(data):
        block = _block_at(data, at)
        if block is not None:
            at += HEAD_BYTES + len(block.payload)
            yield at, block
            continue
        following = _next_whole(data, at + 1)
        if following < 0:
            yield at, Rest(n_bytes=len(data) - at, n_rows=_claimed_rows(data, at))
            return
        damage = Damage(n_bytes=following - at)
        at = following
        yield at, damage


def _head(block: Block, crc: int) -> bytes:
    return _HEAD.pack(MARK, block.kind, len(block.payload), block.first_row, block.n_rows, crc)


def _crc(block: Block) -> int:
    return zlib.crc32(block.payload, zlib.crc32(_head(block, 0)))


def _block_at(data: bytes, at: int) -> Block | None:
    if len(data) - at < HEAD_BYTES:
        return None
    mark, kind, length, first_row, n_rows, crc = _HEAD.unpack_from(data, at)
    start = at + HEAD_BYTES
    if mark != MARK or kind not in _KINDS or start + length > len(data):
        return None
    block = Block(kind, first_row, n_rows, data[start : start + length])
    return block if _crc(block) == crc else None


def _next_whole(data: bytes, at: int) -> int:
    """Return where the next whole block begins, -1 if there is none."""
    at = data.find(MARK, at)
    while at >= 0 and _block_at(data, at) is None:
        at = data.find(MARK, at + 1)
    return at


def _claimed_rows(data: bytes, at: int) -> int:
    if len(data) - at < HEAD_BYTES or data[at : at + len(MARK)] != MARK:
        return 0
    n_rows: int = _HEAD.unpack_from(data, at)[4]
    return n_rows
