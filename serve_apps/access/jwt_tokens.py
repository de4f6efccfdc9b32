"""Tokens of an identity provider: signed claims, checked by PyJWT against the provider's keys.

Only asymmetric signatures are taken, the algorithm is one of the settings' and never the token's
own choice, and `exp`, `iss` and `aud` must be there and right.
"""

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from novacron.errors import ConfigError, NotReadyError
from serve_apps.access.callers import Caller, refuse_token
from serve_apps.settings.access import JwtConfig, Role

logger = logging.getLogger(__name__)

LEAST_RSA_BITS: Final = 2048
MAX_KNOWN: Final = 4096
"""Verified tokens remembered: a signature costs some 50 us, more than the rest of a request."""
_MAX_JWKS_BYTES: Final = 2**20
_LEAST_REFRESH_S: Final = 10.0
_NO_KID: Final = ""


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    until_s: float
    keys_read: int


class JwtVerifier:
    """Checks tokens of one issuer.

    Args:
        config: Settings.
        now_s: Seconds since 1970.
        fetch: Returns the body behind `jwks_url`; by default over HTTPS.

    Raises:
        ConfigError: The file of the keys is missing or holds none that can be used. A URL that does
            not answer is asked again; until it does, these tokens get 503.
    """

    def __init__(
        self,
        config: JwtConfig,
        now_s: Callable[[], float] = lambda: time.time_ns() / 1e9,
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        self._config = config
        self._now_s = now_s
        self._fetch = fetch or _fetch
        self._keys: Mapping[str, Any] = {}
        self._keys_read = 0
        self._asked_s = 0.0
        self._reading = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        if config.jwks_url is None:
            self._read()
        else:
            self.refresh()

    def verify(self, token: str) -> Caller:
        """Return who holds a token.

        Raises:
            UnauthorizedError: It is expired, forged, not for this service or not signed as allowed.
            NotReadyError: The issuer's keys could not be read yet.
        """
        now_s = self._now_s()
        known = self._known.get(token)
        if known is not None and known.keys_read == self._keys_read and now_s < known.until_s:
            return known.caller
        if now_s - self._asked_s > self._config.refresh_s:
            self._refresh_aside()
        key = self._key_of(token)
        claims = self._claims(token, key)
        caller = self._caller_of(claims)
        until_s = float(claims["exp"]) + self._config.leeway_s
        while len(self._known) >= MAX_KNOWN:
            self._known.popitem(last=False)
        self._known[token] = _Known(caller, until_s, self._keys_read)
        return caller

    def refresh(self) -> None:
        """Read the keys anew; where that fails the ones known stay, and it is logged."""
        if not self._reading.acquire(blocking=False):
            return
        try:
            self._read()
        except Exception as error:  # noqa: BLE001  whatever stands between us and the issuer
            logger.error("keys of %s cannot be read: %s", self._config.issuer, error)
        finally:
            self._reading.release()

    def _refresh_aside(self) -> None:
        self._asked_s = self._now_s()
        threading.Thread(target=self.refresh, name="jwks", daemon=True).start()

    def _read(self) -> None:
        self._asked_s = self._now_s()
        keys = self._read_keys()
        if not keys:
            raise ConfigError(
                field="access.jwt",
                got="no key that can be used",
                expected=f"a public key for one of {', '.join(self._config.algorithms)}",
            )
        self._keys = keys
        # What was verified by a key that is gone must not be let in any longer.
        self._keys_read += 1

    def _read_keys(self) -> dict[str, Any]:
        config = self._config
        if config.public_key_file is not None:
            return {_NO_KID: _read_pem(_read_file(config.public_key_file))}
        if config.jwks_file is not None:
            return _read_jwks(_read_file(config.jwks_file), config)
        return _read_jwks(self._fetch(str(config.jwks_url)), config)

    def _key_of(self, token: str) -> Any:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as cause:
            raise refuse_token("The token cannot be read.") from cause
        if header.get("alg") not in self._config.algorithms:
            raise refuse_token(
                f"The token's signature is not one of {', '.join(self._config.algorithms)}."
            )
        if not self._keys:
            raise NotReadyError(
                "The identity provider's keys could not be read yet.", remedy="Retry shortly."
            )
        kid = str(header.get("kid", _NO_KID))
        if _NO_KID in self._keys:
            return self._keys[_NO_KID]
        if kid == _NO_KID and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if kid not in self._keys:
            if self._now_s() - self._asked_s > _LEAST_REFRESH_S:
                # The provider may have changed its key; the caller's next try finds out.
                self._refresh_aside()
            raise refuse_token("The token is signed by a key that is not known here.")
        return self._keys[kid]

    def _claims(self, token: str, key: Any) -> dict[str, Any]:
        config = self._config
        try:
            return jwt.decode(
                token,
                key,
                algorithms=list(config.algorithms),
                audience=config.audience,
                issuer=config.issuer,
                leeway=config.leeway_s,
                options={"require": ["exp", "iss", "aud"], "verify_signature": True},
            )
        except jwt.ExpiredSignatureError as cause:
            raise refuse_token("The token has expired.") from cause
        except jwt.InvalidAudienceError as cause:
            raise refuse_token("The token is not for this service.") from cause
        except (jwt.PyJWTError, TypeError, ValueError) as cause:
            # The latter two where the key that it names is of another kind than its signature.
            raise refuse_token(f"The token is not valid: {cause}.") from cause

    def _caller_of(self, claims: Mapping[str, Any]) -> Caller:
        config = self._config
        given = claims.get("scope", claims.get("scp", ""))
        scopes = set(given.split() if isinstance(given, str) else map(str, given))
        roles: set[Role] = set()
        if config.predict_scope in scopes:
            roles.add("predict")
        if config.admin_scope in scopes:
            roles.add("admin")
        name = str(claims.get("sub") or claims.get("client_id") or "unnamed")
        return Caller(name=name[:128], roles=frozenset(roles), kind="jwt")


def _fetch(url: str) -> bytes:
    answer = httpx.get(url, timeout=5.0, follow_redirects=False)
    answer.raise_for_status()
    return answer.content[: _MAX_JWKS_BYTES + 1]


def _read_file(path: Any) -> bytes:
    try:
        return bytes(path.read_bytes())
    except OSError as cause:
        raise ConfigError(
            field="access.jwt", got=str(cause), expected="a file that can be read"
        ) from cause


def _read_pem(data: bytes) -> Any:
    try:
        key = load_pem_public_key(data)
    except ValueError as cause:
        raise ConfigError(
            field="access.jwt.public_key_file", got=str(cause), expected="a public key in PEM"
        ) from cause
    _check_strength(key)
    return key


def _read_jwks(data: bytes, config: JwtConfig) -> dict[str, Any]:
    """Return the keys that can be used by their id; those of other kinds are passed over."""
    try:
        if len(data) > _MAX_JWKS_BYTES:
            raise ValueError("more than 1 MiB")
        listed = json.loads(data)["keys"]
        entries = [dict(entry) for entry in listed]
    except (ValueError, KeyError, TypeError) as cause:
        raise ConfigError(
            field="access.jwt", got=f"{type(cause).__name__}: {cause}", expected="a JWKS document"
        ) from cause
    keys: dict[str, Any] = {}
    for entry in entries:
        if entry.get("kty") == "oct" or entry.get("use", "sig") != "sig":
            continue
        if entry.get("alg", config.algorithms[0]) not in config.algorithms:
            continue
        try:
            key = jwt.PyJWK.from_dict(entry).key
        except jwt.PyJWTError as error:
            logger.warning("a key of %s cannot be used: %s", config.issuer, error)
            continue
        _check_strength(key)
        keys[str(entry.get("kid", f"#{len(keys)}"))] = key
    return keys


def _check_strength(key: Any) -> None:
    if isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        raise ConfigError(
            field="access.jwt",
            got=f"an RSA key of {key.key_size} bits",
            expected=f"at least {LEAST_RSA_BITS} bits",
        )
