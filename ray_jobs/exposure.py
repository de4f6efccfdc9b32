"""Refuses to deploy an endpoint that anybody on the network could use.

The replicas check again when they start, since a config may be deployed by Serve's own command.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from novacron.errors import ConfigError

ENDPOINT: Final = "serve_apps.app:build"
_TOKENS: Final = ("token_sha256", "tokens", "jwt")


def check_reach(config: Mapping[str, Any]) -> None:
    """Check what a Serve config opens to other machines.

    Args:
        config: As Serve takes it.

    Raises:
        ConfigError: HTTP listens beyond this machine and an endpoint asks nobody for a token.
    """
    http_options = config.get("http_options") or {}
    host = str(http_options.get("host", "127.0.0.1"))
    if _is_here(host):
        return
    for application in config.get("applications") or ():
        access = (application.get("args") or {}).get("access") or {}
        if application.get("import_path") == ENDPOINT and not any(map(access.get, _TOKENS)):
            raise ConfigError(
                field="http_options.host",
                got=host,
                expected="127.0.0.1 while nobody needs a token",
                remedy="Set `access.tokens`, `access.token_sha256` or `access.jwt` under `args`, "
                "or listen on 127.0.0.1.",
            )


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
