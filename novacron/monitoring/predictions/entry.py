"""One answer on its way into the log, and the ids by which its rows are found again."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[np.generic]]

WRITER_CHARS: Final = 12
_ENTRY_BYTES: Final = 1_024
_ID: Final = re.compile(rf"([0-9a-f]{{{WRITER_CHARS}}})([0-9a-f]{{8,15}})(?:\.(\d{{1,7}}))?")


class Entry(NamedTuple):
    """One answer of `n_rows` rows; the tensors have the rows on axis 0."""

    prediction_id: str
    n_rows: int
    model: str
    version: str
    kind: str
    role: str
    made_at_us: int
    """Microseconds since 1970."""
    inputs: Tensors
    outputs: Tensors
    entities: Sequence[str | None]
    """What each row is about; empty where nobody said."""
    steps_s: Sequence[float | None]
    """Seconds between two samples of each row's history; empty where nobody said."""
    fallback: str
    """Baseline that answered all rows; empty where the version did, or says so row by row."""
    stages_s: tuple[float, float, float, float]
    """Seconds spent decoding, queueing, predicting and encoding."""
    weight_bytes: int
    """What it takes while it waits, see `weigh`."""

    def row_ids(self) -> list[str]:
        """Return the id of each row: the answer's own where it has one row alone."""
        if self.n_rows == 1:
            return [self.prediction_id]
        return [f"{self.prediction_id}.{place}" for place in range(self.n_rows)]


def weigh(inputs: Tensors, outputs: Tensors) -> int:
    """Return about how many bytes an entry of these tensors takes."""
    total = _ENTRY_BYTES
    for array in inputs.values():
        total += array.nbytes
    for array in outputs.values():
        total += array.nbytes
    return total


class PredictionId(NamedTuple):
    """An id taken apart: which process made it, its number there, and the row of the answer."""

    writer: str
    sequence: int
    row: int | None

    @property
    def answer(self) -> str:
        """The id of the whole answer."""
        return answer_id(self.writer, self.sequence)

    def fits(self, n_rows: int) -> bool:
        """Tell whether it names a row of an answer of so many: `.N` is written where there are several."""
        if self.row is None:
            return n_rows == 1
        return n_rows > 1 and self.row < n_rows


def answer_id(writer: str, sequence: int) -> str:
    """Return the id of an answer."""
    return f"{writer}{sequence:08x}"


def parse_id(text: str) -> PredictionId | None:
    """Take an id apart; None where it has not the form of one."""
    found = _ID.fullmatch(text)
    if found is None:
        return None
    writer, sequence, row = found.groups()
    return PredictionId(writer, int(sequence, 16), None if row is None else int(row))
