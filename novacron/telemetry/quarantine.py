"""Where rejected rows go: each with its reason, file, row number and content, in JSON lines.

JSON lines because every flushed line survives a crash, and because a row can be mended and read
again.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TextIO

from novacron.errors import UnreadableInputError

Reason = Literal[
    "unreadable_line",
    "line_too_long",
    "unknown_column",
    "wrong_type",
    "missing_required",
    "non_finite",
    "not_integer",
    "percent_not_ratio",
    "out_of_range",
    "unknown_choice",
    "future",
    "stale",
    "entity_limit",
    "clock_went_back",
    "duplicate",
    "conflicting_duplicate",
    "late",
    "refused_by_model",
]
REASONS: Final[dict[Reason, str]] = {
    "unreadable_line": "the line does not parse: wrong number of cells, broken JSON, not UTF-8",
    "line_too_long": "the line is longer than the limit of the reader",
    "unknown_column": "the JSON object has a key that is no column of the table",
    "wrong_type": "a cell does not parse as the type of its column",
    "missing_required": "a required value is empty",
    "non_finite": "a value is NaN or infinite",
    "not_integer": "a count has a fractional part",
    "percent_not_ratio": "a ratio is above its range and would fit it if divided by 100",
    "out_of_range": "a value lies outside the range its unit allows",
    "unknown_choice": "a value is not one of the allowed words",
    "future": "the timestamp lies in the future of the clock",
    "stale": "the sample is older than the allowed age",
    "entity_limit": "more entities than the validator is allowed to keep state for",
    "clock_went_back": "the timestamp lies too far before the newest of the same entity",
    "duplicate": "the entity already has this timestamp, with equal values",
    "conflicting_duplicate": "the entity already has this timestamp, with other values",
    "late": "the grid step had already been closed when the row arrived",
    "refused_by_model": "a model cannot answer the row, such as a window that is too short",
}

MAX_RAW_CHARS: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """One rejected row with the first fault found.

    Looked for are what does not parse, then bad values column by column in the order of the
    table, then timestamps, their order and repeats, and last lateness.

    `row` is the line number for text files (the header is line 1) and the row index plus 1 for
    columnar ones. `raw` is the line as read, cut at `MAX_RAW_CHARS`, or the row as an object.
    """

    source: str
    row: int
    reason: Reason
    column: str = ""
    got: str = ""
    expected: str = ""
    hint: str = ""
    raw: str | dict[str, Any] = ""

    def to_json(self) -> str:
        """Return the rejection as one line of JSON without a line break."""
        content = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


class Quarantine:
    """Writes rejections to a file, holding at most `flush_rows` of them in memory.

    Every flush reaches the disk before it returns, so a crash loses at most the rows since then.

    Args:
        path: The JSON lines file; an existing one is replaced.
        flush_rows: Rows after which the buffer is written.
    """

    def __init__(self, path: Path, *, flush_rows: int = 5_000) -> None:
        self.path = path
        self.counts: Counter[Reason] = Counter()
        self._flush_rows = flush_rows
        self._lines: list[str] = []
        self._file: TextIO = path.open("w", encoding="ascii", newline="\n")

    def add(self, rejections: Iterable[Rejection]) -> None:
        """Take rejections over; flushes by itself when the buffer is full."""
        for rejection in rejections:
            self.counts[rejection.reason] += 1
            self._lines.append(rejection.to_json())
            if len(self._lines) >= self._flush_rows:
                self.flush()

    def flush(self) -> None:
        """Write what is buffered and wait until the disk has it."""
        if self._lines:
            self._file.write("\n".join(self._lines) + "\n")
            self._lines.clear()
        self._file.flush()
        os.fsync(self._file.fileno())

    @property
    def total(self) -> int:
        """Rows quarantined so far."""
        return self.counts.total()

    def close(self) -> None:
        """Flush and close; further calls do nothing."""
        if not self._file.closed:
            self.flush()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_quarantine(path: Path) -> Iterator[Rejection]:
    """Yield the rejections of a file; a half-written last line, left by a crash, is skipped.

    Raises:
        UnreadableInputError: A line other than the last is not a rejection.
    """
    with path.open(encoding="ascii") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                yield Rejection(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise UnreadableInputError(
                    field=f"{path.name}:{number}", got=line[:80], expected="a rejected row"
                ) from error
