import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_placement import SMALL, requests, tiny_models

from novacron.errors import NotFoundError, OutOfRangeError
from novacron.models.placement.ages import (
    AGE_EDGES_S,
    BINS,
    GRID_S,
    Curves,
    bin_of,
    mean_seconds,
    point_survival,
)
from novacron.models.placement.arrivals import clusters, follow
from novacron.models.placement.history import Kind, LifetimeHistory, kinds_of_batch
from novacron.models.placement.lifetimes import exposure
from novacron.models.placement.packing import (
    OFF,
    Gate,
    Outlook,
    choose_by_lifetime,
    left_over,
)

ONE = np.zeros(1, dtype=np.int64)


def test_a_workload_cut_off_adds_what_it_outlived_and_no_end():
    seen = exposure(
        np.array([0.0, 0.0, 0.0]),
        np.array([np.inf, 450.0, 2000.0]),
        np.array([0, 1, 2]),
        until_s=700.0,
    )

    rows = sorted(
        zip(seen.group_M.tolist(), seen.bin_M.tolist(), seen.ended_M.tolist(), strict=True)
    )
    # The one that ends at 2000 s is, at 700 s, as alive as the one that never ends.
    assert rows == [
        (0, 0, False), (0, 1, False), (1, 0, False), (1, 1, True), (2, 0, False), (2, 1, False)
    ]  # fmt: skip


def test_what_happens_after_the_end_of_training_changes_no_row():
    found = requests()
    group_N = found.groups()
    until_s = 40_000.0
    later = found.end_s.copy()
    later[found.end_s > until_s] = np.inf

    one = exposure(found.arrived_s, found.end_s, group_N, until_s=until_s)
    other = exposure(found.arrived_s, later, group_N, until_s=until_s)

    for name in ("group_M", "bin_M", "ended_M", "weight_M"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_constant_hazard_forgets_the_age():
    rate = 1 / 5000
    hazard_K = 1 - np.exp(-rate * np.diff(AGE_EDGES_S))
    curves = Curves.from_hazards(np.minimum(hazard_K, 1 - 1e-5)[None, :])
    first = (np.diff(AGE_EDGES_S) * rate) < 10

    new = curves.survival(ONE, np.array([0.0]))[0]
    old = curves.survival(ONE, np.array([1000.0]))[0]

    near = AGE_EDGES_S[:-1][first].max() > GRID_S + 1000
    np.testing.assert_allclose(new[near], np.exp(-rate * GRID_S[near]), rtol=1e-6)
    np.testing.assert_allclose(old[near], new[near], rtol=1e-6)


def test_a_falling_hazard_makes_survivors_live_longer():
    curves = Curves.from_hazards(np.linspace(0.6, 0.02, BINS)[None, :])

    lives = [
        mean_seconds(curves.survival(ONE, np.array([age])))[0] for age in (0.0, 900.0, 7500.0)
    ]

    assert lives == sorted(lives)
    assert lives[0] < lives[-1]


def test_history_counts_exposure_and_ends_by_age():
    history = LifetimeHistory(half_life_s=1e9)
    kind = Kind(2.0, 4.0, 3, 3, 1)
    number = history.arrive(kind, 3, 0.0)
    history.end(number, 100.0)
    history.end(number, 700.0)
    history.advance(1000.0)

    like = history.like(kind)

    # Three were seen in the first bin, two outlived it and the next, one ended in the third.
    np.testing.assert_allclose(like.exposed_LK[:, :4], [[3, 2, 2, 0]] * 3, rtol=1e-5)
    np.testing.assert_allclose(like.ended_LK[:, :4], [[1, 0, 1, 0]] * 3, rtol=1e-5)


def test_history_halves_in_its_half_life_and_long_spans_do_not_overflow():
    history = LifetimeHistory(half_life_s=3600.0)
    kind = Kind(2.0, 4.0)
    history.end(history.arrive(kind, 1, 0.0), 10.0)
    fresh = history.like(kind).ended_LK[0, 0]

    history.advance(3610.0)
    assert history.like(kind).ended_LK[0, 0] == pytest.approx(fresh / 2, rel=1e-6)

    history.advance(1e8)
    history.end(history.arrive(kind, 1, 1e8), 1e8 + 10)
    assert history.like(kind).ended_LK[0, 0] == pytest.approx(1.0, rel=1e-3)


def test_history_refuses_time_that_runs_backwards_and_ends_of_nobody():
    history = LifetimeHistory()
    number = history.arrive(Kind(1.0, 1.0), 1, 100.0)

    with pytest.raises(OutOfRangeError, match="before"):
        history.advance(99.0)
    history.end(number, 200.0)
    with pytest.raises(NotFoundError):
        history.end(number, 300.0)


def test_an_unseen_kind_has_no_history_of_its_own_but_that_of_its_size():
    history = LifetimeHistory()
    history.end(history.arrive(Kind(2.0, 4.0, 3, 3, 1), 1, 0.0), 60.0)

    like = history.like(Kind(2.0, 4.0, 9, 9, 1))

    assert like.ended_LK[0].sum() > 0
    assert like.ended_LK[1:].sum() == 0


def test_features_of_a_prefix_are_the_same_as_of_the_whole():
    found = requests()
    early = found.take(found.arrived_s < 30_000)

    whole, _ = follow(found, 86_400)
    prefix, _ = follow(early, 86_400)

    rows = len(prefix.static_NS)
    np.testing.assert_allclose(prefix.static_NS, whole.static_NS[:rows])
    np.testing.assert_allclose(prefix.hazard_NLK, whole.hazard_NLK[:rows])


def test_batches_are_never_split_between_clusters():
    found = requests()

    parts = clusters(found, 3, seed=1)

    held = [set(part.batch_N.tolist()) for part in parts]
    assert sum(len(part) for part in parts) == len(found)
    assert not (held[0] & held[1])
    assert not (held[0] & held[2])
    assert not (held[1] & held[2])


def test_a_batch_is_told_by_its_sizes():
    kinds = kinds_of_batch([(2, 4), (2, 4), (8, 16)])

    assert kinds == {Kind(2, 4, 3, 2, 2): 2, Kind(8, 16, 3, 1, 2): 1}


def test_the_fitted_hazard_tells_short_lives_from_long_ones():
    models = tiny_models()
    _, group_N = follow(requests(seed=5), SMALL.lifetimes.half_life_s)
    features, _ = follow(requests(seed=5), SMALL.lifetimes.half_life_s)
    curves = models.lifetimes.curves(features)
    groups = len(features.static_NS)

    life_s = mean_seconds(curves.survival(np.arange(groups), np.zeros(groups)))

    long = features.static_NS[:, 0] == 4.0
    assert np.median(life_s[long]) > 3 * np.median(life_s[~long])
    assert len(group_N) == len(requests(seed=5))


@given(
    lives=st.lists(st.sampled_from([600.0, 3600.0, 28_800.0, 86_400.0]), min_size=1, max_size=6),
    new=st.sampled_from([600.0, 7200.0, 86_400.0]),
)
@settings(max_examples=50, deadline=None)
def test_with_known_ends_the_extension_is_how_much_later_the_node_empties(lives, new):
    outlook = Outlook(1)
    count = len(lives)
    outlook.refresh(
        np.zeros(count, dtype=np.int64), np.arange(count), point_survival(np.array(lives), 0.0)
    )
    survival_G = point_survival(np.array([new]), 0.0)[0]

    found = outlook.extension_s(ONE, survival_G)[0]

    grid = np.concatenate([[0.0], GRID_S])
    down = [grid[np.searchsorted(grid, x, side="left") - 1] for x in (new, max(lives))]
    expected = max(0.0, down[0] - down[1])
    # The integral is by the rule of the grid, which knows ends to one step.
    assert abs(found - expected) <= np.diff(grid).max()
    assert (found == pytest.approx(0, abs=1)) == (new <= max(lives))


def test_workloads_of_one_batch_on_one_node_are_taken_as_one():
    survival_NG = np.full((3, len(GRID_S)), 0.5)
    node_N = np.zeros(3, dtype=np.int64)
    together, apart = Outlook(1), Outlook(1)

    together.refresh(node_N, np.zeros(3, dtype=np.int64), survival_NG)
    apart.refresh(node_N, np.arange(3), survival_NG)

    np.testing.assert_allclose(np.exp(together.log_empty_HG), 0.5)
    np.testing.assert_allclose(np.exp(apart.log_empty_HG), 0.125)


def test_placing_one_by_one_gives_the_outlook_of_asking_again():
    survival_NG = np.random.default_rng(0).random((4, len(GRID_S)))
    node_N, batch_N = np.array([0, 1, 1, 0]), np.arange(4)
    at_once, one_by_one = Outlook(2), Outlook(2)

    at_once.refresh(node_N, batch_N, survival_NG)
    for node, batch, survival_G in zip(node_N, batch_N, survival_NG, strict=True):
        one_by_one.host(int(node), int(batch), survival_G)

    np.testing.assert_allclose(one_by_one.log_empty_HG, at_once.log_empty_HG)
    one_by_one.clear(0)
    assert (one_by_one.log_empty_HG[0] == 0).all()


def gate(**changes):
    return Gate(**{"rule": "buckets", "scale_s": 600.0, "least_gain": 0.0} | changes)


def test_the_gate_lets_best_fit_decide_where_lifetimes_do_not_pay():
    outlook = Outlook(2)
    long = point_survival(np.array([80_000.0]), 0.0)
    outlook.refresh(np.array([1]), np.array([0]), long)
    left_C, rows_C = np.array([0.1, 0.5]), np.arange(2)

    heard = choose_by_lifetime(left_C, outlook, rows_C, long[0], gate())
    off = choose_by_lifetime(left_C, outlook, rows_C, long[0], OFF)
    shut = choose_by_lifetime(left_C, outlook, rows_C, long[0], gate(least_gain=2.0))

    assert (heard.place, heard.fallback) == (1, "")
    assert (off.place, off.fallback) == (0, "best_fit")
    assert (shut.place, shut.fallback) == (0, "best_fit")


def test_best_fit_is_the_least_left_over_in_all_resources_that_are_asked_for():
    free_CR = np.array([[8.0, 8.0, 0.0], [4.0, 30.0, 0.0], [5.0, 6.0, 0.0]])
    total_CR = np.full((3, 3), 32.0)

    left_C = left_over(free_CR, np.array([4.0, 4.0, 0.0]), total_CR)

    assert left_C.argmin() == 2


def test_ages_at_an_edge_belong_to_the_bin_that_begins_there():
    np.testing.assert_array_equal(bin_of(np.array([0.0, 299.0, 300.0, 1e9])), [0, 0, 1, BINS - 1])
