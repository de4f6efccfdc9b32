"""Settings of who may ask: `args.access` in the YAML file. It holds no secret."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from serve_apps.settings.base import Settings

Role = Literal["predict", "admin"]
"""`predict` asks and reads; `admin` changes what answers, and may do all that `predict` may."""
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
]  # fmt: skip
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]


def _check_address(value: str) -> str:
    ipaddress.ip_address(value)
    return value


def _check_absolute(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError(f"{value} is not absolute")
    return value


class RateConfig(Settings):
    """How often one caller may ask, in each replica."""

    requests_per_s: float = Field(default=0.0, ge=0)
    """Requests that a caller earns each second; 0: no limit."""
    burst: int = Field(default=100, ge=1)
    """Requests that a caller who was silent may send at once."""


class TokenConfig(Settings):
    """One bearer token."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$")]
    """Who holds it; shown in the audit log."""
    sha256: Sha256
    """SHA-256 of the token, which itself is written nowhere."""
    roles: tuple[Role, ...] = Field(default=("predict",), min_length=1)
    rate: RateConfig | None = None
    """Its own limit in place of the common one."""
    max_body_bytes: int | None = Field(default=None, ge=1024)
    """Largest body that it may send, where that is less than `limits.max_body_bytes`."""


class JwtConfig(Settings):
    """Tokens that an identity provider signs (RFC 7519, OpenID Connect)."""

    issuer: str = Field(min_length=1)
    """What `iss` must say."""
    audience: str = Field(min_length=1)
    """What `aud` must hold: this service, so that tokens for others are of no use here."""
    jwks_url: str | None = Field(
        default=None, pattern=r"^https://|^http://(127\.0\.0\.1|localhost)[:/]"
    )
    """Where the provider publishes its keys (JWKS); only by HTTPS."""
    jwks_file: Path | None = None
    """A file with such keys."""
    public_key_file: Path | None = None
    """A file with one public key in PEM."""
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256"), min_length=1)
    """Signatures that are taken; a secret shared with the provider never is."""
    leeway_s: float = Field(default=30.0, ge=0, le=300)
    """How far the clocks may differ."""
    predict_scope: str = "novacron.predict"
    """Scope (`scope` or `scp`) that a token needs to ask."""
    admin_scope: str = "novacron.admin"
    """Scope that it needs to change what answers."""
    refresh_s: float = Field(default=300.0, ge=1)
    """How often keys are read anew; a key that was withdrawn is refused after that."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = (self.jwks_url, self.jwks_file, self.public_key_file)
        if sum(source is not None for source in given) != 1:
            raise ValueError("give exactly one of jwks_url, jwks_file and public_key_file")
        return self


class AuditConfig(Settings):
    """The audit log: who asked what, and what became of it."""

    dir: Annotated[Path, AfterValidator(_check_absolute)] | None = None
    """Folder of the log, absolute, since replicas work in folders of their own; one file for each
    of them. None: no log."""
    predictions: bool = False
    """Whether answered predictions are written too; refusals and changes always are."""
    max_bytes: int = Field(default=16 * 2**20, ge=4096)
    """Size at which a file is put aside."""
    keep: int = Field(default=8, ge=1)
    """Files of a replica, the current one among them; older ones are deleted."""
    max_waiting: int = Field(default=10_000, ge=1)
    """Lines that may wait for the disk; beyond it they are lost, and counted."""


class AccessConfig(Settings):
    """Who may ask, over HTTP and over gRPC."""

    token_sha256: tuple[Sha256, ...] = ()
    """SHA-256 of bearer tokens without a name, which may ask. With no token and no `jwt` everybody
    on this machine may, with every role, and nobody else. The digests are no secret, so the
    dashboard may show them. Health routes never ask for a token."""
    tokens: tuple[TokenConfig, ...] = ()
    jwt: JwtConfig | None = None
    rate: RateConfig = RateConfig()
    """Of each caller: a token, the subject of a JWT, or an address where nobody needs a token."""
    max_callers: int = Field(default=10_000, ge=1)
    """Callers whose rate is remembered; the one silent for longest is forgotten first."""
    trusted_proxies: tuple[Annotated[str, AfterValidator(_check_address)], ...] = ()
    """Addresses of proxies whose `X-Forwarded-For` is believed: the last address in it."""
    audit: AuditConfig = AuditConfig()

    @property
    def is_open(self) -> bool:
        """Whether nobody needs a token."""
        return not (self.token_sha256 or self.tokens or self.jwt)

    @model_validator(mode="after")
    def _unambiguous(self) -> Self:
        for what, values in (
            ("name", [token.name for token in self.tokens]),
            ("sha256", [digest.lower() for digest in self.token_sha256]
                       + [token.sha256.lower() for token in self.tokens]),
        ):  # fmt: skip
            if len(set(values)) != len(values):
                raise ValueError(f"tokens: one {what} is given twice")
        return self
