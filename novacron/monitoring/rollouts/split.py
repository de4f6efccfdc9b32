"""Which version a key belongs to: a hash of it falls into the share of a version.

The rule of NovaCron's feature flags (bucket of a hash of the node, on below a percentage) with a
salt for each rollout, so that the same callers are not the first every time.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from novacron.errors import InvalidInputError

_SCALE = 2**64
_SUM_TOLERANCE = 1e-9


def bucket_of(key: str, salt: str) -> float:
    """Return the place of a key in [0, 1): the same in every process and after every restart."""
    digest = hashlib.blake2b(f"{salt}\x00{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _SCALE


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse shares that do not make a whole.

    Raises:
        InvalidInputError: There are none, one is negative or no number, or they do not sum to 1.
    """
    shown = ", ".join(f"{version}={share:g}" for version, share in weights.items())
    if not weights or any(not math.isfinite(x) or x < 0 for x in weights.values()):
        raise InvalidInputError(
            field="weights", got=shown, expected="a share of at least 0 for each version"
        )
    total = math.fsum(weights.values())
    if abs(total - 1) > _SUM_TOLERANCE:
        raise InvalidInputError(
            field="weights",
            got=f"{shown}, which sum to {total:g}",
            expected="shares that sum to 1",
            remedy="Give the version that answers now the rest.",
        )


@dataclass(frozen=True, slots=True)
class Split:
    """Shares of versions, in a fixed order.

    Args:
        shares: Version to share of [0, 1). Versions that are tried come first and the one that
            answers by default last, so that a key which was sent to a tried version stays with it
            when its share grows.
    """

    shares: tuple[tuple[str, float], ...]

    def pick(self, place: float) -> str:
        """Return the version in whose share a place of [0, 1) lies."""
        for version, share in self.shares[:-1]:
            if place < share:
                return version
            place -= share
        return self.shares[-1][0]

    def share(self, version: str) -> float:
        """Return the share of a version, 0 for one that is not part of the split."""
        return dict(self.shares).get(version, 0.0)


class Quota:
    """Deals requests without a key: at random, and never more than its share to a tried version.

    Args:
        split: The shares.
    """

    def __init__(self, split: Split) -> None:
        self._split = split
        self._dealt = 0
        self._of: dict[str, int] = {}

    def pick(self, place: float) -> str:
        """Return a version for a place drawn at random from [0, 1)."""
        self._dealt += 1
        last = self._split.shares[-1][0]
        version = self._split.pick(place)
        if version != last and self._of.get(version, 0) + 1 > self._room(version):
            version = last
        self._of[version] = self._of.get(version, 0) + 1
        return version

    def _room(self, version: str) -> float:
        return self._split.share(version) * self._dealt + 1e-9
