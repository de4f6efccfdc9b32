"""CSV and JSON lines: whole blocks parsed by Arrow, and bad lines singled out with their reason.

A block that Arrow takes is done. Otherwise it is halved until the bad lines stand alone; what is
certain to be wrong is named on the way, so that a file full of bad lines stays readable in
reasonable time. A line is rejected exactly if Arrow does not take it alone, so its fate does not
depend on its neighbours.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from novacron.telemetry.blocks import IntArray, RawBlock
from novacron.telemetry.line_faults import LineFault
from novacron.telemetry.lines import LineBlock, read_line_blocks
from novacron.telemetry.quarantine import MAX_RAW_CHARS, Rejection
from novacron.telemetry.text_formats import BOM, TextFormat

_DIAGNOSED_LINES: Final = 1_024


def read_text_blocks(
    path: Path, lines: TextFormat, *, source: str, block_bytes: int
) -> Iterator[RawBlock]:
    """Yield the rows of a text file block by block, with the refused lines beside them.

    Raises:
        UnreadableInputError: A gzip file is damaged.
    """
    header = lines.header_lines
    for block in read_line_blocks(path, block_bytes=block_bytes):
        first, data = block.first_line, block.data
        if header and data:
            for _ in range(min(header, data.count(b"\n"))):
                data = data[data.index(b"\n") + 1 :]
                first += 1
                header -= 1
        if data or block.overlong:
            yield _read_block(
                LineBlock(first_line=first, data=data, overlong=block.overlong), lines, source
            )


def read_lines(data: bytes, lines: TextFormat, *, source: str) -> RawBlock:
    """Return the rows of lines in memory, each ended by a line feed; the first line is number 1."""
    return _read_block(LineBlock(first_line=1, data=data), lines, source)


def _read_block(block: LineBlock, lines: TextFormat, source: str) -> RawBlock:
    found = _Found(source)
    data = block.data.removeprefix(BOM) if block.first_line == 1 else block.data
    n_lines = data.count(b"\n")
    batch = lines.parse(data) if data else None
    if batch is not None and batch.num_rows == n_lines:
        found.take(batch, np.arange(block.first_line, block.first_line + n_lines))
    else:
        # A line of white space holds no row; it is passed over without a trace.
        numbered = [
            (number, line)
            for number, line in enumerate(data.split(b"\n")[:-1], start=block.first_line)
            if line.strip()
        ]
        _single_out(numbered, lines, found, diagnosed=False)
    if block.overlong:
        fault = LineFault(reason="line_too_long", hint="raise block_bytes")
        found.refuse(block.first_line, block.overlong, fault)
    return found.block(lines)


class _Found:
    """What singling out has found so far."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.batches: list[pa.RecordBatch] = []
        self.numbers: list[IntArray] = []
        self.malformed: list[Rejection] = []

    def take(self, batch: pa.RecordBatch, numbers: IntArray) -> None:
        self.batches.append(batch)
        self.numbers.append(numbers)

    def refuse(self, number: int, line: bytes, fault: LineFault) -> None:
        raw = line.decode("utf-8", errors="backslashreplace")
        self.malformed.append(
            Rejection(
                source=self.source,
                row=number,
                reason=fault.reason,
                column=fault.column,
                got=fault.got,
                expected=fault.expected,
                hint=fault.hint,
                raw=raw[:MAX_RAW_CHARS],
            )
        )

    def block(self, lines: TextFormat) -> RawBlock:
        batch = self.batches[0] if len(self.batches) == 1 else _concat(self.batches, lines)
        self.malformed.sort(key=lambda rejection: rejection.row)
        return RawBlock(
            source=self.source,
            rows=np.concatenate([np.empty(0, np.int64), *self.numbers]),
            batch=batch,
            malformed=tuple(self.malformed),
        )


def _concat(batches: list[pa.RecordBatch], lines: TextFormat) -> pa.RecordBatch:
    if not batches:
        return lines.empty()
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.to_batches()[0]


def _single_out(
    numbered: list[tuple[int, bytes]], lines: TextFormat, found: _Found, *, diagnosed: bool
) -> None:
    if not numbered:
        return
    batch = lines.parse(b"\n".join(line for _, line in numbered) + b"\n")
    if batch is not None and batch.num_rows == len(numbered):
        found.take(batch, np.array([number for number, _ in numbered], np.int64))
    elif len(numbered) == 1:
        number, line = numbered[0]
        found.refuse(number, line, lines.certain_fault(line) or lines.tried_fault(line))
    elif diagnosed or len(numbered) > _DIAGNOSED_LINES:
        half = len(numbered) // 2
        _single_out(numbered[:half], lines, found, diagnosed=diagnosed)
        _single_out(numbered[half:], lines, found, diagnosed=diagnosed)
    else:
        rest = []
        for number, line in numbered:
            fault = lines.certain_fault(line)
            if fault is None:
                rest.append((number, line))
            else:
                found.refuse(number, line, fault)
        _single_out(rest, lines, found, diagnosed=True)
