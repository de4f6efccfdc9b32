"""Where the registry keeps its records and its files, and how much it accepts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from novacron.errors import ConfigError

TRACKING_SCHEMES: Final = ("sqlite", "postgresql", "postgresql+psycopg2", "http", "https")

# setting -> environment variable; `from_mapping` reads these and nothing else
VARIABLES: Final = {
    "root": "NOVACRON_REGISTRY_ROOT",
    "tracking_uri": "NOVACRON_TRACKING_URI",
    "artifact_uri": "NOVACRON_ARTIFACT_URI",
    "experiment": "NOVACRON_EXPERIMENT",
}


class RegistryConfig(BaseModel):
    """Settings of the registry. The defaults keep everything in one folder on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    root: Path = Path("runs/registry")
    """Folder of the SQLite file and of the artifacts where no URI says otherwise."""
    tracking_uri: SecretStr = SecretStr("")
    """Records: `sqlite:///file`, `postgresql://user:password@host/database`, or the `http(s)://`
    address of an MLflow server. Empty: `registry.db` in `root`. Never shown, see `location`."""
    artifact_uri: str = ""
    """Files: a folder, `file://`, or an object store such as `s3://bucket/prefix`, whose
    credentials come from that store's own settings. Empty: `artifacts` in `root`, or what the
    MLflow server offers."""
    experiment: str = Field("novacron", min_length=1, max_length=200)
    """MLflow experiment that holds the runs."""
    max_bundle_mib: int = Field(1024, ge=1, le=65_536)
    """Largest model accepted, in MiB over all its files."""

    @field_validator("tracking_uri")
    @classmethod
    def _known_scheme(cls, uri: SecretStr) -> SecretStr:
        scheme = urlsplit(uri.get_secret_value()).scheme
        if uri.get_secret_value() and scheme not in TRACKING_SCHEMES:
            raise ValueError(f"scheme {scheme!r} is not one of {', '.join(TRACKING_SCHEMES)}")
        if scheme == "sqlite" and len(uri.get_secret_value()) <= len("sqlite:///"):
            raise ValueError("sqlite needs a file: sqlite:///folder/file.db")
        return uri

    @field_validator("artifact_uri")
    @classmethod
    def _no_password(cls, uri: str) -> str:
        if urlsplit(uri).password:
            raise ValueError("holds a password; give it to the store's own settings instead")
        return uri

    @classmethod
    def from_mapping(cls, variables: Mapping[str, str], **explicit: object) -> Self:
        """Build the settings from environment-like variables; explicit values win.

        Args:
            variables: Usually the process environment, handed over by the edge. Read are
                `NOVACRON_REGISTRY_ROOT`, `NOVACRON_TRACKING_URI`, `NOVACRON_ARTIFACT_URI` and
                `NOVACRON_EXPERIMENT`; empty ones count as not set.
            explicit: Settings by field name.

        Raises:
            ConfigError: A setting is unknown or not allowed; its value is not repeated.
        """
        found = {
            field: variables[name] for field, name in VARIABLES.items() if variables.get(name)
        }
        try:
            return cls.model_validate(found | explicit)
        except ValidationError as cause:
            first = cause.errors(include_input=False, include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise ConfigError(
                field=f"registry.{field}",
                got="a value that is not shown",
                expected=first["msg"],
                remedy=f"It can be set by {VARIABLES.get(field, field)}.",
            ) from None

    @property
    def connection_uri(self) -> str:
        """The tracking URI with its password, for opening the connection only."""
        uri = self.tracking_uri.get_secret_value()
        if uri.startswith("postgresql://"):
            # SQLAlchemy 2.1 would take another driver for the plain form than 2.0 did.
            return uri.replace("postgresql://", "postgresql+psycopg2://", 1)
        return uri or f"sqlite:///{self.root.resolve() / 'registry.db'}"

    @property
    def location(self) -> str:
        """The tracking URI as it may be shown: without user and password."""
        uri = self.connection_uri
        parts = urlsplit(uri)
        if not parts.netloc:
            return uri
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=host, query="").geturl()

    @property
    def is_server(self) -> bool:
        """Whether an MLflow server stands between this process and the records."""
        return urlsplit(self.connection_uri).scheme in ("http", "https")

    @property
    def sqlite_path(self) -> Path | None:
        """The database file; None where the records are kept elsewhere."""
        scheme, _, rest = self.connection_uri.partition(":///")
        return Path(rest.partition("?")[0]).resolve() if scheme == "sqlite" else None

    @property
    def artifact_location(self) -> str:
        """The artifact root as a URI; empty where the MLflow server decides."""
        if not self.artifact_uri:
            return "" if self.is_server else (self.root.resolve() / "artifacts").as_uri()
        if not urlsplit(self.artifact_uri).scheme:
            return Path(self.artifact_uri).resolve().as_uri()
        return self.artifact_uri.rstrip("/")
