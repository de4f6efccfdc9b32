"""Reads a request's body and the headers that say something of it, never beyond the limit."""

import zlib
from collections.abc import Callable, Mapping
from typing import Final

from novacron.errors import UnreadableInputError
from serve_apps.asgi import Receive
from serve_apps.dataplane import DataPlane

TIMEOUT_HEADER: Final = "x-timeout-ms"
_AUTO_GZIP_OR_ZLIB: Final = 47  # zlib: 15-bit window + 32, the header tells which


class CallerGoneError(Exception):
    """The caller closed the connection before its body was complete; nobody to answer."""


async def read_body(
    plane: DataPlane,
    headers: Mapping[str, str],
    receive: Receive,
    check_size: Callable[[int], None] = lambda _size: None,
) -> bytes:
    """Read and unpack a body, never holding more than the limit.

    Args:
        plane: Whose limit it is.
        headers: Of the request.
        receive: Returns the next piece.
        check_size: Raises where this caller may send less than the limit.

    Raises:
        PayloadTooLargeError: It is larger than the limit, packed or unpacked.
        UnreadableInputError: It is cut short, or its encoding is unknown or damaged.
        CallerGoneError: The connection was closed.
    """
    declared = _content_length(headers)
    plane.check_size(declared or 0)
    check_size(declared or 0)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGoneError
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        plane.check_size(size)
        check_size(size)
        more = message.get("more_body", False)
    if declared not in (None, size):
        raise UnreadableInputError(
            field="body",
            got=f"{size} bytes",
            expected=f"{declared} bytes, as Content-Length says",
            remedy="The body was cut short; send it again.",
        )
    body = _unpack(plane, b"".join(chunks), headers.get("content-encoding", "identity"))
    check_size(len(body))
    return body


def read_timeout_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `X-Timeout-Ms`, or None where it is not sent.

    Raises:
        UnreadableInputError: It is no positive whole number.
    """
    given = headers.get(TIMEOUT_HEADER)
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and int(given[:18])):
        raise UnreadableInputError(
            field="X-Timeout-Ms", got=given, expected="milliseconds to wait, at least 1"
        )
    return int(given[:18]) / 1e3


def _content_length(headers: Mapping[str, str]) -> int | None:
    declared = headers.get("content-length", "")
    # 18 digits: beyond any limit, and within what int() reads without complaint.
    return int(declared[:18]) if declared.isdecimal() else None


def _unpack(plane: DataPlane, body: bytes, encoding: str) -> bytes:
    if encoding.lower() == "identity":
        return body
    if encoding.lower() not in ("gzip", "deflate"):
        raise UnreadableInputError(
            field="Content-Encoding", got=encoding, expected="gzip, deflate or identity"
        )
    unpacker = zlib.decompressobj(_AUTO_GZIP_OR_ZLIB)
    try:
        plain = unpacker.decompress(body, plane.limits.max_body_bytes + 1)
    except zlib.error as cause:
        raise UnreadableInputError(
            field="body", got=str(cause), expected=f"{encoding} data"
        ) from cause
    plane.check_size(len(plain))
    if not unpacker.eof or unpacker.unused_data:
        raise UnreadableInputError(
            field="body",
            got=f"{len(body)} bytes that are no single, complete stream",
            expected=f"one complete {encoding} stream",
            remedy="Send all of it, and nothing after it.",
        )
    return plain
