"""What breaker, stand-ins and answer cache count, in the series of the platform's one list."""

from typing import Any

from novacron.monitoring.metric_names import (
    CACHE_BYTES,
    CACHE_EVICTIONS,
    CACHE_LOOKUPS,
    CIRCUIT_FAILURES,
    CIRCUIT_REFUSALS,
    CIRCUIT_STATE,
    CIRCUIT_TRIPS,
    STOOD_IN_REQUESTS,
)
from serve_apps.metrics import ServingMetrics
from serve_apps.resilience.breaker import State


class ResilienceMetrics:
    """The series.

    Args:
        metrics: Where they go; it adds counters up as it does its own.
    """

    def __init__(self, metrics: ServingMetrics) -> None:
        self._failures = metrics.counter(CIRCUIT_FAILURES)
        self._refusals = metrics.counter(CIRCUIT_REFUSALS)
        self._trips = metrics.counter(CIRCUIT_TRIPS)
        self._stood_in = metrics.counter(STOOD_IN_REQUESTS)
        self._lookups = metrics.counter(CACHE_LOOKUPS)
        self._evictions = metrics.counter(CACHE_EVICTIONS)
        self._state: Any = metrics.gauge(CIRCUIT_STATE)
        self._bytes: Any = metrics.gauge(CACHE_BYTES)

    def show_state(self, model: str, version: str, state: State) -> None:
        """Show the state of a version's circuit."""
        self._state.set(float(state), tags={"model": model, "version": version})

    def count_trip(self, model: str, version: str) -> None:
        """Count that a version's circuit was opened by a failure."""
        self._trips(1, (model, version))

    def count_failure(self, model: str, version: str, cause: str) -> None:
        """Count a request that the version failed; `cause` is an error's name."""
        self._failures(1, (model, version, cause))

    def count_refusal(self, model: str, version: str) -> None:
        """Count a request that an open circuit kept from the version."""
        self._refusals(1, (model, version))

    def count_stand_in(self, model: str, version: str, baseline: str, cause: str) -> None:
        """Count a request that a baseline answered; `cause` is an error's name."""
        self._stood_in(1, (model, version, baseline, cause))

    def count_lookup(self, model: str, result: str) -> None:
        """Count a look into the answer cache: hit, miss or joined."""
        self._lookups(1, (model, result))

    def count_evictions(self, count: int) -> None:
        """Count answers dropped for want of room or for their age."""
        self._evictions(count, ())

    def show_bytes(self, n_bytes: int) -> None:
        """Show the bytes of all answers kept."""
        self._bytes.set(float(n_bytes), tags={})
