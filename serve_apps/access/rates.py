"""How often a caller may ask: a token bucket for each, a bounded number of them."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from serve_apps.settings.access import RateConfig


@dataclass(slots=True)
class _Bucket:
    left: float
    seen_s: float


class Rates:
    """The buckets. All methods run on one event loop.

    A caller who is forgotten because too many others came begins with a full bucket again.

    Args:
        max_callers: Buckets kept at most.
        clock: Seconds, monotonic.
    """

    def __init__(self, max_callers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_callers = max_callers
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, caller: str, rate: RateConfig) -> float:
        """Take one request out of a caller's bucket.

        Returns:
            0 where it had one, else the seconds until it will have.
        """
        if not rate.requests_per_s:
            return 0.0
        now_s = self._clock()
        bucket = self._buckets.get(caller)
        if bucket is None:
            if len(self._buckets) >= self._max_callers:
                self._buckets.popitem(last=False)
            bucket = self._buckets[caller] = _Bucket(float(rate.burst), now_s)
        else:
            self._buckets.move_to_end(caller)
            earned = (now_s - bucket.seen_s) * rate.requests_per_s
            bucket.left = min(bucket.left + earned, float(rate.burst))
            bucket.seen_s = now_s
        if bucket.left < 1.0:
            return (1.0 - bucket.left) / rate.requests_per_s
        bucket.left -= 1.0
        return 0.0
