"""Remembers what the bodies of questions said that were asked before, where answers are kept.

Reading a body costs more than finding its answer. The very same bytes say the very same again, so
that the request is kept beside the answers, whichever version will answer it.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

from serve_apps.messages import InferRequest
from serve_apps.oip_binary import OipHttp
from serve_apps.resilience.answer_cache import digest_of

ENTRY_BYTES: Final = 1500
"""What an entry takes beside its elements."""
_DIGEST_BYTES: Final = 20


@dataclass(frozen=True, slots=True)
class _Read:
    request: InferRequest
    wishes: Any
    n_bytes: int


class DecodeMemo:
    """A bounded table of bodies read. All methods run on one event loop.

    Args:
        max_bytes: Of everything remembered; the least recently used go first.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._read: OrderedDict[tuple[int | None, bytes], _Read] = OrderedDict()
        self.n_bytes = 0

    def decode(self, codec: OipHttp, body: bytes) -> InferRequest:
        """Read a body, or remember what it said; the tensors are read-only and shared.

        Raises:
            InvalidInputError: As the codec does.
        """
        key = (codec.json_bytes, blake2b(body, digest_size=_DIGEST_BYTES).digest())
        found = self._read.get(key)
        if found is not None:
            self._read.move_to_end(key)
            codec.wishes = found.wishes
            return found.request
        request = codec.decode(body)
        n_bytes = ENTRY_BYTES + 2 * len(body)
        if n_bytes > self._max_bytes:
            return request
        for array in request.tensors.values():
            array.flags.writeable = False
        request = replace(request, digest=digest_of(request))
        while self.n_bytes + n_bytes > self._max_bytes:
            self.n_bytes -= self._read.popitem(last=False)[1].n_bytes
        self._read[key] = _Read(request, codec.wishes, n_bytes)
        self.n_bytes += n_bytes
        return request


def own(request: InferRequest) -> InferRequest:
    """Return a request with tensors of its own, which a model may write to."""
    if not request.digest:
        return request
    return replace(request, tensors={name: a.copy() for name, a in request.tensors.items()})
