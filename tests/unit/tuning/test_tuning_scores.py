import numpy as np
import pytest

from novacron.errors import OutOfRangeError, SchemaError
from tuning.scores import GroupScores, over_seeds, paired_difference


def scores(upper, lower=None, groups=None):
    upper = list(upper)
    return GroupScores(
        groups=tuple(groups or (f"g{place}" for place in range(len(upper)))),
        upper=tuple(upper),
        lower=tuple(lower or [1.0] * len(upper)),
    )


def test_a_metric_is_a_ratio_of_sums_not_a_mean_of_ratios():
    found = scores([1.0, 1.0], [1.0, 3.0])

    assert found.value == pytest.approx(0.5)


def test_rows_are_summed_by_group():
    found = GroupScores.of_rows(
        ["b", "a", "b"], np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 4.0])
    )

    assert found.groups == ("a", "b")
    assert found.upper == (2.0, 4.0)
    assert found.lower == (2.0, 6.0)


def test_scores_come_back_from_their_json_form_as_they_were():
    found = scores([0.1, 0.2], [1.0, 3.0])

    assert GroupScores.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_is_refused_where_it_arises(bad):
    with pytest.raises(OutOfRangeError, match=r"scores\.upper"):
        scores([1.0, bad])


def test_a_metric_over_nothing_is_refused():
    with pytest.raises(OutOfRangeError, match=r"scores\.lower"):
        scores([1.0], [0.0])
    with pytest.raises(SchemaError):
        scores([])
    with pytest.raises(SchemaError):
        scores([1.0, 2.0], groups=("same", "same"))


def test_a_constant_gain_has_an_interval_of_no_width():
    default = scores([1.0, 2.0, 3.0])
    winner = scores([0.5, 1.5, 2.5])

    found = paired_difference(winner, default, np.random.default_rng(1))

    assert found.value == pytest.approx(-0.5)
    assert found.lo == pytest.approx(-0.5)
    assert found.hi == pytest.approx(-0.5)
    assert found.n == 3


def test_pairing_is_by_name_whatever_the_order():
    default = scores([1.0, 10.0], groups=("a", "b"))
    winner = scores([9.0, 0.0], groups=("b", "a"))

    found = paired_difference(winner, default, np.random.default_rng(1))

    assert found.lo == pytest.approx(-1.0)
    assert found.hi == pytest.approx(-1.0)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        base = rng.normal(5.0, 2.0, 40)
        gain = rng.normal(0.3, 1.0, 40)
        found = paired_difference(scores(base - gain + 10), scores(base + 10), rng, resamples=400)
        hits += found.lo <= -0.3 <= found.hi

    assert 0.88 <= hits / 200 <= 0.99


def test_settings_scored_on_other_groups_are_not_compared():
    with pytest.raises(SchemaError, match="the same 2 groups"):
        paired_difference(
            scores([1.0, 2.0]), scores([1.0, 2.0], groups=("x", "y")), np.random.default_rng(1)
        )


def test_seeds_of_one_setting_add_up_group_by_group():
    found = over_seeds([scores([1.0, 2.0]), scores([3.0, 2.0])])

    assert found.value == pytest.approx(2.0)
    assert found.lower == (2.0, 2.0)
