"""Holds the models of one replica: loads them from the registry, proves them, swaps versions."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from novacron.errors import ModelNotFoundError, NotReadyError, NovacronError
from novacron.models.base import ServableModel
from novacron.registry.appointment import appoint, champion_of
from novacron.registry.records import Audit
from novacron.registry.store import ModelStore
from serve_apps.batching import Batcher
from serve_apps.config import BatchingConfig, split_ref
from serve_apps.load_checks import PROBE_ROWS, check_loaded
from serve_apps.mlflow_models import MlflowModel

logger = logging.getLogger(__name__)


class Loaded(Protocol):
    """What a store hands out: a model, its version, and what is known of it."""

    @property
    def model(self) -> ServableModel:
        """The model itself."""
        ...

    @property
    def version(self) -> str:
        """Its number."""
        ...

    @property
    def card(self) -> Any:
        """Its card: at least `features_hash`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignCard:
    """All that is known of a model that was logged without a card."""

    features_hash: str
    created_at: datetime
    data_source: str = "unknown: logged to MLflow without a card"


@dataclass(frozen=True, kw_only=True, slots=True)
class _LoadedForeign:
    model: ServableModel
    name: str
    version: str
    card: ForeignCard


class Store(Protocol):
    """What the endpoint asks of the registry; `novacron.registry` has it."""

    def load(self, name: str, ref: str) -> Loaded:
        """Load a version by alias or number; raises a `NovacronError` saying why it cannot."""
        ...

    def resolve(self, name: str, ref: str) -> str:
        """Return the version an alias points to now."""
        ...


class RegistryStore:
    """The registry as the host sees it."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def load(self, name: str, ref: str) -> Loaded:
        """Load a version, see `ModelStore.load`; or one that was logged by MLflow itself."""
        record = self._store.resolve(name, ref)
        if not record.is_foreign:
            return self._store.load(name, ref)
        with TemporaryDirectory(prefix="novacron-") as folder:
            model = MlflowModel(self._store.fetch_foreign(record, Path(folder)), name)
        logger.info("engine of %s: %s of %s", name, model.choice.engine.name, model.choice.seconds)
        card = ForeignCard(features_hash=model.features_hash, created_at=record.created_at)
        return _LoadedForeign(model=model, name=name, version=record.version, card=card)

    def resolve(self, name: str, ref: str) -> str:
        """Find the version behind an alias without reading its files."""
        return self._store.resolve(name, ref).version

    def champion(self, name: str) -> str:
        """Return the version that the champion's alias names, or nothing."""
        return champion_of(self._store, name)

    def appoint(self, name: str, version: str, *, audit: Audit, note: str) -> bool:
        """Move the champion's alias after a rollout, see `novacron.registry.appointment`."""
        return appoint(self._store, name, version, audit=audit, note=note)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """One version of one model, ready to answer."""

    name: str
    version: str
    ref: str
    """The alias or version it was asked for by."""
    model: ServableModel
    batcher: Batcher
    features_hash: str
    card: Any = None
    """What the registry says of it."""


class ModelHost:
    """The models of one replica. All methods run on one event loop.

    Args:
        store: Where models come from; its calls run in a worker thread.
        refs: `name@alias` or `name@version` of every model to serve. Of several refs of one name
            the first answers requests that name no version.
        batching: Limits of every model's queue.
        observe_batch: Called with the model's name and the rows of each model call.
    """

    def __init__(
        self,
        store: Store,
        refs: Sequence[str],
        batching: BatchingConfig,
        observe_batch: Callable[[str, int], None] = lambda _name, _rows: None,
    ) -> None:
        self._store = store
        self._refs = tuple(refs)
        self._batching = batching
        self._observe_batch = observe_batch
        self._served: dict[str, ServedModel] = {}
        self._held: dict[tuple[str, str], ServedModel] = {}
        self._refreshing = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._draining = False
        self._names = tuple(dict.fromkeys(split_ref(ref)[0] for ref in self._refs))

    @property
    def ready(self) -> bool:
        """Whether every model that was asked for is loaded and proven."""
        return len(self._served) == len(self._refs) and not self._draining

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models asked for, loaded or not."""
        return self._names

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the loaded versions of a model, the one that answers by default first."""
        return tuple(dict.fromkeys(served.version for served in self._of(name)))

    def check_health(self, max_call_s: float) -> None:
        """Refuse to be called healthy while a model is missing or hangs in a call.

        Raises:
            NotReadyError: A model is not loaded, or a model call takes longer than `max_call_s`.
        """
        if not self.ready:
            raise NotReadyError("Not every model is loaded, or a shutdown has begun.")
        for served in self._served.values():
            if served.batcher.running_s > max_call_s:
                raise NotReadyError(
                    f"A call of model {served.name!r} has run for {served.batcher.running_s:.0f} s.",
                    remedy="The replica is replaced.",
                )

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """Find a loaded model.

        Raises:
            ModelNotFoundError: The name or version is not served here.
            NotReadyError: The model is served here but not loaded.
        """
        for ref in self._refs:
            # The usual case, without a list of all there is.
            first = self._served.get(ref)
            if first is not None and first.name == name and version in (None, first.version):
                return first
        if name not in self.names:
            raise ModelNotFoundError(
                f"No model {name[:100]!r} is served here.",
                remedy=f"Served: {', '.join(self.names)}.",
            )
        loaded = self._of(name)
        if not loaded:
            raise NotReadyError(f"Model {name!r} is still loading.", remedy="Retry shortly.")
        for served in loaded:
            if version in (None, served.version):
                return served
        raise ModelNotFoundError(
            f"Version {version!r:.60} of model {name!r} is not served here.",
            remedy=f"Served: {', '.join(self.versions(name))}.",
        )

    async def load(self) -> None:
        """Load and prove every model.

        Raises:
            NovacronError: A model is not registered, damaged, or fails its checks.
        """
        for ref in self._refs:
            await self._swap(ref)

    async def refresh(self) -> tuple[str, ...]:
        """Ask the registry where each alias points, and swap in what has changed.

        The new version is loaded and proven beside the old one, which answers until the swap and
        keeps answering if the new one fails. Returns the refs that changed.
        """
        async with self._refreshing:
            changed = []
            for ref in self._refs:
                try:
                    if await self._swap(ref):
                        changed.append(ref)
                except NovacronError as error:
                    logger.error("kept the old version of %s: %s", ref, error)
                except Exception:
                    logger.exception("kept the old version of %s", ref)
            return tuple(changed)

    async def hold(self, name: str, version: str) -> ServedModel:
        """Load a version beside those that answer by default, prove and warm it; it is found by its
        number from then on. A version that is here already is only kept for longer.

        Raises:
            ModelNotFoundError: The name is not served here, or has no such version.
            NovacronError: It is damaged or fails its checks; nothing has changed.
        """  # noqa: D205  one sentence
        if name not in self.names:
            self.get(name)
        async with self._refreshing:
            here = [one for one in self._of(name) if one.version == version]
            served = here[0] if here else await self._load(f"{name}@{version}", warm=True)
            self._held[name, version] = served
            return served

    async def release(self, name: str, version: str) -> None:
        """Let go of a held version; unless it answers by default, it is drained and forgotten."""
        async with self._refreshing:
            served = self._held.pop((name, version), None)
            if served is not None:
                self._leave(served)

    def held(self) -> tuple[tuple[str, str], ...]:
        """Return name and version of everything that is held."""
        return tuple(self._held)

    async def drain(self) -> None:
        """Refuse new requests and answer those that wait."""
        self._draining = True
        everything = (*self._served.values(), *self._held.values())
        drains = [one.batcher.drain() for one in {id(one): one for one in everything}.values()]
        await asyncio.gather(*drains, *self._leaving)

    def _of(self, name: str) -> list[ServedModel]:
        served = [*(self._served.get(ref) for ref in self._refs), *self._held.values()]
        return [one for one in served if one is not None and one.name == name]

    def _leave(self, served: ServedModel) -> None:
        """Drain a version that nothing names any more."""
        if any(one is served for one in (*self._served.values(), *self._held.values())):
            return
        # Not awaited: an old version that hangs must not hold up the next swap.
        leaving = asyncio.create_task(served.batcher.drain())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _swap(self, ref: str) -> bool:
        name, alias = split_ref(ref)
        old = self._served.get(ref)
        if old is not None:
            version = await asyncio.to_thread(self._store.resolve, name, alias)
            if str(version) == old.version:
                return False
            held = self._held.get((name, str(version)))
            new = replace(held, ref=ref) if held else await self._load(ref, warm=True)
            if held:
                self._held[name, new.version] = new
        else:
            new = await self._load(ref)
        self._served[ref] = new
        logger.info("serving %s version %s", ref, new.version)
        if old is not None:
            self._leave(old)
        return True

    async def _load(self, ref: str, *, warm: bool = False) -> ServedModel:
        name, alias = split_ref(ref)
        loaded = await asyncio.to_thread(self._store.load, name, alias)
        features_hash = loaded.card.features_hash
        rows = await asyncio.to_thread(check_loaded, loaded.model, features_hash, name)
        batcher = Batcher(
            loaded.model.predict,
            self._batching,
            name=name,
            observe=lambda n_rows: self._observe_batch(name, n_rows),
        )
        if warm:
            await batcher.warm(rows, PROBE_ROWS)
        return ServedModel(
            name=name,
            version=str(loaded.version),
            ref=ref,
            model=loaded.model,
            batcher=batcher,
            features_hash=features_hash,
            card=loaded.card,
        )
