"""Who may ask: bearer tokens, of which the settings hold the digests alone."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from novacron.errors import UnauthorizedError

_SCHEME: Final = "bearer "
_REMEDY: Final = (
    "Send `Authorization: Bearer TOKEN` with a token whose SHA-256 is in the settings."
)


class TokenGuard:
    """Lets callers in that show a known token; everybody, where no token is known.

    Args:
        digests: SHA-256 of each token, in hex.
    """

    def __init__(self, digests: Sequence[str] = ()) -> None:
        self._digests = tuple(digest.lower() for digest in digests)

    def check(self, authorization: str | None) -> None:
        """Check the value of an `Authorization` header, or of such metadata.

        Raises:
            UnauthorizedError: There is none, or its token is not known.
        """
        if not self._digests:
            return
        if authorization is None or not authorization.lower().startswith(_SCHEME):
            raise UnauthorizedError("This endpoint asks for a token.", remedy=_REMEDY)
        token = authorization[len(_SCHEME) :].strip()
        shown = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        # In constant time: the answer's delay tells nothing of a digest.
        if not any(hmac.compare_digest(shown, known) for known in self._digests):
            raise UnauthorizedError("The token is not known here.", remedy=_REMEDY)
