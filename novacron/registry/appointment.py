"""Makes a version champion that has shown itself on live traffic.

The gate of `ModelStore.promote` judges cards; a rollout was let in by that gate and judges answers.
"""

from novacron.registry.promotion import change_champion
from novacron.registry.records import CHAMPION, Audit
from novacron.registry.store import ModelStore


def champion_of(store: ModelStore, name: str) -> str:
    """Return the version that is champion now, or nothing.

    Raises:
        NotReadyError: The registry does not answer.
    """
    return store._backend.aliases(name).get(CHAMPION, "")


def appoint(store: ModelStore, name: str, version: str, *, audit: Audit, note: str) -> bool:
    """Point the champion's alias at a version, and write down why; repeating it changes nothing.

    Args:
        store: The registry.
        name: Registered name.
        version: Its number.
        audit: Who says so, when and why.
        note: What the rollout had found.

    Returns:
        Whether the alias moved.

    Raises:
        ModelNotFoundError: No such version.
        NotReadyError: Another process is changing the champion, or the registry does not answer.
    """
    store.resolve(name, version)
    champion = champion_of(store, name)
    if champion == version:
        return False
    change = audit.change("promote", version, previous=champion)
    change_champion(store._backend, name, change.model_copy(update={"notes": (note,)}))
    return True
