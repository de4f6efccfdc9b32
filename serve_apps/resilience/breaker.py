"""A circuit breaker: a model version that keeps failing gets no calls, then one at a time.

Every admitted call holds the number of the generation it began in; each change of state begins a
new one. What a call reports counts only in its own generation, so that a failure which comes late,
from before the trip, neither opens the circuit again nor closes it.
"""

import time
from collections.abc import Callable
from enum import IntEnum

from serve_apps.settings.resilience import BreakerConfig


class State(IntEnum):
    """The value is what the gauge `novacron_circuit_state` shows."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class CircuitBreaker:
    """The breaker of one version. All methods run on one event loop.

    Args:
        config: When it opens and for how long.
        clock: Seconds, monotonic.
        on_change: Called with the state after every change of it.
        on_trip: Called when a failure has opened the circuit.
    """

    def __init__(
        self,
        config: BreakerConfig,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[State], None] = lambda _state: None,
        on_trip: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._on_change = on_change
        self._on_trip = on_trip
        self._state = State.CLOSED
        self._generation = 0
        self._failed_in_a_row = 0
        self._open_until_s = 0.0
        self.trips = 0
        """How often it has opened."""

    @property
    def state(self) -> State:
        """The state; half open from the moment at which a probe would be let through."""
        if self._state is State.OPEN and self._clock() >= self._open_until_s:
            return State.HALF_OPEN
        return self._state

    @property
    def refuses(self) -> bool:
        """Whether a call made now would be refused."""
        return self._state is State.HALF_OPEN or (
            self._state is State.OPEN and self._clock() < self._open_until_s
        )

    @property
    def retry_after_s(self) -> float:
        """Seconds until a call may be let through; while a probe is out, nobody knows: 1."""
        if self._state is State.CLOSED:
            return 0.0
        return max(self._open_until_s - self._clock(), 1.0)

    def admit(self) -> int | None:
        """Let a call through, or not.

        Returns:
            A ticket, which must come back by exactly one of `succeed`, `fail` and `release`; None
            where the call is refused.
        """
        if self._state is State.CLOSED:
            return self._generation
        if self.refuses:
            return None
        self._turn(State.HALF_OPEN)
        return self._generation

    def succeed(self, ticket: int) -> None:
        """Take back the ticket of a call that was answered."""
        if ticket != self._generation:
            return
        self._failed_in_a_row = 0
        if self._state is State.HALF_OPEN:
            self._turn(State.CLOSED)

    def fail(self, ticket: int) -> None:
        """Take back the ticket of a call that the model failed."""
        if ticket != self._generation:
            return
        self._failed_in_a_row += 1
        if self._state is State.HALF_OPEN or self._failed_in_a_row >= self._config.failures:
            self._open_until_s = self._clock() + self._config.open_s
            self.trips += 1
            self._turn(State.OPEN)
            self._on_trip()

    def release(self, ticket: int) -> None:
        """Take back the ticket of a call that tells nothing of the model; a probe's place is free.

        So it is where the caller erred or left, and where the queue was full.
        """
        if ticket == self._generation and self._state is State.HALF_OPEN:
            # The wait is over already: the next call is the probe.
            self._turn(State.OPEN)

    def _turn(self, state: State) -> None:
        self._state = state
        self._generation += 1
        self._failed_in_a_row = 0
        self._on_change(state)
