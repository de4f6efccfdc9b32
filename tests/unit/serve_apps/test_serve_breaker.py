"""The circuit of a version: when it opens, who probes, and whose late news counts for nothing."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from pydantic import ValidationError

from serve_apps.resilience.breaker import CircuitBreaker, State
from serve_apps.settings.resilience import BreakerConfig

CONFIG = BreakerConfig(failures=3, open_s=60)


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(CONFIG, clock)


def trip(breaker):
    for _ in range(3):
        breaker.fail(breaker.admit())


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not(breaker):
    for _ in range(4):
        breaker.fail(breaker.admit())
        breaker.fail(breaker.admit())
        breaker.succeed(breaker.admit())
    assert breaker.state is State.CLOSED

    trip(breaker)

    assert (breaker.state, breaker.trips, breaker.admit()) == (State.OPEN, 1, None)


def test_while_it_is_open_it_says_how_long_to_wait(breaker, clock):
    trip(breaker)
    clock.now_s += 15

    assert breaker.retry_after_s == pytest.approx(45)


def test_after_the_wait_one_call_alone_is_let_through(breaker, clock):
    trip(breaker)
    clock.now_s += 60

    assert breaker.state is State.HALF_OPEN
    assert breaker.admit() is not None
    assert [breaker.admit() for _ in range(5)] == [None] * 5


@pytest.mark.parametrize(("outcome", "state"), [("succeed", State.CLOSED), ("fail", State.OPEN)])
def test_one_probe_decides(breaker, clock, outcome, state):
    trip(breaker)
    clock.now_s += 60

    getattr(breaker, outcome)(breaker.admit())

    assert breaker.state is state
    assert (breaker.admit() is None) == (state is State.OPEN)


def test_a_probe_that_tells_nothing_leaves_its_place_to_the_next_call(breaker, clock):
    trip(breaker)
    clock.now_s += 60

    breaker.release(breaker.admit())

    assert breaker.trips == 1
    assert breaker.admit() is not None


@pytest.mark.parametrize("late", ["succeed", "fail", "release"])
def test_news_from_before_the_trip_change_nothing(breaker, clock, late):
    old = [breaker.admit() for _ in range(10)]
    trip(breaker)
    getattr(breaker, late)(old[0])
    assert breaker.state is State.OPEN

    clock.now_s += 60
    probe = breaker.admit()
    getattr(breaker, late)(old[1])
    assert breaker.admit() is None, "the probe is still out"

    breaker.succeed(probe)
    for ticket in old[2:]:
        getattr(breaker, late)(ticket)
    assert breaker.state is State.CLOSED


def test_every_change_is_told(clock):
    seen, trips = [], []
    breaker = CircuitBreaker(CONFIG, clock, seen.append, lambda: trips.append(1))

    trip(breaker)
    clock.now_s += 60
    breaker.succeed(breaker.admit())

    assert seen == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    assert len(trips) == 1


@pytest.mark.parametrize(
    "wrong", [{"failures": 0}, {"open_s": 0}, {"timeout_s": -1}, {"fails": 5}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        BreakerConfig(**wrong)


class AnyOrder(RuleBasedStateMachine):
    """Calls begin, end and come late in any order; a plain model says what must follow."""

    tickets = Bundle("tickets")

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.breaker = CircuitBreaker(CONFIG, self.clock)
        self.epoch = 0  # of the model below: grows with each change of state
        self.in_a_row = 0
        self.open_until_s = None
        self.probe = None

    @rule(target=tickets)
    def call(self):
        ticket = self.breaker.admit()
        if self.open_until_s is None:
            assert ticket is not None
        elif self.probe is not None or self.clock.now_s < self.open_until_s:
            assert ticket is None
        else:
            assert ticket is not None
            self.epoch += 1
            self.probe = self.epoch
        return ticket, self.epoch

    @rule(call=consumes(tickets), outcome=st.sampled_from(["succeed", "fail", "release"]))
    def end(self, call, outcome):
        ticket, epoch = call
        if ticket is None:
            return
        getattr(self.breaker, outcome)(ticket)
        if epoch != self.epoch:
            return
        if outcome == "succeed":
            self.in_a_row = 0
            if self.probe is not None:
                self.close()
        elif outcome == "fail":
            self.in_a_row += 1
            if self.probe is not None or self.in_a_row == CONFIG.failures:
                self.open()
        elif self.probe is not None:
            self.probe = None
            self.epoch += 1

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0, 61.0]))
    def wait(self, seconds):
        self.clock.now_s += seconds

    def open(self):
        self.open_until_s = self.clock.now_s + CONFIG.open_s
        self.in_a_row, self.probe = 0, None
        self.epoch += 1

    def close(self):
        self.open_until_s, self.in_a_row, self.probe = None, 0, None
        self.epoch += 1

    @invariant()
    def state_is_that_of_the_model(self):
        if self.open_until_s is None:
            expected = State.CLOSED
        elif self.probe is not None or self.clock.now_s >= self.open_until_s:
            expected = State.HALF_OPEN
        else:
            expected = State.OPEN
        assert self.breaker.state is expected


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
