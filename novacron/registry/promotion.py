"""Moves the champion alias, remembers every champion before it, and survives a crash in between.

Each change is written down first (state `begun`), then the alias moves in one write, then the
entry is closed (`done`). The history is replayed as a stack: a promotion pushes, a rollback pops.
"""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

from novacron.errors import NotReadyError
from novacron.registry.records import CHALLENGER, CHAMPION, PREVIOUS, ChampionChange

EVENT_PREFIX: Final = "novacron.champion."
# A change takes well under a second; one still open after this belongs to a process that died.
GIVEN_UP_AFTER: Final = timedelta(seconds=60)


class AliasStore(Protocol):
    """What a change of champion needs from the records."""

    def aliases(self, name: str) -> dict[str, str]:
        """Return alias -> version number."""
        ...

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        ...

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias."""
        ...

    def model_tags(self, name: str) -> dict[str, str]:
        """Return the tags of a registered name."""
        ...

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """Write one tag."""
        ...

    def delete_model_tag(self, name: str, key: str) -> None:
        """Remove one tag."""
        ...


def read_history(store: AliasStore, name: str) -> tuple[ChampionChange, ...]:
    """Return all changes of champion, oldest first, abandoned ones included."""
    return tuple(change for _, change in _entries(store, name))


def champion_stack(history: Sequence[ChampionChange], champion: str) -> tuple[str, ...]:
    """Return the champions in force, oldest first, ending with the present one.

    Args:
        history: All changes; those that did not take effect are skipped.
        champion: The version the alias names now, or empty. Where it was moved by other means
            than this project's, it is counted as the newest.
    """
    stack: list[str] = []
    for change in history:
        if change.state == "abandoned":
            continue
        if change.state == "begun" and change.version != champion:
            continue
        if change.previous and stack[-1:] != [change.previous]:
            stack.append(change.previous)
        if change.action == "rollback":
            stack.pop()
        if stack[-1:] != [change.version]:
            stack.append(change.version)
    if champion and stack[-1:] != [champion]:
        stack.append(champion)
    return tuple(stack)


def change_champion(store: AliasStore, name: str, change: ChampionChange) -> ChampionChange:
    """Carry out one change of champion.

    Args:
        store: The records.
        name: Registered name.
        change: What to do, with the champion the caller saw as `previous`; its `sequence` and
            `state` are filled in here.

    Raises:
        NotReadyError: Another process is changing the champion at this moment, or did so since
            the caller looked.
    """
    _close_unfinished(store, name, change)
    history = read_history(store, name)
    newest = history[-1].sequence if history else 0
    change = change.model_copy(update={"sequence": newest + 1})
    key = f"{EVENT_PREFIX}{change.sequence:06d}.{uuid.uuid4().hex[:8]}"
    store.set_model_tag(name, key, change.to_tag())
    # Written before read: of two processes at least one sees the other and steps back.
    rivals = [
        other_key
        for other_key, other in _entries(store, name)
        if other_key != key and (other.state == "begun" or other.sequence >= change.sequence)
    ]
    if rivals or store.aliases(name).get(CHAMPION, "") != change.previous:
        store.delete_model_tag(name, key)
        raise _busy(name)
    store.set_alias(name, CHAMPION, change.version)
    return _finish(store, name, key, change)


def _finish(store: AliasStore, name: str, key: str, change: ChampionChange) -> ChampionChange:
    """Bring the other aliases in line with a champion that has moved, then close the entry."""
    stack = champion_stack(read_history(store, name), change.version)
    if len(stack) > 1:
        store.set_alias(name, PREVIOUS, stack[-2])
    else:
        store.delete_alias(name, PREVIOUS)
    if store.aliases(name).get(CHALLENGER) == change.version:
        store.delete_alias(name, CHALLENGER)
    done = change.model_copy(update={"state": "done"})
    store.set_model_tag(name, key, done.to_tag())
    return done


def _close_unfinished(store: AliasStore, name: str, change: ChampionChange) -> None:
    champion = store.aliases(name).get(CHAMPION, "")
    for key, other in _entries(store, name):
        if other.state != "begun":
            continue
        if change.at - other.at < GIVEN_UP_AFTER:
            raise _busy(name)
        if other.version == champion:
            _finish(store, name, key, other)
        else:
            abandoned = other.model_copy(update={"state": "abandoned"})
            store.set_model_tag(name, key, abandoned.to_tag())


def _entries(store: AliasStore, name: str) -> list[tuple[str, ChampionChange]]:
    return [
        (key, ChampionChange.model_validate_json(value))
        for key, value in sorted(store.model_tags(name).items())
        if key.startswith(EVENT_PREFIX)
    ]


def _busy(name: str) -> NotReadyError:
    return NotReadyError(
        f"The champion of {name} is being changed by another process.",
        remedy=f"Look at its history and try again in {GIVEN_UP_AFTER.seconds} s.",
    )
