"""Refuses to start an endpoint that anybody on the network could use."""

from novacron.errors import ConfigError
from serve_apps.access.guard import is_here
from serve_apps.settings.access import AccessConfig

_LOCAL_NAMES = ("localhost",)


def check_exposure(access: AccessConfig, host: str | None) -> None:
    """Check that an address other machines reach is served with tokens only.

    Args:
        access: Who may ask.
        host: What HTTP listens on; None where it does not.

    Raises:
        ConfigError: It is not of this machine alone, and nobody needs a token.
    """
    if host is None or host in _LOCAL_NAMES or (host and is_here(host)):
        return
    if access.is_open:
        raise ConfigError(
            field="http_options.host",
            got=host,
            expected="127.0.0.1 while nobody needs a token",
            remedy="Set `access.tokens`, `access.token_sha256` or `access.jwt`, or listen on "
            "127.0.0.1.",
        )


def check_tls(certificate: str | None, *, ha_proxy: bool) -> None:
    """Check that Serve's TLS settings leave somebody who can be reached.

    Args:
        certificate: `http_options.ssl_certfile` of the Serve config.
        ha_proxy: Whether Serve's HAProxy takes the requests.

    Raises:
        ConfigError: Serve 2.60 gives the certificate to the replicas alone, and its HAProxy, which
            knows none, then reaches none of them.
    """
    if certificate and ha_proxy:
        raise ConfigError(
            field="http_options.ssl_certfile",
            got=certificate,
            expected="no certificate where Serve's HAProxy takes the requests",
            remedy="Put configs/serve/tls_frontend.cfg in front of it, or start the cluster with "
            "RAY_SERVE_ENABLE_HA_PROXY=0.",
        )
