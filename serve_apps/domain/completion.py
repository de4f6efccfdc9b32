"""Rows that bring no history, completed by what is kept of their entity."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from serve_apps.domain.rows import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """A row with its history, and what is said of that in the record."""

    row: Row
    told: Mapping[str, Any]


class Histories(Protocol):
    """Completes rows that name what they are about and bring no history."""

    async def complete(self, inputs: frozenset[str], row: Row) -> Completed | None:
        """Return the row with a history; None where it needs none, or there is none to give.

        Args:
            inputs: Names of the model's inputs.
            row: As it was asked.

        Raises:
            NotFoundError: Nothing is kept of its entity.
            InvalidInputError: What is kept will not do.
        """
        ...
