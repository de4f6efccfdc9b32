"""Every call into MLflow, in terms of this project: no MLflow type or error leaves this file.

Only `MlflowClient` with explicit addresses is used: the module-level API of MLflow keeps its
address in process globals and creates `mlflow.db` in the working directory when it has none.
"""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from novacron.errors import ArtifactError, ConfigError, MissingDependencyError, NotReadyError
from novacron.registry.bundle_files import BundleFile, check_names
from novacron.registry.config import RegistryConfig
from novacron.registry.packaging import ModelPackage, write_model_dir
from novacron.registry.records import MODEL_ID_TAG, VersionRecord

BUNDLE_PATH: Final = "data/bundle"
CONNECT_TIMEOUT_S: Final = 5
# Any constant will do; it only has to be the same in every process of this project.
SCHEMA_LOCK_KEY: Final = 0x4E4F5641
BATCH_ROWS: Final = 100

# URI scheme -> (module, the extra of this project that brings it)
DRIVERS: Final = {
    "postgresql+psycopg2": ("psycopg2", "postgres"),
    "s3": ("boto3", "s3"),
}


class MlflowBackend:
    """One connection to the records and files; safe to open from several processes at once."""

    def __init__(self, config: RegistryConfig) -> None:
        """Open the connection and create what is missing: tables, folder, experiment.

        Raises:
            NotReadyError: The database or server does not answer.
            ConfigError: The experiment exists and keeps its files elsewhere.
            MissingDependencyError: The database or object store needs a driver.
        """
        _check_drivers(config)
        self.config = config
        self._uri = config.connection_uri
        with _alone(config):
            self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
            # Both stores are opened lazily; their tables must be made while nobody else does.
            self._client.search_registered_models(max_results=1)
            self.experiment_id = self._open_experiment()

    def _open_experiment(self) -> str:
        name, wanted = self.config.experiment, self.config.artifact_location
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                created = self._client.create_experiment(name, artifact_location=wanted or None)
            except MlflowException as cause:
                # Another process was first; behind a server there is no lock to take.
                if cause.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self._open_experiment()
            return str(created)
        if wanted and found.artifact_location.rstrip("/") != wanted:
            raise ConfigError(
                field="registry.artifact_uri",
                got=wanted,
                expected=f"{found.artifact_location}, where this experiment keeps its files",
                remedy="Keep the location, or name another experiment.",
            )
        return str(found.experiment_id)

    # --- versions -------------------------------------------------------------------------

    def model_names(self) -> tuple[str, ...]:
        """Return the registered names in order."""
        names: list[str] = []
        token: str | None = None
        while True:
            page = self._client.search_registered_models(max_results=100, page_token=token)
            names += [model.name for model in page]
            token = page.token
            if not token:
                return tuple(sorted(names))

    def versions(self, name: str) -> tuple[VersionRecord, ...]:
        """Return all versions of a name, oldest first; aliases come from the model itself."""
        rows: list[MlflowVersion] = []
        token: str | None = None
        while True:
            page = self._client.search_model_versions(
                f"name = '{name}'", max_results=200, page_token=token
            )
            rows += page
            token = page.token
            if not token:
                break
        aliases = self.aliases(name) if rows else {}
        records = [_record(row, aliases) for row in rows]
        return tuple(sorted(records, key=lambda record: int(record.version)))

    def version(self, name: str, version: str) -> VersionRecord | None:
        """Return one version by number, or None."""
        try:
            row = self._client.get_model_version(name, version)
        except MlflowException as cause:
            if cause.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return _record(row, self.aliases(name))

    def aliases(self, name: str) -> dict[str, str]:
        """Return alias -> version number; empty where the name is not registered."""
        try:
            model = self._client.get_registered_model(name)
        except MlflowException as cause:
            if cause.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: str(version) for alias, version in model.aliases.items()}

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version, in one write."""
        self._client.set_registered_model_alias(name, alias, version)

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; harmless where there is none."""
        self._client.delete_registered_model_alias(name, alias)

    def model_tags(self, name: str) -> dict[str, str]:
        """Return the tags of a registered name."""
        return dict(self._client.get_registered_model(name).tags)

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """Write one tag of a registered name."""
        self._client.set_registered_model_tag(name, key, value)

    def delete_model_tag(self, name: str, key: str) -> None:
        """Remove one tag of a registered name."""
        self._client.delete_registered_model_tag(name, key)

    # --- uploading and reading a model ----------------------------------------------------

    def upload_model(self, name: str, run_id: str, package: ModelPackage) -> str:
        """Upload a model and return its id; no version refers to it yet."""
        logged = self._client.create_logged_model(
            self.experiment_id, name=name, source_run_id=run_id
        )
        with TemporaryDirectory(prefix="novacron-") as scratch:
            model_dir = Path(scratch) / "model"
            write_model_dir(model_dir, package, model_id=logged.model_id, run_id=run_id)
            self._client.log_model_artifacts(logged.model_id, str(model_dir))
        self._client.finalize_logged_model(logged.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
        return str(logged.model_id)

    def create_version(
        self, name: str, model_id: str, run_id: str, *, tags: Mapping[str, str], summary: str
    ) -> VersionRecord:
        """Make an uploaded model a version of a name; tags appear in the same write."""
        try:
            self._client.create_registered_model(name)
        except MlflowException as cause:
            if cause.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # Given `models:/<id>`, a database store would look the id up at MLflow's global address;
        # a server refuses any other form.
        location = self._client.get_logged_model(model_id).artifact_location
        row = self._client.create_model_version(
            name,
            f"models:/{model_id}" if self.config.is_server else location,
            run_id,
            tags=dict(tags) | {MODEL_ID_TAG: model_id},
            description=summary,
            model_id=model_id,
        )
        return _record(row, {})

    def fetch_bundle(self, model_id: str, files: Sequence[BundleFile], target: Path) -> Path:
        """Download a bundle into an empty folder and return the bundle's own folder in it.

        The store is listed first, so nothing that the card does not name is ever transferred.

        Raises:
            ArtifactError: Files are missing, added, of another size, or cannot be read.
        """
        try:
            location = self._client.get_logged_model(model_id).artifact_location
            repository: Any = get_artifact_repository(location, tracking_uri=self._uri)
            sizes = dict(_walk(repository, BUNDLE_PATH))
            prefix = f"{BUNDLE_PATH}/"
            check_names([path.removeprefix(prefix) for path in sizes], files)
            for file in files:
                _check_size(file, sizes[prefix + file.path])
                repository.download_artifacts(prefix + file.path, dst_path=str(target))
        except (MlflowException, OSError) as cause:
            raise ArtifactError(
                f"The files of {model_id} cannot be read: {cause}.",
                remedy="Check the artifact store, or roll back.",
            ) from cause
        return target / BUNDLE_PATH

    def fetch_foreign(self, name: str, version: str, target: Path, *, max_bytes: int) -> Path:
        """Download a model that MLflow itself logged, whole, into an empty folder.

        Raises:
            ArtifactError: Its files cannot be read, or are larger than the limit.
        """
        try:
            location = self._client.get_model_version_download_uri(name, version)
            if location.startswith("models:/"):
                model_id = location.removeprefix("models:/")
                location = self._client.get_logged_model(model_id).artifact_location
            repository: Any = get_artifact_repository(location, tracking_uri=self._uri)
            size_bytes = sum(size or 0 for _, size in _walk(repository, ""))
            if size_bytes > max_bytes:
                raise ArtifactError(
                    f"{name} version {version} has {size_bytes} bytes, the limit is {max_bytes}.",
                    remedy="Raise max_bundle_mib in the registry's settings.",
                )
            repository.download_artifacts("", dst_path=str(target))
        except (MlflowException, OSError) as cause:
            raise ArtifactError(
                f"The files of {name} version {version} cannot be read: {cause}.",
                remedy="Check the artifact store.",
            ) from cause
        return target

    # --- runs -----------------------------------------------------------------------------

    def start_run(self, name: str, tags: Mapping[str, str], *, parent_run_id: str = "") -> str:
        """Create a run in state RUNNING and return its id."""
        extra = {"mlflow.parentRunId": parent_run_id} if parent_run_id else {}
        run = self._client.create_run(self.experiment_id, run_name=name, tags=dict(tags) | extra)
        return str(run.info.run_id)

    def run_status(self, run_id: str) -> str | None:
        """Return RUNNING, FINISHED, FAILED or KILLED, or None where there is no such run."""
        try:
            return str(self._client.get_run(run_id).info.status)
        except MlflowException as cause:
            if cause.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def reopen_run(self, run_id: str) -> None:
        """Put a run back into state RUNNING."""
        self._client.update_run(run_id, status="RUNNING")

    def end_run(self, run_id: str, status: str) -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        self._client.set_terminated(run_id, status)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Write parameters; writing the same value again is allowed.

        Raises:
            ConfigError: A parameter of this run has another value already.
        """
        items = [Param(key, value) for key, value in params.items()]
        try:
            for start in range(0, len(items), BATCH_ROWS):
                self._client.log_batch(run_id, params=items[start : start + BATCH_ROWS])
        except MlflowException as cause:
            if cause.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise ConfigError(
                field="run parameters",
                got=cause.message.splitlines()[0],
                expected="the values this run was started with",
                remedy="Resume with the same configuration, or start a new run.",
            ) from cause

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], *, step: int) -> None:
        """Write one value of each metric at a step."""
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        rows = [Metric(key, value, now_ms, step) for key, value in metrics.items()]
        for start in range(0, len(rows), BATCH_ROWS):
            self._client.log_batch(run_id, metrics=rows[start : start + BATCH_ROWS])

    def set_run_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Write tags of a run."""
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_file(self, run_id: str, path: Path, folder: str) -> None:
        """Upload one file into a folder of the run's artifacts."""
        self._client.log_artifact(run_id, str(path), folder or None)


def _record(row: MlflowVersion, aliases: Mapping[str, str]) -> VersionRecord:
    version = str(row.version)
    return VersionRecord(
        name=row.name,
        version=version,
        aliases=tuple(sorted(alias for alias, at in aliases.items() if at == version)),
        run_id=row.run_id or "",
        created_at=datetime.fromtimestamp(row.creation_timestamp / 1000, UTC),
        tags=dict(row.tags),
    )


def _walk(repository: Any, folder: str) -> Iterator[tuple[str, int | None]]:
    for entry in repository.list_artifacts(folder):
        if entry.is_dir:
            yield from _walk(repository, entry.path)
        else:
            yield entry.path, entry.file_size


def _check_size(file: BundleFile, size_bytes: int | None) -> None:
    if size_bytes is not None and size_bytes != file.size_bytes:
        raise ArtifactError(
            f"{file.path}: got {size_bytes} bytes, expected {file.size_bytes}.",
            remedy="Do not serve it; roll back, or register the model again.",
        )


def _check_drivers(config: RegistryConfig) -> None:
    for uri in (config.connection_uri, config.artifact_location):
        module, extra = DRIVERS.get(uri.partition("://")[0], ("", ""))
        if module and find_spec(module) is None:
            raise MissingDependencyError(
                f"{module} is not installed.", remedy=f"pip install 'novacron-ml[{extra}]'"
            )


@contextmanager
def _alone(config: RegistryConfig) -> Iterator[None]:
    """Check that the store answers and keep other processes from creating its tables meanwhile.

    MLflow creates tables without a lock and tries an unreachable database for minutes.
    """
    if config.is_server:
        _check_server(config)
        yield
        return
    path = config.sqlite_path
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(path.suffix + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        return
    engine = create_engine(
        config.connection_uri, connect_args={"connect_timeout": CONNECT_TIMEOUT_S}
    )
    try:
        connection = engine.connect()
    except DBAPIError as cause:
        # What the driver itself says; SQLAlchemy's own text would add the statement.
        said = str(cause.orig).strip().splitlines()
        raise _unreachable(config, said[-1] if said else type(cause).__name__) from None
    try:
        with connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": SCHEMA_LOCK_KEY})
            yield
    finally:
        engine.dispose()


def _check_server(config: RegistryConfig) -> None:
    try:
        httpx.get(
            f"{config.connection_uri.rstrip('/')}/health", timeout=CONNECT_TIMEOUT_S
        ).raise_for_status()
    except httpx.HTTPError as cause:
        raise _unreachable(config, type(cause).__name__) from None


def _unreachable(config: RegistryConfig, reason: str) -> NotReadyError:
    return NotReadyError(
        f"The registry at {config.location} does not answer ({reason}).",
        remedy="Start it, or check NOVACRON_TRACKING_URI.",
    )
