import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.errors import InvalidInputError, NotReadyError
from novacron.registry.gate import GateDecision
from novacron.registry.promotion import champion_stack, change_champion, read_history
from novacron.registry.records import TAG_LIMIT, Audit

START = datetime(2026, 1, 2, tzinfo=UTC)


class CrashError(Exception):
    """The process dies here."""


class Records:
    """Aliases and tags of one model in memory; dies before its n-th write when told to."""

    def __init__(self):
        self.names = {}
        self.tags = {}
        self.writes_left = None

    def _write(self):
        if self.writes_left == 0:
            raise CrashError
        if self.writes_left is not None:
            self.writes_left -= 1

    def aliases(self, name):
        return dict(self.names)

    def set_alias(self, name, alias, version):
        self._write()
        self.names[alias] = version

    def delete_alias(self, name, alias):
        self._write()
        self.names.pop(alias, None)

    def model_tags(self, name):
        return dict(self.tags)

    def set_model_tag(self, name, key, value):
        self._write()
        self.tags[key] = value

    def delete_model_tag(self, name, key):
        self._write()
        del self.tags[key]


class Clock:
    def __init__(self):
        self.now = START

    def audit(self, later_s=120):
        self.now += timedelta(seconds=later_s)
        return Audit(who="ops", at=self.now, why="test")


def stack_of(records):
    champion = records.names.get("champion", "")
    return champion_stack(read_history(records, "m"), champion)


def promote(records, clock, version, later_s=120):
    previous = records.names.get("champion", "")
    change = clock.audit(later_s).change("promote", version, previous=previous)
    return change_champion(records, "m", change)


def roll_back(records, clock):
    stack = stack_of(records)
    change = clock.audit().change("rollback", stack[-2], previous=stack[-1])
    return change_champion(records, "m", change)


def test_a_promotion_moves_the_alias_and_remembers_the_champion_before():
    records, clock = Records(), Clock()
    promote(records, clock, "1")

    promote(records, clock, "2")

    assert records.names == {"champion": "2", "previous": "1"}


def test_the_promoted_version_stops_being_the_challenger():
    records, clock = Records(), Clock()
    records.names["challenger"] = "1"

    promote(records, clock, "1")

    assert records.names == {"champion": "1"}


def test_another_challenger_stays_one():
    records, clock = Records(), Clock()
    records.names["challenger"] = "2"

    promote(records, clock, "1")

    assert records.names["challenger"] == "2"


@given(st.lists(st.sampled_from(["1", "2", "3", "back"]), max_size=12))
@settings(max_examples=80, deadline=None)
def test_rollbacks_walk_back_through_every_earlier_champion(actions):
    records, clock, expected = Records(), Clock(), []

    for action in actions:
        if action != "back" and expected[-1:] != [action]:
            promote(records, clock, action)
            expected.append(action)
        elif action == "back" and len(expected) > 1:
            roll_back(records, clock)
            expected.pop()

    assert list(stack_of(records)) == expected
    assert records.names.get("champion") == (expected[-1] if expected else None)
    assert records.names.get("previous") == (expected[-2] if len(expected) > 1 else None)


@pytest.mark.parametrize("writes", range(6))
def test_a_crash_at_any_write_of_a_promotion_leaves_a_champion_that_was_meant(writes):
    records, clock = Records(), Clock()
    promote(records, clock, "1")
    promote(records, clock, "2")
    records.names["challenger"] = "3"
    records.writes_left = writes

    with contextlib.suppress(CrashError):
        promote(records, clock, "3")
    crashed_champion = records.names["champion"]

    assert crashed_champion in ("2", "3")
    records.writes_left = None
    promote(records, clock, "4")
    assert stack_of(records) == (
        ("1", "2", "4") if crashed_champion == "2" else ("1", "2", "3", "4")
    )
    assert records.names["previous"] == crashed_champion


@pytest.mark.parametrize("writes", range(5))
def test_a_crash_at_any_write_of_a_rollback_can_be_repeated(writes):
    records, clock = Records(), Clock()
    for version in ("1", "2", "3"):
        promote(records, clock, version)
    records.writes_left = writes

    with contextlib.suppress(CrashError):
        roll_back(records, clock)
    records.writes_left = None
    if records.names["champion"] == "3":
        roll_back(records, clock)

    assert stack_of(records) == ("1", "2")
    roll_back(records, clock)
    assert records.names == {"champion": "1"}


def test_a_change_that_did_not_take_effect_stays_in_the_history_as_abandoned():
    records, clock = Records(), Clock()
    promote(records, clock, "1")
    records.writes_left = 1
    with pytest.raises(CrashError):
        promote(records, clock, "2")
    records.writes_left = None

    promote(records, clock, "3")

    states = [(change.version, change.state) for change in read_history(records, "m")]
    assert states == [("1", "done"), ("2", "abandoned"), ("3", "done")]


def test_a_change_in_flight_keeps_others_out():
    records, clock = Records(), Clock()
    records.writes_left = 1
    with pytest.raises(CrashError):
        promote(records, clock, "1")
    records.writes_left = None

    with pytest.raises(NotReadyError, match="another process"):
        promote(records, clock, "2", later_s=5)

    assert "champion" not in records.names


class RacingRecords(Records):
    """Another process writes its own entry right after ours."""

    def set_model_tag(self, name, key, value):
        super().set_model_tag(name, key, value)
        if len(self.tags) == 1:
            self.tags[key + "f"] = value


def test_of_two_changes_at_once_the_one_that_sees_the_other_steps_back():
    records, clock = RacingRecords(), Clock()

    with pytest.raises(NotReadyError):
        promote(records, clock, "1")

    assert records.names == {}
    assert len(records.tags) == 1


def test_a_champion_that_moved_since_the_gate_looked_stops_the_change():
    records, clock = Records(), Clock()
    promote(records, clock, "1")
    decided_earlier = clock.audit().change("promote", "2", previous="")

    with pytest.raises(NotReadyError):
        change_champion(records, "m", decided_earlier)

    assert records.names["champion"] == "1"


def test_a_champion_moved_by_hand_counts_as_one():
    records, clock = Records(), Clock()
    promote(records, clock, "1")
    records.names["champion"] = "7"

    promote(records, clock, "2")

    assert stack_of(records) == ("1", "7", "2")


def test_who_when_and_why_are_kept():
    records, clock = Records(), Clock()

    promote(records, clock, "1")

    (change,) = read_history(records, "m")
    assert (change.who, change.at, change.why) == ("ops", clock.now, "test")


@pytest.mark.parametrize(("who", "why"), [("", "x"), ("w" * 101, "x"), ("ops", "w" * 501)])
def test_texts_that_would_not_fit_into_the_history_are_refused(who, why):
    with pytest.raises(InvalidInputError, match="characters"):
        Audit(who=who, at=START, why=why)


def test_the_longest_texts_fit_into_a_tag_however_they_are_escaped():
    change = Audit(who="\x01" * 100, at=START, why="\x01" * 500).change(
        "promote", "1", previous="2"
    )
    refused = GateDecision(passed=False, reasons=("\x01" * 900, "\x01" * 900))

    assert len(change.gated(refused).to_tag()) <= TAG_LIMIT
