"""Which version answers a request, and who is told when it has.

`DataPlane` chooses a version, asks it (`serve_apps.asking`), has the answer recorded
(`serve_apps.recording`), and tells the observers; the four need not know of each other.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from novacron.errors import NovacronError, OverloadedError
from serve_apps.asking import Asked
from serve_apps.host import ServedModel
from serve_apps.messages import InferRequest
from serve_apps.recording import CHAMPION

logger = logging.getLogger(__name__)

KEY_HEADER: Final = "x-novacron-key"
"""Header, or gRPC metadata, by whose value a caller stays with one version of a model."""
KEY_PARAMETER: Final = "key"
"""The same among the `parameters` of a request; the header wins."""
MAX_KEY_CHARS: Final = 256

STABLE: Final = CHAMPION
CANDIDATE: Final = "canary"
SHADOW: Final = "shadow"
NAMED: Final = "named"
"""Roles of a version: answers by default, is tried on callers, is asked beside it and not heard, or
was asked for by its number."""
_SERVER_FAULT: Final = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """The version that answers a request, and as what."""

    served: ServedModel
    role: str = STABLE


class Chooser(Protocol):
    """Decides which loaded version answers."""

    def choose(self, name: str, version: str | None, key: str) -> Chosen:
        """Choose a version; the same key gets the same one for as long as nothing changes.

        Args:
            name: The model.
            version: The version asked for; None where the caller leaves it open.
            key: Whatever the caller wants to stay with one version by; may be empty.

        Raises:
            ModelNotFoundError: No such model or version.
            NotReadyError: The model is loading, or was stopped.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A request that has its answer or its refusal, as observers see it."""

    served: ServedModel
    role: str
    """Empty where it was refused before a version was chosen."""
    key: str
    status: int
    """As HTTP says it; 499 where the caller left."""
    latency_s: float
    request: InferRequest | None = None
    """None where it could not be read."""
    asked: Asked | None = None
    """None where there was no answer."""
    error: NovacronError | None = None
    prediction_id: str = ""
    """Of the answer, where answers are recorded."""

    @property
    def is_version_fault(self) -> bool:
        """Whether the version failed: a baseline stood in for it, or the fault was not the caller's.

        A full queue counts too: a version that is too slow fills it.
        """
        if self.asked is not None and self.asked.baseline:
            return True
        return self.status >= _SERVER_FAULT or self.status == OverloadedError.http_status


Observer = Callable[[Finished], None]
"""Told of each finished request, on the event loop: must not block, and what it raises is logged."""


class DefaultVersion(Chooser):
    """Chooses what the host answers with by default.

    Args:
        find: `ModelHost.get`.
    """

    def __init__(self, find: Callable[[str, str | None], ServedModel]) -> None:
        self._find = find

    def choose(self, name: str, version: str | None, key: str) -> Chosen:  # noqa: ARG002
        """Choose the version asked for, or the first."""
        role = STABLE if version is None else NAMED
        return Chosen(served=self._find(name, version), role=role)


def tell(observers: Sequence[Observer], finished: Finished) -> None:
    """Tell every observer; one that fails is logged and harms neither caller nor the others."""
    for observer in observers:
        try:
            observer(finished)
        except Exception:
            logger.exception("an observer of requests failed")


def key_of(given: str | None, request: InferRequest) -> str:
    """Return the key of a request: what the transport said, else its own parameter, else nothing."""
    if given:
        return given[:MAX_KEY_CHARS]
    named = request.parameters.get(KEY_PARAMETER)
    return "" if named is None else str(named)[:MAX_KEY_CHARS]
