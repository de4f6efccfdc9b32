"""Answers kept by version and input bytes: least recently used go first, old ones go anyway."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serve_apps.messages import InferRequest

Key = tuple[str, str, bytes]

ENTRY_BYTES: Final = 600
"""What an entry takes beside its elements: key, places in the tables, array headers."""
_TEXT_BYTES: Final = 60
_DIGEST_BYTES: Final = 20


def key_of(model: str, version: str, request: InferRequest) -> Key:
    """Return what a question is known by: model, version, and a digest of all that the model reads.

    That is every input's name, datatype, shape and bytes, and the outputs asked for. The order of
    the inputs, the wire format, the request's id and parameters are not: the model never sees them.
    """
    return model, version, request.digest or digest_of(request)


def digest_of(request: InferRequest) -> bytes:
    """Return a digest of all that a model reads of a request, and of the outputs asked for."""
    digest = blake2b(repr(request.outputs).encode(), digest_size=_DIGEST_BYTES)
    for name in sorted(request.tensors):
        array = request.tensors[name]
        data = _bytes_of(array)
        # The length comes before the bytes: no two questions give the same text.
        digest.update(repr((name, array.dtype.str, array.shape, len(data))).encode() + data)
    return digest.digest()


def _bytes_of(array: NDArray[np.generic]) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    texts = [str(text).encode("utf-8", "surrogateescape") for text in array.ravel().tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer as it is kept; its arrays are read-only and nobody else's."""

    tensors: Mapping[str, NDArray[np.generic]]
    n_rows: int
    fallbacks: Mapping[str, int]
    n_bytes: int
    kept_until_s: float


class AnswerCache:
    """A bounded table of answers. All methods run on one event loop.

    Args:
        max_bytes: Of everything kept.
        ttl_s: Seconds after which an answer is not given again.
        clock: Seconds, monotonic.
        on_evict: Called with the number of answers dropped for want of room or for their age.
    """

    def __init__(
        self,
        max_bytes: int,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
        on_evict: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._on_evict = on_evict
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self.n_bytes = 0
        """Bytes kept now."""

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Key) -> Kept | None:
        """Return the answer to a question, if it is kept and not too old."""
        found = self._kept.get(key)
        if found is None:
            return None
        if self._clock() >= found.kept_until_s:
            self._drop(key)
            self._on_evict(1)
            return None
        self._kept.move_to_end(key)
        return found

    def keep(
        self,
        key: Key,
        tensors: Mapping[str, NDArray[np.generic]],
        n_rows: int,
        fallbacks: Mapping[str, int],
    ) -> None:
        """Keep an answer; one larger than the whole table is not."""
        own = {name: _copy(array) for name, array in tensors.items()}
        n_bytes = ENTRY_BYTES + sum(map(_size_of, own.values()))
        if key in self._kept:
            self._drop(key)
        if n_bytes > self._max_bytes:
            return
        evicted = 0
        while self.n_bytes + n_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))
            evicted += 1
        if evicted:
            self._on_evict(evicted)
        until_s = self._clock() + self._ttl_s
        self._kept[key] = Kept(own, n_rows, dict(fallbacks), n_bytes, until_s)
        self.n_bytes += n_bytes

    def _drop(self, key: Key) -> None:
        self.n_bytes -= self._kept.pop(key).n_bytes


def _copy(array: NDArray[np.generic]) -> NDArray[np.generic]:
    # An answer may be a view into that of a whole batch, which would be kept alive.
    own = array.copy()
    own.flags.writeable = False
    return own


def _size_of(array: NDArray[np.generic]) -> int:
    if array.dtype != object:
        return array.nbytes
    return array.nbytes + sum(_TEXT_BYTES + len(str(text)) for text in array.ravel().tolist())
