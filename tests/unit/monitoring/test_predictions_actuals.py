"""Outcomes: only for predictions that were made, the newest counts, errors by version follow."""

import math
import os
from datetime import UTC, datetime

import numpy as np
import pytest
from logged_predictions import MADE_AT_US, close_logs, entry, open_log

from novacron.errors import DatasetNotFoundError, OutOfRangeError, SchemaError
from novacron.monitoring.predictions.actuals import ActualsLog, read_actual, read_actuals
from novacron.monitoring.predictions.files import block_files
from novacron.monitoring.predictions.join import errors_by_version, join_actuals, read_predictions


@pytest.fixture(autouse=True)
def _closing():
    yield
    close_logs()


def tell(log, actuals, name, value):
    actual = read_actual({"prediction_id": name, "value": value})
    assert name in actuals.find([actual])
    actuals.append([actual])


@pytest.fixture
def log(tmp_path):
    return open_log(tmp_path)


@pytest.fixture
def actuals(log):
    return ActualsLog(log.directory, waiting=log.waiting)


@pytest.mark.parametrize(
    ("document", "error", "field"),
    [
        ([1], SchemaError, "actuals"),
        ({"value": 1}, SchemaError, "prediction_id"),
        ({"prediction_id": "made-here", "value": 1}, SchemaError, "prediction_id"),
        ({"prediction_id": "a" * 20}, SchemaError, "value"),
        ({"prediction_id": "a" * 20, "value": "7"}, SchemaError, "value"),
        ({"prediction_id": "a" * 20, "value": [1, "7"]}, SchemaError, "value[1]"),
        ({"prediction_id": "a" * 20, "value": []}, OutOfRangeError, "value"),
        ({"prediction_id": "a" * 20, "value": [0] * 5000}, OutOfRangeError, "value"),
        ({"prediction_id": "a" * 20, "value": 10**400}, OutOfRangeError, "value"),
        ({"prediction_id": "a" * 20, "value": math.inf}, OutOfRangeError, "value"),
        ({"prediction_id": "a" * 20, "value": 1, "at": "now"}, SchemaError, "at"),
        (
            {"prediction_id": "a" * 20, "value": 1, "observed_at": "2026-03-01"},
            SchemaError,
            "observed_at",
        ),
    ],
)
def test_a_bad_outcome_is_refused_with_the_field_at_fault(document, error, field):
    with pytest.raises(error) as caught:
        read_actual(document)
    assert caught.value.field == field


def find(actuals, *names):
    return actuals.find([read_actual({"prediction_id": name, "value": 1}) for name in names])


def test_a_prediction_is_known_while_it_waits_and_once_it_is_written(log, actuals):
    one = entry(log, [[1, 2], [3, 4]], entities=("a", "b"), role="canary")
    alone = entry(log, [[5]])
    log.record(one)
    log.record(alone)
    strangers = (f"{one.prediction_id}.2", one.prediction_id, f"{alone.prediction_id}.0")
    for flushed in (False, True):
        if flushed:
            log.flush()
        known = find(actuals, *one.row_ids(), alone.prediction_id)
        assert [found.predicted for found in known.values()] == [(1, 2), (3, 4), (5,)]
        assert [found.entity for found in known.values()] == ["a", "b", None]
        assert known[one.row_ids()[0]].role == "canary"
        assert find(actuals, *strangers, log.new_id(), "0123456789ab00000001") == {}


def test_predictions_of_other_processes_are_known_once_they_are_written(log, tmp_path):
    other = open_log(tmp_path)
    one = entry(other, [[1]])
    other.record(one)
    actuals = ActualsLog(tmp_path, waiting=log.waiting)

    assert find(actuals, one.prediction_id) == {}
    other.flush()
    assert find(actuals, one.prediction_id)


def test_of_an_answer_and_its_shadow_the_one_that_was_heard_is_known(log, actuals):
    served = entry(log, [[10]])
    shadow = entry(log, [[12]], version="2", role="shadow", prediction_id=served.prediction_id)
    for one in (shadow, served, shadow):
        log.record(one)
    for _ in range(2):
        (known,) = find(actuals, served.prediction_id).values()
        assert (known.version, known.role) == ("1", "champion")
        log.flush()


def test_outcomes_meet_their_predictions_and_errors_are_told_by_version(log, actuals, tmp_path):
    first = entry(log, [[10, 20], [30, 40]])
    second = entry(log, [[10, 20]], version="2", role="canary")
    unanswered = entry(log, [[5, 5]])
    for one in (first, second, unanswered):
        log.record(one)
    log.flush()
    rows = first.row_ids()
    tell(log, actuals, rows[0], [11, None])
    tell(log, actuals, rows[1], [30.25, 44, 99])
    tell(log, actuals, second.prediction_id, 8)

    joined = join_actuals(read_predictions(tmp_path, model="bandwidth"), tmp_path)

    told = joined[["prediction_id", "step", "predicted", "actual", "is_covered"]]
    assert told.to_numpy().tolist() == [
        [rows[0], 1, 10, 11, False],
        [rows[1], 1, 30, 30.25, True],
        [rows[1], 2, 40, 44, False],
        [second.prediction_id, 1, 10, 8, False],
    ]
    errors = errors_by_version(joined).set_index(["version", "role", "step"])
    one = errors.loc[("1", "champion", 1)]
    assert one["rows"] == 2
    assert one["mae"] == pytest.approx((1 + 0.25) / 2)
    assert one["wape"] == pytest.approx(1.25 / 41.25)
    assert one["bias"] == pytest.approx(-1.25 / 2)
    assert one["coverage_ratio"] == pytest.approx(0.5)
    assert errors.loc[("2", "canary", 1), "bias"] == pytest.approx(2)


def test_the_newest_outcome_of_a_row_counts(log, actuals, tmp_path):
    one = entry(log, [[10]])
    log.record(one)
    log.flush()
    for value in (1, 2, 3):
        tell(log, actuals, one.prediction_id, value)

    joined = join_actuals(read_predictions(tmp_path, model="bandwidth"), tmp_path)
    assert joined["actual"].tolist() == [3]


def test_a_shadow_answer_with_the_id_of_the_served_one_is_judged_by_the_same_outcome(
    log, actuals, tmp_path
):
    served = entry(log, [[10]])
    shadow = entry(log, [[12]], version="2", role="shadow", prediction_id=served.prediction_id)
    log.record(served)
    log.flush()
    log.record(shadow)
    log.flush()
    tell(log, actuals, served.prediction_id, 12)

    errors = errors_by_version(
        join_actuals(read_predictions(tmp_path, model="bandwidth"), tmp_path)
    )
    assert errors.set_index("role")["mae"].to_dict() == {"champion": 2, "shadow": 0}


def test_true_and_false_are_compared_with_an_alert(log, actuals, tmp_path):
    one = entry(log, [[1]], model="anomaly", kind="anomaly")
    outputs = {"score": np.array([[9.0]]), "alert": np.array([True])}
    log.record(one._replace(outputs=outputs))
    log.flush()
    tell(log, actuals, one.prediction_id, value=False)

    joined = join_actuals(read_predictions(tmp_path, model="anomaly"), tmp_path)
    assert joined["error"].tolist() == [1]


def test_predictions_since_a_time_are_read_without_their_inputs_and_old_files_stay_closed(
    log, tmp_path
):
    since = datetime.fromtimestamp(MADE_AT_US / 1e6, UTC)
    log.record(entry(log, [[1]], made_at_us=MADE_AT_US - 1))
    log.record(entry(log, [[2]], made_at_us=MADE_AT_US))
    log.flush()
    (file,) = block_files(tmp_path)
    old = file.path.with_name(file.path.name.replace("000000", "000009"))
    old.write_bytes(b"closed")
    os.utime(old, (since.timestamp() - 3600,) * 2)
    os.utime(file.path, (since.timestamp() + 1,) * 2)

    rows = read_predictions(tmp_path, model="bandwidth", since=since, with_inputs=False)

    assert rows.column("output.value_mbps").to_pylist() == [[2.0]]
    assert not [name for name in rows.column_names if name.startswith("input.")]
    file.path.unlink()
    with pytest.raises(DatasetNotFoundError):
        read_predictions(tmp_path, model="bandwidth", since=since)


def test_without_outcomes_the_frame_is_empty_and_without_predictions_it_is_told(log, tmp_path):
    with pytest.raises(DatasetNotFoundError):
        read_predictions(tmp_path, model="bandwidth")
    log.record(entry(log, [[1]]))
    log.flush()

    joined = join_actuals(read_predictions(tmp_path, model="bandwidth"), tmp_path)
    assert len(joined) == 0
    assert len(errors_by_version(joined)) == 0


def test_a_line_that_a_crash_cut_short_costs_itself_alone(log, actuals, tmp_path):
    one = entry(log, [[1]])
    log.record(one)
    log.flush()
    tell(log, actuals, one.prediction_id, 1)
    (path,) = tmp_path.glob("actuals-*.jsonl")
    path.write_bytes(path.read_bytes() + b'{"prediction_id": "cut sh')
    tell(log, actuals, one.prediction_id, 2)

    assert [actual.values for actual, _ in read_actuals(tmp_path)] == [(1.0,), (2.0,)]
