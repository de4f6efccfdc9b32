"""Search spaces: what they refuse, draw, nest and show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novacron.errors import ConfigError, OutOfRangeError
from novacron.models.search_space import (
    CategoricalParameter,
    Condition,
    FloatParameter,
    IntParameter,
    SearchSpace,
)

RATE = FloatParameter(name="net.rate", default=1e-3, low=1e-5, high=1e-1, log=True, why="step")
WIDTH = IntParameter(name="net.width", default=8, low=2, high=64, log=True, why="width")
PASSES = IntParameter(name="passes", default=0, low=0, high=6, step=2, why="passes")
SHAPE = CategoricalParameter(name="shape", default=(4, 4), choices=((4,), (4, 4)), why="layers")
LATER = FloatParameter(
    name="later",
    default=0.5,
    low=0.0,
    high=1.0,
    step=0.25,
    why="only after passes",
    when=Condition(parameter="passes", above=0),
)
SPACE = SearchSpace(model="toy", parameters=(RATE, WIDTH, PASSES, SHAPE, LATER))


def test_defaults_leave_out_what_does_not_count():
    assert SPACE.default() == {
        "net.rate": 1e-3, "net.width": 8, "passes": 0, "shape": (4, 4)
    }  # fmt: skip
    assert SPACE.check({"passes": 2})["later"] == 0.5


@given(seed=st.integers(0, 2**32 - 1))
def test_every_draw_passes_the_check_unchanged(seed):
    drawn = SPACE.sample(np.random.default_rng(seed))

    assert SPACE.check(drawn) == drawn
    assert ("later" in drawn) == (drawn["passes"] > 0)


def test_a_logarithmic_scale_draws_each_decade_alike():
    rng = np.random.default_rng(0)

    drawn = np.log10([RATE.sample(rng) for _ in range(4000)])

    assert np.histogram(drawn, bins=4, range=(-5, -1))[0].min() > 900


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"net\.wdth.*Did you mean 'net\.width'"):
        SPACE.check({"net.wdth": 4})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.rate", 1.0),
        ("net.rate", float("nan")),
        ("net.rate", "0.1"),
        ("net.width", 2.5),
        ("net.width", True),
        ("passes", 3),
        ("shape", [4, 4, 4]),
    ],
)
def test_a_value_outside_its_range_is_refused(name, value):
    with pytest.raises(OutOfRangeError, match=name):
        SPACE.check({name: value})


def test_a_value_between_two_steps_is_refused():
    with pytest.raises(OutOfRangeError, match=r"in steps of 0\.25"):
        SPACE.check({"passes": 2, "later": 0.3})


def test_a_list_and_a_label_mean_the_choice():
    assert SPACE.check({"shape": [4]})["shape"] == (4,)
    assert SPACE.check({"shape": "[4]"})["shape"] == (4,)


def test_names_become_blocks_of_a_training_file():
    nested = SPACE.nested({"net.rate": 0.01, "net.width": 4, "shape": (4,)})

    assert nested == {"fit": {"net": {"rate": 0.01, "width": 4}, "shape": [4]}}


def test_defaults_follow_a_training_file():
    space = SPACE.with_defaults({"fit": {"net": {"width": 32}, "shape": [4], "other": 1}})

    assert space.default()["net.width"] == 32
    assert space.default()["shape"] == (4,)


def test_a_training_file_outside_the_space_is_refused():
    with pytest.raises(OutOfRangeError, match=r"net\.width"):
        SPACE.with_defaults({"fit": {"net": {"width": 4096}}})


def test_a_space_without_parameters_is_refused():
    with pytest.raises(ConfigError, match="at least one to search"):
        SPACE.only(())


def test_a_parameter_kept_out_of_the_search_still_decides_conditions():
    with pytest.raises(ConfigError):
        SPACE.only(("unknown",))

    kept = SPACE.with_defaults({"fit": {"passes": 2}}).only(("later",))

    assert kept.default() == {"later": 0.5}
    assert SPACE.only(("later",)).default() == {}


def test_a_narrowed_range_moves_a_default_inside():
    space = SPACE.narrowed(
        {"net.width": {"low": 16, "high": 32}, "shape": {"choices": [[4], [4, 4]]}}
    )

    assert space.default()["net.width"] == 16


@pytest.mark.parametrize(
    "change",
    [
        {"net.width": {"high": 4096}},
        {"net.width": {"low": 40, "high": 20}},
        {"net.width": {"bounds": 3}},
        {"shape": {"choices": [[9]]}},
        {"shape": {"choices": []}},
        {"depth": {"low": 1}},
    ],
)
def test_a_range_that_is_empty_wider_or_unknown_is_refused(change):
    with pytest.raises((ConfigError, OutOfRangeError)):
        SPACE.narrowed(change)


@pytest.mark.parametrize(
    "parameters",
    [
        (RATE, RATE),
        (LATER, PASSES),
        (RATE, IntParameter(name="net", default=1, low=1, high=2, why="a block")),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(parameters):
    with pytest.raises(ConfigError):
        SearchSpace(model="toy", parameters=parameters)


def test_a_default_outside_the_range_is_refused():
    with pytest.raises(ConfigError, match="default"):
        FloatParameter(name="x", default=2.0, low=0.0, high=1.0, why="")
