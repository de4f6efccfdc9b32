"""Who asks, as far as it is known, and the refusals of RFC 6750."""

from dataclasses import dataclass
from typing import Final, Literal

from novacron.errors import ForbiddenError, UnauthorizedError
from serve_apps.settings.access import RateConfig, Role

REMEDY: Final = "Send `Authorization: Bearer TOKEN` with a token whose SHA-256 is in the settings."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str
    """Of the token or of its subject; the address where no token is needed."""
    roles: frozenset[Role]
    kind: Literal["token", "jwt", "address"]
    rate: RateConfig | None = None
    """Its own limit, where it has one."""
    max_body_bytes: int | None = None

    def require(self, role: Role) -> None:
        """Let those pass who have a role.

        Raises:
            ForbiddenError: This caller has not.
        """
        if role in self.roles or "admin" in self.roles:
            return
        raise ForbiddenError(
            f"{self.name!r} may not do this: it needs the role {role}.",
            remedy="Ask with a token that has the role, or the scope that stands for it.",
            challenge='Bearer error="insufficient_scope"',
        )


def refuse_token(why: str) -> UnauthorizedError:
    """Return the refusal of a token that was shown; it never repeats the token."""
    return UnauthorizedError(why, remedy=REMEDY, challenge='Bearer error="invalid_token"')
