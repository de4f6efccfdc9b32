"""What came true, kept beside the log: one JSON line for each outcome, on the disk when told so.

An outcome names a prediction by its id. If several are told for one row, the newest counts.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from novacron.errors import NotFoundError, NotReadyError, OutOfRangeError, SchemaError
from novacron.monitoring.predictions.entry import parse_id
from novacron.monitoring.predictions.known import Known, find_written

MAX_VALUES: Final = 4_096
_PREFIX: Final = "actuals-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual:
    """What was observed for one row of one answer."""

    prediction_id: str
    """Of the row: with `.N` where the answer had several."""
    values: tuple[float | None, ...]
    """One for each step that was predicted, from the first on; None where nothing was measured."""
    observed_at: str = ""
    """When, as whoever observed says it; may be empty."""


def read_actual(document: Any) -> Actual:
    """Check one outcome: `prediction_id`, `value` - a number, true or false, or a list - and `observed_at`.

    Raises:
        SchemaError: A field is unknown, missing or mistyped.
        OutOfRangeError: A value is not finite, or there are too many.
    """
    if not isinstance(document, dict):
        raise SchemaError(field="actuals", got=_short(document), expected="a JSON object")
    known = ("prediction_id", "value", "observed_at")
    for name in document:
        if name not in known:
            raise SchemaError(
                field=name[:100], got="a field of this name", expected=", ".join(known)
            )
    name = document.get("prediction_id")
    if not isinstance(name, str) or parse_id(name) is None:
        raise SchemaError(
            field="prediction_id",
            got=_short(name),
            expected="the id that an answer came with",
            remedy="It is `prediction_id` of a record, `parameters.prediction_id` of an answer.",
        )
    return Actual(
        prediction_id=name,
        values=_values(document.get("value")),
        observed_at=_moment(document.get("observed_at")),
    )


class ActualsLog:
    """Takes outcomes and tells whether the prediction that they name exists.

    Args:
        directory: The folder of the prediction log.
        now: The day under which outcomes are kept.
        waiting: Returns a prediction that is recorded and not written yet, else None.
    """

    def __init__(
        self,
        directory: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        waiting: Callable[[str], Known | None] = lambda _: None,
    ) -> None:
        self._directory = directory
        self._now = now
        self._waiting = waiting

    def find(self, actuals: Sequence[Actual]) -> dict[str, Known]:
        """Return the predictions that outcomes name, by id; those that do not exist are left out."""
        found: dict[str, Known] = {}
        missing = []
        for one in actuals:
            known = self._waiting(one.prediction_id)
            if known is None:
                missing.append(one.prediction_id)
            else:
                found[one.prediction_id] = known
        return found | find_written(self._directory, missing)

    def append(self, actuals: Sequence[Actual]) -> None:
        """Keep outcomes; they are on the disk when this returns.

        Raises:
            NotReadyError: They could not be written; none of them was kept.
        """
        received_at = self._now()
        lines = b"".join(
            json.dumps(
                {
                    "prediction_id": one.prediction_id,
                    "values": one.values,
                    "observed_at": one.observed_at,
                    "received_at": received_at.isoformat(),
                },
                separators=(",", ":"),
            ).encode("ascii")
            + b"\n"
            for one in actuals
        )
        path = self._directory / f"{_PREFIX}{received_at.date().isoformat()}.jsonl"
        try:
            _append(path, lines)
        except OSError as cause:
            raise NotReadyError(
                f"Outcomes cannot be kept: {cause}.", remedy="Send them again later."
            ) from cause


def unknown_prediction(name: str) -> NotFoundError:
    """Return the refusal of an outcome whose prediction does not exist."""
    return NotFoundError(
        f"There is no prediction {name!r} in the log.",
        remedy="It was never made, is older than the log is kept, or was made a moment ago by "
        "another replica: those are found once their block is written.",
    )


def read_actuals(directory: Path) -> Iterator[tuple[Actual, datetime]]:
    """Yield all outcomes in the order in which they came, with when that was.

    A half-written last line, left by a crash, is passed over.
    """
    for path in sorted(directory.glob(f"{_PREFIX}*.jsonl")):
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    continue
                try:
                    told = json.loads(line)
                    actual = Actual(
                        prediction_id=told["prediction_id"],
                        values=tuple(told["values"]),
                        observed_at=told["observed_at"],
                    )
                    received_at = datetime.fromisoformat(told["received_at"])
                except (ValueError, KeyError, TypeError):
                    # A write that a crash cut short; the next line begins after it.
                    continue
                yield actual, received_at


def remove_old_actuals(directory: Path, *, today: date, max_age_days: int) -> None:
    """Remove outcomes of days that the log does not hold any more."""
    oldest = f"{_PREFIX}{(today - timedelta(days=max_age_days - 1)).isoformat()}.jsonl"
    for path in directory.glob(f"{_PREFIX}*.jsonl"):
        if path.name < oldest:
            path.unlink(missing_ok=True)


def _append(path: Path, lines: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(target).st_size
        if size and os.pread(target, 1, size - 1) != b"\n":
            # A crash cut the last line short: what follows begins on a line of its own.
            lines = b"\n" + lines
        # One write: lines of several replicas do not mix.
        written = os.write(target, lines)
        if written < len(lines):
            os.ftruncate(target, size)
            raise OSError("the disk is full")
        os.fsync(target)
    finally:
        os.close(target)


def _values(given: Any) -> tuple[float | None, ...]:
    values = given if isinstance(given, list) else [given]
    if not 0 < len(values) <= MAX_VALUES:
        raise OutOfRangeError(
            field="value", got=f"{len(values)} values", expected=f"1 to {MAX_VALUES} values"
        )
    found: list[float | None] = []
    for place, value in enumerate(values):
        if value is None and isinstance(given, list):
            found.append(None)
            continue
        if not isinstance(value, bool | int | float):
            raise SchemaError(
                field=f"value[{place}]" if isinstance(given, list) else "value",
                got=_short(value),
                expected="a number, true or false, or a list of them with null where nothing was "
                "measured",
            )
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise OutOfRangeError(field="value", got=_short(value), expected="finite numbers")
        found.append(number)
    return tuple(found)


def _moment(given: Any) -> str:
    if given is None:
        return ""
    try:
        moment = datetime.fromisoformat(given)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise SchemaError(
            field="observed_at",
            got=_short(given),
            expected="a time with its offset, e.g. 2026-03-01T12:00:00Z",
        )
    return moment.astimezone(UTC).isoformat()


def _short(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:80]
