"""Tensors as bytes: little-endian, row-major, BYTES elements each behind their length in 4 bytes.

The binary tensor extension over HTTP and `raw_input_contents` over gRPC both carry them so.
"""

import struct
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from novacron.errors import SchemaError, UnreadableInputError
from serve_apps.messages import DATATYPE_OF, unexpected

_LENGTH: Final = struct.Struct("<I")


class BinaryPart:
    """The bytes behind the JSON document, taken tensor by tensor in the order of the inputs."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self._at = start

    def take(self, size: object, name: str) -> memoryview:
        """Return the next `size` bytes, the `binary_data_size` of an input.

        Raises:
            SchemaError: The size is no whole number.
            UnreadableInputError: Fewer bytes are left.
        """
        field = f"{name}.parameters.binary_data_size"
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise unexpected(field, size, "a whole number of bytes")
        left = len(self._body) - self._at
        if size > left:
            raise UnreadableInputError(
                field=field,
                got=size,
                expected=f"at most the {left} bytes that are left of the body",
                remedy="Check that the body is not cut short.",
            )
        self._at += size
        return memoryview(self._body)[self._at - size : self._at]

    def finish(self) -> None:
        """Refuse a body with bytes that belong to no tensor.

        Raises:
            UnreadableInputError: Bytes are left over.
        """
        left = len(self._body) - self._at
        if left:
            raise UnreadableInputError(
                field="body",
                got=f"{left} bytes behind the last tensor",
                expected="as many bytes as the binary_data_size of all inputs together",
            )


def unpack(
    data: memoryview | bytes, dtype: np.dtype[np.generic], n_elements: int, name: str
) -> NDArray[np.generic]:
    """Read the elements of one tensor from bytes, as a flat array of its own.

    The array is a copy: the body is read-only and its tensors are not aligned, which torch and
    ONNX Runtime warn of or refuse.

    Raises:
        SchemaError: The bytes do not hold exactly `n_elements`.
        UnreadableInputError: A BOOL is neither 0 nor 1, or a BYTES element is cut short or is
            not UTF-8.
    """
    if dtype.kind == "O":
        return _unpack_texts(data, n_elements, name)
    if len(data) != n_elements * dtype.itemsize:
        raise SchemaError(
            field=f"{name}.data",
            got=f"{len(data)} bytes",
            expected=f"{n_elements * dtype.itemsize} bytes: {n_elements} elements of "
            f"{DATATYPE_OF[dtype]}, {dtype.itemsize} bytes each",
            remedy="Correct the shape, the datatype or the data.",
        )
    if dtype == np.bool_:
        raw = np.frombuffer(data, dtype=np.uint8)
        if raw.max(initial=0) > 1:
            raise UnreadableInputError(
                field=f"{name}.data", got=int(raw.max()), expected="bytes 0 or 1 (BOOL)"
            )
    return np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype)


def pack(array: NDArray[np.generic]) -> bytes:
    """Write the elements of one tensor, in row-major order, as `unpack` reads them."""
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    parts: list[bytes] = []
    for text in array.ravel():
        encoded = str(text).encode()
        parts += (_LENGTH.pack(len(encoded)), encoded)
    return b"".join(parts)


def _unpack_texts(data: memoryview | bytes, n_elements: int, name: str) -> NDArray[np.generic]:
    # Before the array is made: a lying shape must not make us reserve memory for it.
    if n_elements * _LENGTH.size > len(data):
        raise _miscounted(name, len(data), n_elements)
    texts = np.empty(n_elements, dtype=object)
    at = 0
    for place in range(n_elements):
        start = at + _LENGTH.size
        if start > len(data):
            raise _miscounted(name, len(data), n_elements)
        at = start + cast(int, _LENGTH.unpack_from(data, at)[0])
        if at > len(data):
            raise UnreadableInputError(
                field=f"{name}.data[{place}]",
                got=f"a length of {at - start} bytes",
                expected=f"at most the {len(data) - start} bytes that are left",
                remedy="Each element is its length, 4 bytes little-endian, and then its bytes.",
            )
        texts[place] = decode_text(bytes(data[start:at]), f"{name}.data[{place}]")
    if at != len(data):
        raise _miscounted(name, len(data), n_elements)
    return texts


def decode_text(data: bytes, field: str) -> str:
    """Read a BYTES element, which is text here.

    Raises:
        UnreadableInputError: It is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as cause:
        raise UnreadableInputError(
            field=field, got=data[:20], expected="text in UTF-8 (BYTES)"
        ) from cause


def _miscounted(name: str, n_bytes: int, n_elements: int) -> SchemaError:
    return SchemaError(
        field=f"{name}.data",
        got=f"{n_bytes} bytes that are no {n_elements} elements",
        expected="each element as its length, 4 bytes little-endian, and then its bytes",
        remedy="Correct the shape or the data.",
    )
