"""Text files as blocks of whole lines, in memory that does not grow with the file or its lines."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from novacron.errors import UnreadableInputError

_EXCERPT_BYTES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LineBlock:
    """Whole lines of a file, each ended by a line feed; `first_line` counts from 1.

    `overlong` is the start of a line that did not fit into a block, and then `data` is empty.
    """

    first_line: int
    data: bytes
    overlong: bytes = b""


def read_line_blocks(path: Path, *, block_bytes: int) -> Iterator[LineBlock]:
    """Yield the lines of a text or gzip file in blocks of about `block_bytes`.

    A line of up to `block_bytes` is always read; one of twice that length never is: it comes as
    `overlong` and the reading goes on after it.

    Raises:
        UnreadableInputError: The gzip stream is damaged or ends early.
    """
    with _open_bytes(path) as file:
        try:
            yield from _cut(file, block_bytes)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableInputError(
                field=path.name,
                got=str(error),
                expected="a complete gzip file",
                remedy="Copy the file again.",
            ) from error


def _open_bytes(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def _cut(file: BinaryIO, block_bytes: int) -> Iterator[LineBlock]:
    line = 1
    carry = b""
    skipping = False
    while chunk := file.read(block_bytes):
        if skipping:
            end = chunk.find(b"\n") + 1
            if end == 0:
                continue
            chunk = chunk[end:]
            skipping = False
            line += 1
        data = carry + chunk
        cut = data.rfind(b"\n") + 1
        if cut:
            yield LineBlock(first_line=line, data=data[:cut])
            line += data.count(b"\n", 0, cut)
        carry = data[cut:]
        if len(carry) > block_bytes:
            yield LineBlock(first_line=line, data=b"", overlong=carry[:_EXCERPT_BYTES])
            carry = b""
            skipping = True
    if carry:
        yield LineBlock(first_line=line, data=carry + b"\n")
