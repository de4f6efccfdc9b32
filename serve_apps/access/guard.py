"""Lets callers in, over HTTP and gRPC alike: token, role, rate."""

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from novacron.errors import (
    ForbiddenError,
    NovacronError,
    PayloadTooLargeError,
    RateLimitedError,
    UnauthorizedError,
)
from serve_apps.access.callers import REMEDY, Caller, refuse_token
from serve_apps.access.jwt_tokens import JwtVerifier
from serve_apps.access.rates import Rates
from serve_apps.settings.access import AccessConfig, Role, TokenConfig

_SCHEME: Final = "bearer "
_MAX_TOKEN_CHARS: Final = 16_384
_EVERY_ROLE: Final[frozenset[Role]] = frozenset({"predict", "admin"})
_ANYBODY: Final = Caller("anybody", _EVERY_ROLE, "address")


class Guard:
    """Tells who asks and whether they may. All methods run on one event loop.

    Args:
        config: Settings; by default everybody on this machine may.
        clock: Seconds, monotonic.
        verifier: Checks signed tokens; made from the settings where not given.
        on_refusal: Called with the caller's name, empty where it is not known, and the error's.

    Raises:
        ConfigError: The keys of `access.jwt` cannot be read.
    """

    def __init__(
        self,
        config: AccessConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        verifier: JwtVerifier | None = None,
        on_refusal: Callable[[str, str], None] = lambda _caller, _reason: None,
    ) -> None:
        self._config = config or AccessConfig()
        self._rates = Rates(self._config.max_callers, clock)
        self._is_open = self._config.is_open
        self._is_limited = self._config.rate.requests_per_s > 0
        self._on_refusal = on_refusal
        self._callers = {digest.lower(): _unnamed(digest) for digest in self._config.token_sha256}
        self._callers |= {one.sha256.lower(): _named(one) for one in self._config.tokens}
        self._jwt = verifier
        if verifier is None and self._config.jwt is not None:
            self._jwt = JwtVerifier(self._config.jwt)

    def admit(self, authorization: str | None, address: str, *, role: Role = "predict") -> Caller:
        """Let a request in.

        Args:
            authorization: The value of the `Authorization` header, or of such metadata.
            address: The caller's, for example `10.0.0.7`; empty for a socket of this machine.
            role: What the request needs.

        Raises:
            UnauthorizedError: No token, or one that is not known, expired or forged.
            ForbiddenError: The caller has not the role, or no token is set up and it is not here.
            RateLimitedError: It asks too often.
            NotReadyError: Signed tokens cannot be checked yet.
        """
        name = ""
        try:
            caller = self._identify(authorization, address)
            name = caller.name
            caller.require(role)
            self._limit(caller)
        except NovacronError as error:
            self._on_refusal(name, type(error).__name__)
            raise
        return caller

    def check_size(self, caller: Caller, n_bytes: int) -> None:
        """Refuse a body that is larger than this caller may send.

        Raises:
            PayloadTooLargeError: It is.
        """
        if caller.max_body_bytes is None or n_bytes <= caller.max_body_bytes:
            return
        self._on_refusal(caller.name, PayloadTooLargeError.__name__)
        raise PayloadTooLargeError(
            field="body",
            got=f"{n_bytes} bytes",
            expected=f"at most {caller.max_body_bytes} bytes with the token of {caller.name}",
            remedy="Send the rows in several requests.",
        )

    def address_of(self, peer: str, forwarded: str | None, origin: str | None = None) -> str:
        """Return whose address counts: the peer's, or the one that a trusted proxy tells.

        Args:
            peer: Address of the other end of the connection.
            forwarded: The header `X-Forwarded-For`.
            origin: The header `Origin`: which page made a browser ask. Where nobody needs a token,
                a page of elsewhere is not of this machine, although its browser is.
        """
        if origin is not None and self._is_open and not _is_local_page(origin):
            return f"page of {origin}"[:256]
        if forwarded is None:
            return peer
        nearest = forwarded.rpartition(",")[2].strip()
        if peer in self._config.trusted_proxies or (self._is_open and not is_here(nearest)):
            # Where nobody needs a token, whoever comes through any proxy is not of this machine.
            return nearest
        return peer

    def _identify(self, authorization: str | None, address: str) -> Caller:
        if self._is_open:
            if not is_here(address):
                raise ForbiddenError(
                    "Requests are answered on this machine only.",
                    remedy="Set up a token under `access` to answer other machines.",
                )
            return Caller(address, _EVERY_ROLE, "address") if self._is_limited else _ANYBODY
        if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise UnauthorizedError("This endpoint asks for a token.", remedy=REMEDY)
        token = authorization[len(_SCHEME) :].strip()
        if len(token) > _MAX_TOKEN_CHARS:
            raise refuse_token(f"The token is longer than {_MAX_TOKEN_CHARS} characters.")
        shown = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        found: Caller | None = None
        for digest, caller in self._callers.items():
            # All of them, in constant time: the answer's delay tells nothing of a digest.
            if hmac.compare_digest(shown, digest):
                found = caller
        if found is not None:
            return found
        if self._jwt is not None and token.count(".") == 2:
            return self._jwt.verify(token)
        raise refuse_token("The token is not known here.")

    def _limit(self, caller: Caller) -> None:
        rate = caller.rate or self._config.rate
        if not rate.requests_per_s:
            return
        wait_s = self._rates.take(f"{caller.kind}:{caller.name}", rate)
        if wait_s:
            raise RateLimitedError(
                f"{caller.name!r} may ask {rate.requests_per_s:g} times a second, "
                f"{rate.burst} times at once.",
                retry_after_s=wait_s,
            )


@lru_cache(maxsize=1024)
def _is_local_page(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname or "unknown"
    except ValueError:
        return False
    return host == "localhost" or is_here(host)


@lru_cache(maxsize=1024)
def is_here(address: str) -> bool:
    """Tell whether an address is of this machine; an empty one is that of a local socket."""
    if not address:
        return True
    try:
        ip = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    return bool((getattr(ip, "ipv4_mapped", None) or ip).is_loopback)


def _unnamed(digest: str) -> Caller:
    return Caller(f"token-{digest[:8].lower()}", frozenset({"predict"}), "token")


def _named(one: TokenConfig) -> Caller:
    return Caller(one.name, frozenset(one.roles), "token", one.rate, one.max_body_bytes)
