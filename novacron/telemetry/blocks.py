"""Rows on their way through ingestion, column by column.

All arrays of a block have one axis, with one entry a row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from novacron.telemetry.quarantine import Rejection

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
CodeArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]
DigestArray = NDArray[np.uint64]

NO_TS_US: Final = int(np.iinfo(np.int64).min)
"""Stands for an empty timestamp in arrays of microseconds."""
NO_CODE: Final = -1
"""Stands for an empty string in arrays of codes."""
OVER_LIMIT: Final = -2
"""Stands for a word that a full vocabulary did not take."""
US: Final = 1_000_000
"""Microseconds in a second."""

_RADIX_LIMIT: Final = 65_536
_DIGEST_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
_DIGEST_SHIFT: Final = np.uint64(29)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBlock:
    """What a reader hands over: a batch in reading types, and the lines that did not parse.

    `rows` has the row number of each row of `batch`, counted as in `Rejection.row`.
    """

    source: str
    rows: IntArray
    batch: pa.RecordBatch
    malformed: tuple[Rejection, ...] = ()


class Vocabulary:
    """Numbers strings in order of first appearance; shared by all blocks of one run.

    Args:
        limit: Words it takes; any further word gets the code `OVER_LIMIT` and is not kept.
    """

    def __init__(self, limit: int = 1_000_000) -> None:
        self.words: list[str] = []
        self._limit = limit
        self._arrow = pa.array([], pa.string())
        self._ranks: CodeArray = np.empty(0, np.int32)
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.words)

    def code(self, word: str) -> int:
        """Return the code of a word, giving it the next one if it is new."""
        found = self._codes.get(word)
        if found is None:
            if len(self.words) >= self._limit:
                return OVER_LIMIT
            found = self._codes[word] = len(self.words)
            self.words.append(word)
        return found

    def encode(self, column: pa.DictionaryArray) -> CodeArray:
        """Return the codes of a column; empty strings and nulls become `NO_CODE`."""
        local = [self.code(w) if w else NO_CODE for w in column.dictionary.to_pylist()]
        lookup = np.array([*local, NO_CODE], np.int32)
        indices = column.indices
        if indices.null_count:
            indices = indices.fill_null(len(local))
        codes: CodeArray = lookup[indices.to_numpy()]
        return codes

    def decode(self, codes: CodeArray) -> pa.StringArray:
        """Return codes as an Arrow string column; `NO_CODE` becomes null."""
        indices = pa.array(codes, mask=codes == NO_CODE)
        if len(self._arrow) != len(self.words):
            self._arrow = pa.array(self.words, pa.string())
        return pa.DictionaryArray.from_arrays(indices, self._arrow).cast(pa.string())

    def ranks(self) -> CodeArray:
        """Return for each code its place in the sorted order of the words."""
        if len(self._ranks) != len(self.words):
            order = sorted(range(len(self.words)), key=self.words.__getitem__)
            self._ranks = np.empty(len(order), np.int32)
            self._ranks[np.array(order, np.int64)] = np.arange(len(order), dtype=np.int32)
        return self._ranks


@dataclass(slots=True)
class Vocabularies:
    """One vocabulary for the entities, one for the sources, and one per text column."""

    entities: Vocabulary = field(default_factory=Vocabulary)
    sources: Vocabulary = field(default_factory=Vocabulary)
    labels: dict[str, Vocabulary] = field(default_factory=dict)

    def label(self, column: str) -> Vocabulary:
        """Return the vocabulary of a text column, a new one at first."""
        return self.labels.setdefault(column, Vocabulary())


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBlock:
    """Accepted rows: timestamps in microseconds since 1970, entities and labels as codes.

    `metrics` are float64 with NaN where nothing was measured; a column that the source does not
    have is absent from `metrics` and `labels`.
    """

    sources: CodeArray
    rows: IntArray
    ts_us: IntArray
    entities: CodeArray
    metrics: dict[str, FloatArray]
    labels: dict[str, CodeArray]

    def __len__(self) -> int:
        return len(self.ts_us)

    def take(self, index: NDArray[Any]) -> "RowBlock":
        """Return the rows of an index array or boolean mask."""
        return RowBlock(
            sources=self.sources[index],
            rows=self.rows[index],
            ts_us=self.ts_us[index],
            entities=self.entities[index],
            metrics={name: values[index] for name, values in self.metrics.items()},
            labels={name: codes[index] for name, codes in self.labels.items()},
        )

    def describe(self, index: int, entity: str, vocabularies: Vocabularies) -> dict[str, Any]:
        """Return one row as an object for the quarantine file.

        Args:
            index: Row of the block.
            entity: Name of the entity column.
            vocabularies: Those the block was encoded with.
        """
        row: dict[str, Any] = {
            "ts": iso_utc(int(self.ts_us[index])),
            entity: vocabularies.entities.words[self.entities[index]],
        }
        for name, codes in self.labels.items():
            if codes[index] != NO_CODE:
                row[name] = vocabularies.label(name).words[codes[index]]
        for name, values in self.metrics.items():
            if not np.isnan(values[index]):
                row[name] = float(values[index])
        return row


def concat_blocks(blocks: Sequence[RowBlock]) -> RowBlock:
    """Join blocks; a column that only some have is NaN or `NO_CODE` in the others."""
    if len(blocks) == 1:
        return blocks[0]
    metrics = _names(block.metrics for block in blocks)
    labels = _names(block.labels for block in blocks)
    return RowBlock(
        sources=np.concatenate([block.sources for block in blocks]),
        rows=np.concatenate([block.rows for block in blocks]),
        ts_us=np.concatenate([block.ts_us for block in blocks]),
        entities=np.concatenate([block.entities for block in blocks]),
        metrics={
            name: np.concatenate(
                [b.metrics[name] if name in b.metrics else np.full(len(b), np.nan) for b in blocks]
            )
            for name in metrics
        },
        labels={
            name: np.concatenate(
                [
                    b.labels[name] if name in b.labels else np.full(len(b), NO_CODE, np.int32)
                    for b in blocks
                ]
            )
            for name in labels
        },
    )


def row_digests(block: RowBlock, index: IntArray) -> DigestArray:
    """Return a digest of the measured values and labels of the rows at `index`."""
    digest: DigestArray = np.zeros(len(index), np.uint64)
    for values in block.metrics.values():
        # Adding zero makes -0.0 equal to 0.0.
        digest = _mix(digest, (values[index] + 0.0).view(np.uint64))
    for codes in block.labels.values():
        digest = _mix(digest, codes[index].astype(np.uint64))
    return digest


def grown(array: IntArray, size: int, fill: int) -> IntArray:
    """Return a state array with room for `size` entries, padded with `fill`.

    It grows to twice the need, so that many small growths stay cheap.
    """
    if len(array) >= size:
        return array
    return np.concatenate([array, np.full(2 * size - len(array), fill, np.int64)])


def stable_order(codes: CodeArray) -> IntArray:
    """Return the stable sorting order of codes, by radix sort where they fit 16 bits."""
    if len(codes) and codes.max() < _RADIX_LIMIT:
        return np.argsort(codes.astype(np.uint16), kind="stable")
    return np.argsort(codes, kind="stable")


def iso_utc(ts_us: int) -> str:
    """Return microseconds since 1970 as ISO 8601 with `Z`, for any year; empty if missing."""
    return "" if ts_us == NO_TS_US else f"{np.datetime64(ts_us, 'us')}Z"


def _mix(digest: DigestArray, bits: DigestArray) -> DigestArray:
    mixed = (digest ^ bits) * _DIGEST_PRIME
    return mixed ^ (mixed >> _DIGEST_SHIFT)


def _names(mappings: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
