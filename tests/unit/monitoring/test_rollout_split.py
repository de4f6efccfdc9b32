import collections
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novacron.errors import InvalidInputError
from novacron.monitoring.rollouts.split import Quota, Split, bucket_of, check_weights

TENTH = Split((("2", 0.1), ("1", 0.9)))
HALF = Split((("2", 0.5), ("1", 0.5)))


def test_a_key_has_one_place_whatever_the_process():
    code = (
        "from novacron.monitoring.rollouts.split import bucket_of; print(bucket_of('vm-7', 's'))"
    )

    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert float(other.stdout) == bucket_of("vm-7", "s")


def test_keys_spread_over_the_shares_and_over_salts_independently():
    keys = [f"vm-{i}" for i in range(20_000)]
    first = np.array([TENTH.pick(bucket_of(key, "a")) == "2" for key in keys])
    second = np.array([TENTH.pick(bucket_of(key, "b")) == "2" for key in keys])

    assert first.mean() == pytest.approx(0.1, abs=0.01)
    assert (first & second).mean() == pytest.approx(0.01, abs=0.004)


def test_a_key_that_was_tried_stays_tried_when_the_share_grows():
    for key in (f"vm-{i}" for i in range(2_000)):
        place = bucket_of(key, "salt")
        if TENTH.pick(place) == "2":
            assert HALF.pick(place) == "2"


@given(places=st.lists(st.floats(0, 1, exclude_max=True), max_size=300))
def test_requests_without_a_key_never_exceed_the_share(places):
    quota, seen = Quota(TENTH), collections.Counter()

    for place in places:
        seen[quota.pick(place)] += 1

        assert seen["2"] <= 0.1 * sum(seen.values()) + 1e-6


def test_requests_without_a_key_reach_nearly_the_share():
    quota, rng = Quota(TENTH), np.random.default_rng(1)

    tried = sum(quota.pick(rng.random()) == "2" for _ in range(20_000))

    assert 0.09 <= tried / 20_000 <= 0.1


@pytest.mark.parametrize(
    "weights", [{}, {"1": 0.5}, {"1": 0.7, "2": 0.7}, {"1": -0.5, "2": 1.5}, {"1": float("nan")}]
)
def test_weights_that_make_no_whole_are_refused(weights):
    with pytest.raises(InvalidInputError, match="weights"):
        check_weights(weights)


def test_weights_that_sum_to_one_in_floating_point_are_taken():
    check_weights({"1": 0.1, "2": 0.2, "3": 0.7})
