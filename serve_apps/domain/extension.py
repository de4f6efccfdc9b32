"""Routes beside the typed ones, such as samples and outcomes, as the site sees them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from serve_apps.settings.access import Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """What a path offers, for routing and for the OpenAPI document."""

    method: Literal["GET", "POST"]
    summary: str
    note: str = ""
    body: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    answer: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    role: Role = "predict"
    """What the caller must be allowed."""

    @property
    def methods(self) -> tuple[str, ...]:
        """HTTP methods that are taken."""
        return ("POST",) if self.method == "POST" else ("GET", "HEAD")


class Extension(Protocol):
    """A few paths of one concern."""

    @property
    def operations(self) -> Mapping[str, Operation]:
        """What is offered, by path."""
        ...

    def health(self) -> dict[str, str]:
        """Return what readiness says of it, by name: `ok`, or what is wrong; answers go on."""
        ...

    def read(self, path: str) -> dict[str, Any]:
        """Answer a path that is read."""
        ...

    async def ask(self, path: str, body: bytes, new_id: Callable[[], str]) -> dict[str, Any]:
        """Answer a path that is asked; raises a `NovacronError` that becomes the refusal."""
        ...
