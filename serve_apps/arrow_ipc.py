"""Arrow IPC streams as a wire format: a table in, a table out, one column for each tensor.

For wide frames of mixed types, where a tensor for each column would cost a JSON object each. Axis 0
is the row; a column of numbers or texts is a tensor of shape [N], one of lists of one length is
[N, T], and lists of lists add further axes. The schema's metadata holds what the protocol's JSON
has beside the tensors: `id`, `outputs` (names with commas), `timeout` (microseconds).
"""

import struct
from collections.abc import Iterator
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from novacron.errors import (
    InvalidInputError,
    PayloadTooLargeError,
    SchemaError,
    UnreadableInputError,
)
from serve_apps.messages import (
    DATATYPE_OF,
    MAX_DIMENSIONS,
    WIRE_DTYPES,
    InferAnswer,
    InferRequest,
    check_id,
    unexpected,
)

CONTENT_TYPE: Final = "application/vnd.apache.arrow.stream"
_ARROW_TYPES: Final = {
    "BOOL": pa.bool_(),
    "UINT8": pa.uint8(),
    "UINT16": pa.uint16(),
    "UINT32": pa.uint32(),
    "UINT64": pa.uint64(),
    "INT8": pa.int8(),
    "INT16": pa.int16(),
    "INT32": pa.int32(),
    "INT64": pa.int64(),
    "FP16": pa.float16(),
    "FP32": pa.float32(),
    "FP64": pa.float64(),
    "BYTES": pa.string(),
}
_DATATYPES: Final = {kind: name for name, kind in _ARROW_TYPES.items()}


class ArrowStream:
    """The codec of one request in Arrow IPC, and of the answer to it.

    Args:
        max_bytes: Size above which the table of a request is refused.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.answer_headers: dict[str, str] = {}

    def decode(self, body: bytes) -> InferRequest:
        """Read one request.

        Raises:
            UnreadableInputError: The bytes are no Arrow IPC stream, or are compressed in it.
            PayloadTooLargeError: The table is larger than the limit.
            SchemaError: It has no rows, or a column that is no tensor.
        """
        table = self._read(body)
        told = {
            key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for key, value in (table.schema.metadata or {}).items()
        }
        if not table.num_rows or not table.num_columns:
            raise unexpected("body", None, "a table with at least one row and one column")
        if len(set(table.column_names)) < table.num_columns:
            raise unexpected("body", table.column_names, "columns whose names differ")
        return InferRequest(
            tensors={
                name: _read_column(column, name)
                for name, column in zip(table.column_names, table.columns, strict=True)
            },
            outputs=_read_outputs(told.get("outputs", "")),
            request_id=check_id(told.get("id")),
            parameters={"timeout": _read_timeout(told["timeout"])} if "timeout" in told else {},
        )

    def encode(self, answer: InferAnswer) -> bytes:
        """Write one answer; names and ids of it are in the schema's metadata."""
        told = {"model_name": answer.model_name, "model_version": answer.model_version}
        if answer.request_id is not None:
            told["id"] = answer.request_id
        told |= answer.notes()
        table = pa.table({name: _write_column(array) for name, array in answer.tensors.items()})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema.with_metadata(told)) as writer:
            writer.write_table(table)
        self.answer_headers = {"content-type": CONTENT_TYPE}
        return cast(bytes, sink.getvalue().to_pybytes())

    def _read(self, body: bytes) -> pa.Table:
        try:
            for message in _messages(body):
                _check_plain(message)
            table = pa.ipc.open_stream(body).read_all()
            # Views may stand for more than the bytes they came from.
            self._check_size(table.nbytes)
            table.validate(full=True)
        except InvalidInputError:
            raise
        except (pa.ArrowException, OSError, ValueError, struct.error) as cause:
            raise UnreadableInputError(
                field="body",
                got=str(cause)[:100],
                expected="a complete Arrow IPC stream",
                remedy="Write it by pyarrow.ipc.new_stream, and send all of it.",
            ) from cause
        return table

    def _check_size(self, n_bytes: int) -> None:
        if n_bytes > self._max_bytes:
            raise PayloadTooLargeError(
                field="body",
                got=f"a table of {n_bytes} bytes",
                expected=f"at most {self._max_bytes} bytes",
                remedy="Send the rows in several requests.",
            )


def _messages(body: bytes) -> Iterator[pa.Message]:
    reader = pa.ipc.MessageReader.open_stream(body)
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _check_plain(message: pa.Message) -> None:
    """Refuse a compressed batch: it could unpack to any size before it can be measured.

    Raises:
        UnreadableInputError: Its buffers are compressed.
    """
    if message.type not in ("record batch", "dictionary"):
        return
    metadata = message.metadata.to_pybytes()
    # The header, field 2 of the Message; in a DictionaryBatch, field 1 of that is the record batch.
    batch = _field(metadata, struct.unpack_from("<I", metadata)[0], 2)
    if batch is not None and message.type == "dictionary":
        batch = _field(metadata, batch, 1)
    if batch is None or _field(metadata, batch, 3) is not None:
        raise UnreadableInputError(
            field="body",
            got="compressed record batches",
            expected="an Arrow IPC stream without compression of its own",
            remedy="Write it plain; Content-Encoding: gzip packs all of it.",
        )


def _field(data: bytes, table: int, slot: int) -> int | None:
    """Return where the table in a slot of a flatbuffer table begins, None where it is absent."""
    vtable = table - cast(int, struct.unpack_from("<i", data, table)[0])
    at = 4 + 2 * slot
    if at >= cast(int, struct.unpack_from("<H", data, vtable)[0]):
        return None
    offset = cast(int, struct.unpack_from("<H", data, vtable + at)[0])
    if not offset:
        return None
    return table + offset + cast(int, struct.unpack_from("<I", data, table + offset)[0])


def _read_column(column: pa.ChunkedArray, name: str) -> NDArray[np.generic]:
    array = column.combine_chunks()
    shape = [len(array)]
    while _is_list(array.type):
        _check_full(array, name)
        lengths = array.value_lengths() if not _is_fixed(array.type) else None
        length = array.type.list_size if lengths is None else lengths[0].as_py()
        if lengths is not None and lengths.unique().tolist() != [length]:
            raise SchemaError(
                field=name, got="lists of several lengths", expected="lists of one length"
            )
        shape.append(length)
        if len(shape) > MAX_DIMENSIONS or not length:
            raise unexpected(f"{name}.shape", str(shape), "at most 8 axes, none of length 0")
        array = array.flatten()
    _check_full(array, name)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    datatype = _DATATYPES.get(array.type)
    if datatype is None:
        raise SchemaError(
            field=name,
            got=str(array.type),
            expected="numbers, bool or string, or lists of those",
            remedy="Cast the column.",
        )
    values = array.to_numpy(zero_copy_only=False).astype(WIRE_DTYPES[datatype], copy=True)
    return cast(NDArray[np.generic], values.reshape(shape))


def _check_full(array: pa.Array, name: str) -> None:
    if array.null_count:
        raise SchemaError(
            field=name,
            got=f"{array.null_count} nulls",
            expected="a value in every row",
            remedy="Leave the rows or the column out, or fill them.",
        )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or _is_fixed(kind))


def _is_fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _write_column(array: NDArray[np.generic]) -> Any:
    flat = np.ascontiguousarray(array).ravel()
    values = pa.array(flat, type=_ARROW_TYPES[DATATYPE_OF[array.dtype]])
    for length in reversed(array.shape[1:]):
        values = pa.FixedSizeListArray.from_arrays(values, length)
    return values


def _read_outputs(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    if len(set(names)) < len(names):
        raise unexpected("outputs", text, "names with commas between them, each once")
    return names


def _read_timeout(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise unexpected("timeout", text, "microseconds to wait, 0 for no limit")
    return int(text[:18])
