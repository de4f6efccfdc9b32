import numpy as np
import pytest
from sklearn.metrics import f1_score

from novacron.errors import SchemaError
from novacron.models.classification import (
    bootstrap,
    calibration_error,
    confusion,
    f1_scores,
    macro_f1,
    reliability,
)

ACTUAL = np.array([0, 0, 1, 1, 2, 2, 2])
ANSWERED = np.array([0, 1, 1, 1, 2, 0, 2])


def test_f1_agrees_with_scikit_learn():
    scores = f1_scores(confusion(ACTUAL, ANSWERED, 3))

    np.testing.assert_allclose(scores, f1_score(ACTUAL, ANSWERED, average=None))
    assert macro_f1(ACTUAL, ANSWERED, 3) == pytest.approx(
        f1_score(ACTUAL, ANSWERED, average="macro")
    )


def test_macro_f1_leaves_classes_out_that_are_not_there():
    assert macro_f1(ACTUAL, ANSWERED, 5) == macro_f1(ACTUAL, ANSWERED, 3)


def test_rows_of_the_confusion_are_what_it_was():
    counts = confusion(ACTUAL, ANSWERED, 3)

    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 2]]


def test_vectors_that_do_not_fit_are_refused():
    with pytest.raises(SchemaError, match="shape"):
        confusion(ACTUAL, ANSWERED[:3], 3)


def test_confidence_that_is_right_as_often_as_it_says_has_no_calibration_error():
    confidence = np.repeat([0.25, 0.75], 400)
    right = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0])

    assert calibration_error(confidence, right) == pytest.approx(0)
    assert calibration_error(confidence, ~right) == pytest.approx(0.5)


def test_full_confidence_falls_into_the_last_bin():
    mean, right, count = reliability(np.array([1.0, 1.0]), np.array([True, False]))

    assert count[-1] == 2
    assert (mean[-1], right[-1]) == (1.0, 0.5)


def test_the_interval_holds_the_value_and_shrinks_with_rows():
    rng = np.random.default_rng(0)
    hits = rng.random(4000) < 0.7

    few = bootstrap(lambda rows: float(hits[rows].mean()), 100, rng)
    many = bootstrap(lambda rows: float(hits[rows].mean()), 4000, rng)

    assert few.lo <= few.value <= few.hi
    assert many.hi - many.lo < few.hi - few.lo
