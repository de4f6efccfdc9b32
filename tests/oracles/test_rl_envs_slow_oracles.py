"""Fast batched laws against slow, obvious restatements on the same cases."""

import numpy as np
import pytest

from rl_envs.physics.allocation import OVERSHOOT_WEIGHT, allocation_mbps, window_moments
from rl_envs.physics.migration import precopy
from rl_envs.physics.order_statistics import (
    Followers,
    kth_arrivals,
    probability_by,
    quantile_ms,
    truncated_mean_ms,
)
from rl_envs.physics.partition import Paths, shares_of, split_task


def slow_precopy(memory, dirty, working_set, rate):
    volume, total, sent, rounds = memory, 0.0, 0.0, 0
    while True:
        seconds = volume / rate
        total, sent, rounds = total + seconds, sent + volume, rounds + 1
        volume = min(working_set, dirty * seconds)
        if volume / rate < 0.03 or rounds == 30:
            return total + volume / rate, volume / rate, sent + volume, rounds


def test_migration_equals_its_round_by_round_restatement():
    rng = np.random.default_rng(0)
    memory, working_set = rng.uniform(100, 9000, 200), rng.uniform(10, 900, 200)
    dirty, rate = 10 ** rng.uniform(-1, 3, 200), 10 ** rng.uniform(0, 3, 200)

    moved = precopy(memory, dirty, working_set, rate)

    for row in range(200):
        expected = slow_precopy(memory[row], dirty[row], working_set[row], rate[row])
        got = (moved.total_s, moved.downtime_s, moved.sent_mb, moved.rounds)
        np.testing.assert_allclose([float(part[row]) for part in got], expected, rtol=1e-12)


def test_migration_pause_has_a_cliff_where_the_dirty_rate_passes_the_rate():
    rate = np.array([70.0, 79.0, 81.0, 160.0])

    moved = precopy(np.full(4, 4096.0), np.full(4, 80.0), np.full(4, 400.0), rate)

    assert (moved.downtime_s[:2] > 5.0).all()
    assert moved.downtime_s[3] < 0.03
    assert moved.rounds.tolist()[:2] == [30.0, 30.0]


def sample_quorum(rng, propagation, jitter, shape, drop, needed, runs):
    """Time of the needed-th answer, drawn: log-logistic waits, one retransmission of a drop."""
    u = rng.uniform(size=(runs, propagation.size))
    times = propagation + jitter * (u / (1 - u)) ** (1 / shape)
    dropped = rng.uniform(size=times.shape) < drop
    times += dropped * (200.0 + propagation.max())
    return np.sort(times, axis=1)[:, needed - 1]


@pytest.mark.parametrize("needed", [1, 2, 4])
@pytest.mark.parametrize("drop", [0.0, 0.05])
@pytest.mark.parametrize("shape", [2.0, 4.0])
def test_quorum_times_match_a_monte_carlo(needed, drop, shape):
    propagation = np.array([20.0, 35.0, 80.0, 90.0])
    jitter = 0.1 * propagation
    drawn = sample_quorum(
        np.random.default_rng(4), propagation, jitter, shape, drop, needed, 200_000
    )
    followers = Followers(
        propagation_ms=propagation[None], jitter_ms=jitter[None],
        jitter_shape=np.array([shape]), drop_ratio=np.array([drop]),
    )  # fmt: skip

    (arrival,) = kth_arrivals(followers, [np.array([float(needed)])])

    median = float(quantile_ms(arrival, 0.5)[0])
    assert median == pytest.approx(np.median(drawn), rel=0.03)
    limit = np.array([np.quantile(drawn, 0.9)])
    assert float(probability_by(arrival, limit)[0]) == pytest.approx(0.9, abs=0.03)
    mean = np.minimum(drawn, limit[0]).mean()
    assert float(truncated_mean_ms(arrival, limit)[0]) == pytest.approx(mean, rel=0.03)


def test_absent_followers_change_nothing():
    few = Followers(
        propagation_ms=np.array([[10.0, 30.0]]), jitter_ms=np.array([[1.0, 3.0]]),
        jitter_shape=np.array([3.0]), drop_ratio=np.array([0.01]),
    )  # fmt: skip
    padded = Followers(
        propagation_ms=np.array([[10.0, np.inf, 30.0]]), jitter_ms=np.array([[1.0, np.inf, 3.0]]),
        jitter_shape=np.array([3.0]), drop_ratio=np.array([0.01]),
    )  # fmt: skip

    (a,), (b,) = (kth_arrivals(group, [np.array([2.0])]) for group in (few, padded))

    np.testing.assert_allclose(a.cdf_NG, b.cdf_NG, atol=1e-12)


def slow_split(paths, row, size_mb, share, duplicate, dt=1e-3):
    """Move bytes in small steps, sharing each bottleneck by progressive filling."""
    access, place = paths.access_mbps_NK[row], paths.bottleneck_NK[row]
    room = paths.shared_mbps_NB[row]

    def rates(active):
        rate, grow = np.zeros(access.size), set(np.flatnonzero(active))
        while grow:
            load = {b: sum(rate[k] for k in range(access.size) if place[k] == b) for b in (0, 1)}
            count = {b: sum(place[k] == b for k in grow) for b in (0, 1)}
            step = min(
                *(access[k] - rate[k] for k in grow),
                *((room[b] - load[b]) / count[b] for b in (0, 1) if count[b]),
            )
            for k in grow:
                rate[k] += step
            load = {b: sum(rate[k] for k in range(access.size) if place[k] == b) for b in (0, 1)}
            grow = {
                k
                for k in grow
                if rate[k] < access[k] - 1e-9 and load[place[k]] < room[place[k]] - 1e-9
            }
        return rate

    used = share > 0
    quick = sorted(np.flatnonzero(used), key=lambda k: (-rates(used)[k], k))[:2]
    extra = np.zeros(access.size)
    extra[quick] = duplicate / len(quick)
    left = size_mb * (share + extra)
    finish, clock, active = np.zeros(access.size), 0.0, used.copy()
    while active.any():
        left = left - np.where(active, rates(active) / 8 * dt, 0.0)
        clock += dt
        ended = active & (left <= 0)
        finish[ended] = clock
        active = active & ~ended
    copied = np.minimum(extra.sum() / np.maximum(share, 1e-9), 1.0)
    finish = finish + paths.start_s_NK[row] + paths.stall_s_NKP[row, :, 0] * (1 - copied)
    return finish[used].max()


def test_split_of_a_task_equals_moving_it_in_small_steps():
    rng, rows = np.random.default_rng(5), 12
    paths = Paths(
        access_mbps_NK=rng.uniform(20, 200, (rows, 4)),
        start_s_NK=rng.uniform(0, 0.2, (rows, 4)),
        stall_s_NKP=rng.uniform(0, 1, (rows, 4, 1)) * (rng.uniform(size=(rows, 4, 1)) < 0.3),
        bottleneck_NK=rng.integers(0, 2, (rows, 4)),
        shared_mbps_NB=rng.uniform(50, 300, (rows, 2)),
    )
    share = shares_of(rng.uniform(0, 1, (rows, 4)) * (rng.uniform(size=(rows, 4)) < 0.8))
    size, duplicate = rng.uniform(5, 40, rows), rng.uniform(0, 0.5, rows)

    split = split_task(paths, size, share, duplicate)

    for row in range(rows):
        slow = slow_split(paths, row, size[row], share[row], duplicate[row])
        assert float(split.total_s[row]) == pytest.approx(slow, abs=0.01)


def test_splitting_over_more_paths_is_not_always_best():
    paths = Paths(
        access_mbps_NK=np.array([[100.0, 2.0]]), start_s_NK=np.zeros((1, 2)),
        stall_s_NKP=np.zeros((1, 2, 1)), bottleneck_NK=np.array([[0, 1]]),
        shared_mbps_NB=np.array([[1e3, 1e3]]),
    )  # fmt: skip

    def seconds(*share):
        return float(split_task(paths, np.ones(1), np.array([share]), np.zeros(1)).total_s[0])

    by_rate = seconds(100 / 102, 2 / 102)
    assert by_rate < seconds(1.0, 0.0) < seconds(0.5, 0.5)


def test_window_moments_equal_those_of_the_slice():
    rng = np.random.default_rng(6)
    series = rng.gamma(5, 20, (4, 90))
    zero = np.zeros((4, 1))
    sums = np.concatenate([zero, series.cumsum(axis=1)], axis=1)
    squares = np.concatenate([zero, (series**2).cumsum(axis=1)], axis=1)
    window = np.array([5.0, 17.0, 30.0, 60.0])
    end = rng.integers(60, 90, (4, 7))

    mean, deviation = window_moments(sums, squares, end, window)

    for row in range(4):
        for column in range(7):
            part = series[row, end[row, column] - int(window[row]) : end[row, column]]
            assert mean[row, column] == pytest.approx(part.mean())
            assert deviation[row, column] == pytest.approx(part.std(), abs=1e-6)


def test_best_confidence_of_a_stationary_path_is_the_critical_fractile():
    rate = np.random.default_rng(7).normal(100, 15, 200_000)
    confidences = np.linspace(0.5, 0.99, 50)

    costs = []
    for confidence in confidences:
        allocated = allocation_mbps(np.array(100.0), np.array(15.0), np.array(confidence))
        gap = rate - allocated
        costs.append(np.mean(np.maximum(gap, 0) + OVERSHOOT_WEIGHT * np.maximum(-gap, 0)))

    assert confidences[int(np.argmin(costs))] == pytest.approx(3 / 4, abs=0.02)
