"""The registry's front door: register a bundle, load it by alias, promote it, roll it back.

MLflow is imported by `ModelStore.connect` and not before: it takes two seconds, and it decides on
import whether to report its usage to its makers, which this project switches off.
"""

import difflib
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import TypeAdapter, ValidationError

from novacron.errors import GateRefusedError, InvalidInputError, ModelNotFoundError
from novacron.models.base import ServableModel
from novacron.registry.bundle_files import bundle_sha256, check_files, list_files
from novacron.registry.card import ModelCard, ModelName, render_markdown
from novacron.registry.config import RegistryConfig
from novacron.registry.gate import GateDecision, GateRules, decide
from novacron.registry.loading import load_checked
from novacron.registry.promotion import champion_stack, change_champion, read_history
from novacron.registry.pyfunc_loader import CARD_FILE
from novacron.registry.records import (
    ALIASES,
    CARD_TAG,
    CHALLENGER,
    CHAMPION,
    DIGEST_TAG,
    Audit,
    ChampionChange,
    LoadedModel,
    VersionRecord,
)
from novacron.registry.runs import Run, open_run

if TYPE_CHECKING:
    from novacron.registry.backend import MlflowBackend
    from novacron.registry.foreign import ForeignModel

MLFLOW_SWITCHES: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# A model registry tag holds 100,000 characters; the card must fit into one.
CARD_LIMIT: Final = 100_000
_MODEL_NAME: Final[TypeAdapter[str]] = TypeAdapter(ModelName)


class ModelStore:
    """Versions of models, their cards and their files."""

    def __init__(self, backend: "MlflowBackend") -> None:
        self._backend = backend
        self.config = backend.config

    @classmethod
    def connect(cls, config: RegistryConfig) -> Self:
        """Open the registry, creating what is missing; several processes may do so at once.

        Raises:
            NotReadyError: The database or server does not answer.
            ConfigError: The experiment exists and keeps its files elsewhere.
        """
        for switch, value in MLFLOW_SWITCHES.items():
            os.environ.setdefault(switch, value)
        from novacron.registry.backend import MlflowBackend

        return cls(MlflowBackend(config))

    # --- writing --------------------------------------------------------------------------

    def register(
        self,
        name: str,
        bundle_dir: Path,
        card: ModelCard,
        figures: Sequence[Path] = (),
        *,
        run_id: str = "",
    ) -> VersionRecord:
        """Store a bundle as a new version of a name and make it the challenger.

        The version appears in one write after its files were uploaded, read back and compared;
        the alias moves last. A crash before that leaves no version, or one without an alias.

        Args:
            name: Registered name; created when new. The card must bear the same.
            bundle_dir: What the model's `save` has written.
            card: Its card; `files` is filled in here.
            figures: Pictures to keep with the run.
            run_id: Training run it came from. With it the call may be repeated: the same bundle
                of the same run is registered once. Without it a run is made.

        Raises:
            InvalidInputError: The name is not allowed, or the card is another model's or too long.
            ArtifactError: The bundle is unsafe, does not load, or did not arrive whole.
            FeatureMismatchError: Bundle and card name different features.
        """
        self._check_name(name)
        if card.name != name:
            raise InvalidInputError(field="card.name", got=card.name, expected=name)
        with TemporaryDirectory(prefix="novacron-") as scratch:
            staged = Path(scratch) / "bundle"
            list_files(bundle_dir, max_bytes=self._max_bytes)
            shutil.copytree(bundle_dir, staged)
            files = list_files(staged, max_bytes=self._max_bytes)
            card = card.model_copy(update={"files": files})
            model = load_checked(staged, card, max_bytes=self._max_bytes)
            known = self._registered_before(name, run_id, bundle_sha256(files))
            record = known or self._upload(staged, model, card, figures, run_id)
        self._backend.set_alias(name, CHALLENGER, record.version)
        return self.resolve(name, record.version)

    def _upload(
        self,
        staged: Path,
        model: ServableModel,
        card: ModelCard,
        figures: Sequence[Path],
        run_id: str,
    ) -> VersionRecord:
        from novacron.registry.packaging import ModelPackage

        card_json = card.model_dump_json()
        if len(card_json) > CARD_LIMIT:
            raise InvalidInputError(
                field="card",
                got=f"{len(card_json)} characters",
                expected=f"at most {CARD_LIMIT}",
                remedy="Keep long settings as a file of the run.",
            )
        package = ModelPackage(
            bundle_dir=staged,
            model=model,
            requirements=(f"novacron-ml=={installed_version('novacron-ml')}",),
            texts={CARD_FILE: card_json, "card.md": render_markdown(card)},
        )
        with self.run(f"register {card.name}", run_id=run_id) as run:
            for figure in figures:
                run.log_figure(figure)
            run.log_metrics(
                {f"{metric.set}/{metric.name}": metric.value for metric in card.metrics}
            )
            model_id = self._backend.upload_model(card.name, run.run_id, package)
            self._check_arrived(model_id, card)
        digest = bundle_sha256(card.files)
        return self._backend.create_version(
            card.name,
            model_id,
            run.run_id,
            tags={CARD_TAG: card_json, DIGEST_TAG: digest},
            summary=f"{card.intended_use[:2000]}\n\nData: {card.data_source[:2000]}.",
        )

    def _check_arrived(self, model_id: str, card: ModelCard) -> None:
        with TemporaryDirectory(prefix="novacron-") as scratch:
            bundle_dir = self._backend.fetch_bundle(model_id, card.files, Path(scratch))
            check_files(list_files(bundle_dir, max_bytes=self._max_bytes), card.files)

    def _registered_before(self, name: str, run_id: str, digest: str) -> VersionRecord | None:
        if not run_id:
            return None
        for record in self._backend.versions(name):
            if (record.run_id, record.bundle_sha256) == (run_id, digest):
                return record
        return None

    def run(
        self,
        name: str,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        run_id: str = "",
        parent_run_id: str = "",
    ) -> AbstractContextManager[Run]:
        """Open a run for parameters, progress and pictures; see `novacron.registry.runs`.

        Args:
            name: Shown in the list of runs.
            params: Settings; those of a resumed run must be the ones it was started with.
            tags: Free labels.
            run_id: A run to go on with, e.g. after its process was killed.
            parent_run_id: A run to show this one under.
        """
        return open_run(
            self._backend,
            name,
            params=params or {},
            tags=tags or {},
            run_id=run_id,
            parent_run_id=parent_run_id,
        )

    def known_run(self, run_id: str) -> str:
        """Return a run's id if it is there to go on with, else ""; folders outlive registries."""
        return run_id if run_id and self._backend.run_status(run_id) is not None else ""

    # --- reading --------------------------------------------------------------------------

    def load(self, name: str, ref: str = CHAMPION) -> LoadedModel:
        """Load a version by alias or number, its files checked against its card first.

        Raises:
            ModelNotFoundError: No such name, alias or version.
            ArtifactError: A file is missing, was added or changed, or is unsafe.
            FeatureMismatchError: It was fitted on other features than this code computes.
        """
        record = self.resolve(name, ref)
        card = record.card()
        with TemporaryDirectory(prefix="novacron-") as scratch:
            bundle_dir = self._backend.fetch_bundle(record.model_id, card.files, Path(scratch))
            model = load_checked(bundle_dir, card, max_bytes=self._max_bytes)
        return LoadedModel(model=model, name=name, version=record.version, card=card)

    def fetch_foreign(self, record: VersionRecord, target: Path) -> "ForeignModel":
        """Download and read a version that MLflow itself logged; see `registry.foreign.fetch`."""
        from novacron.registry.foreign import fetch

        return fetch(self._backend, record, target, max_bytes=self._max_bytes)

    def resolve(self, name: str, ref: str) -> VersionRecord:
        """Return the version an alias or number stands for now, without reading its files.

        Raises:
            ModelNotFoundError: No such name, alias or version.
        """
        known = self._is_name(name)
        aliases = self._backend.aliases(name) if known else {}
        version = aliases.get(ref, ref)
        record = None
        if known and version.isascii() and version.isdigit() and len(version) < 10:
            record = self._backend.version(name, version)
        if record is not None:
            return record
        numbers = [row.version for row in self._backend.versions(name)] if known else []
        if not numbers:
            raise self._unknown_model(name)
        raise ModelNotFoundError(
            f"{name} has no version or alias {ref!r}; it has {', '.join([*aliases, *numbers])}.",
            remedy="Register or promote one first.",
        )

    def card(self, name: str, ref: str = CHAMPION) -> ModelCard:
        """Return the card of a version by alias or number.

        Raises:
            ModelNotFoundError: No such name, alias or version.
            ArtifactError: The version has no readable card.
        """
        return self.resolve(name, ref).card()

    def models(self) -> tuple[str, ...]:
        """Return the registered names in order."""
        return self._backend.model_names()

    def versions(self, name: str) -> tuple[VersionRecord, ...]:
        """Return all versions of a name, oldest first.

        Raises:
            ModelNotFoundError: No such name.
        """
        records = self._backend.versions(name) if self._is_name(name) else ()
        if not records:
            raise self._unknown_model(name)
        return records

    def history(self, name: str) -> tuple[ChampionChange, ...]:
        """Return every change of champion of a name, oldest first.

        Raises:
            ModelNotFoundError: No such name.
        """
        self.versions(name)
        return read_history(self._backend, name)

    def describe(self) -> dict[str, Any]:
        """Return the state of all models as one JSON-able object."""
        return {
            "location": self.config.location,
            "models": {name: self._describe_model(name) for name in self.models()},
        }

    def _describe_model(self, name: str) -> dict[str, Any]:
        records = self._backend.versions(name)
        aliases = {alias: record for record in records for alias in record.aliases}
        champion = aliases.get(CHAMPION)
        return {
            "versions": len(records),
            "aliases": {alias: aliases[alias].version for alias in ALIASES if alias in aliases},
            "champion": None if champion is None else champion.card().model_dump(mode="json"),
            "history": [
                change.model_dump(mode="json") for change in read_history(self._backend, name)
            ],
        }

    def promote(
        self,
        name: str,
        ref: str,
        rules: GateRules,
        *,
        audit: Audit,
        champion_card: ModelCard | None = None,
        force: bool = False,
    ) -> GateDecision:
        """Make a version the champion if the gate lets it; it must load from the store first.

        Args:
            name: Registered name.
            ref: Alias or version number, usually `challenger`.
            rules: What it must show.
            audit: Who asks, when and why.
            champion_card: The champion's card with its metrics measured again on the challenger's
                data, where the stored one is not comparable.
            force: Promote against the gate; needs a reason in `audit.why`, which is kept.

        Raises:
            ModelNotFoundError: No such name, alias or version.
            GateRefusedError: The gate refused; the message lists every reason.
            InvalidInputError: Forced without a reason.
            ArtifactError: The stored files are not the registered ones.
            FeatureMismatchError: It was fitted on other features than this code computes.
            NotReadyError: Another process is changing the champion.
        """
        if force and not audit.why.strip():
            raise InvalidInputError(
                field="why", got=audit.why, expected="the reason for overriding the gate"
            )
        challenger = self.load(name, ref)
        champion = self._backend.aliases(name).get(CHAMPION, "")
        if champion and champion_card is None:
            champion_card = self.card(name, champion)
        decision = decide(challenger.card, champion_card, rules)
        if not decision.passed and not force:
            raise GateRefusedError(
                f"{name} version {challenger.version} stays out: {' '.join(decision.reasons)}",
                remedy="Train a better one, or force it and say why.",
            )
        if champion != challenger.version:
            change = audit.change("promote", challenger.version, previous=champion)
            change_champion(self._backend, name, change.gated(decision))
        return decision

    def rollback(self, name: str, *, audit: Audit) -> LoadedModel:
        """Make the champion before the present one champion again; repeat to go further back.

        The version is loaded before the alias moves, so a damaged one never takes over.

        Raises:
            ModelNotFoundError: No such name, or no earlier champion.
            ArtifactError: The files of the earlier champion are not the registered ones.
            NotReadyError: Another process is changing the champion.
        """
        self.versions(name)
        champion = self._backend.aliases(name).get(CHAMPION, "")
        stack = champion_stack(read_history(self._backend, name), champion)
        if len(stack) < 2:
            raise ModelNotFoundError(
                f"{name} has no champion before {champion or 'the first'}.",
                remedy="Promote a version by its number instead.",
            )
        earlier = self.load(name, stack[-2])
        change_champion(
            self._backend, name, audit.change("rollback", earlier.version, previous=champion)
        )
        return earlier

    @property
    def _max_bytes(self) -> int:
        return self.config.max_bundle_mib * 2**20

    def _unknown_model(self, name: str) -> ModelNotFoundError:
        names = self.models()
        near = difflib.get_close_matches(name, names, n=3) or names[:3]
        known = f"The nearest are {', '.join(near)}." if near else "The registry is empty."
        return ModelNotFoundError(f"There is no model {name[:80]!r}.", remedy=known)

    def _is_name(self, name: str) -> bool:
        try:
            _MODEL_NAME.validate_python(name)
        except ValidationError:
            return False
        return True

    def _check_name(self, name: str) -> None:
        if not self._is_name(name):
            raise InvalidInputError(
                field="name",
                got=name,
                expected="a lower-case letter, then up to 62 letters, digits, _ or -",
            )
