import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_envs.physics.allocation import allocation_mbps, change_cost_mbps
from rl_envs.physics.consensus import (
    Workload,
    batch_fill,
    commit_rounds,
    majority,
    safe_timeout_ms,
)
from rl_envs.physics.cost import money_usd, transport_cpu_s
from rl_envs.physics.delta import baseline_hit_ratio, mean_outage_s, mixed, whole_page_ratio
from rl_envs.physics.order_statistics import Followers, kth_arrivals, quantile_ms, quorum_times
from rl_envs.physics.partition import shares_of
from rl_envs.physics.pipeline import Stages, fill_s, pipeline_rate, with_chunk_overhead
from rl_envs.physics.sync import conflict_ratio, distinct_keys, staleness_ms, sync_mbps


def rounds(*, rtt_ms=40.0, offered=200.0, timeout_ms=500.0, batch=8.0, inflight=32.0, **changes):
    """Commit statistics over any one argument given as a list."""
    arrays = np.broadcast_arrays(
        *(
            np.atleast_1d(np.asarray(v, float))
            for v in (rtt_ms, offered, timeout_ms, batch, inflight)
        )
    )
    rtt, ops, timeout, size, window = (a.copy() for a in arrays)
    one = np.ones_like(rtt)
    followers = Followers(
        propagation_ms=rtt[:, None] * np.array([0.5, 0.7, 0.9, 1.0]),
        jitter_ms=rtt[:, None] * np.array([0.05, 0.05, 0.05, 0.05]),
        jitter_shape=3.0 * one,
        drop_ratio=changes.pop("drop", 0.001) * one,
    )
    (arrival,) = kth_arrivals(followers, [2.0 * one])
    work = {
        "op_bytes": 512.0, "round_cpu_ms": 0.3, "op_cpu_ms": 0.01, "crash_per_s": 1e-4,
        "link_mbps": 200.0, "queue_ops": 0.0,
    } | changes  # fmt: skip
    load = Workload(
        offered_ops=ops, interval_s=10.0, **{name: value * one for name, value in work.items()}
    )
    return arrival, commit_rounds(quorum_times(arrival), load, timeout, size, window)


def test_majority_of_any_group_shares_a_voter_with_every_other_majority():
    voters = np.arange(1.0, 50.0)

    assert (2 * majority(voters) > voters).all()
    assert (2 * (majority(voters) - 1) <= voters).all()


@settings(max_examples=30, deadline=None)
@given(asked=st.floats(1, 1e5), tail=st.floats(1, 1e4))
def test_timeout_in_force_is_never_below_the_tail_of_the_round_trip(asked, tail):
    applied = safe_timeout_ms(np.array([asked]), np.array([tail]))

    assert applied[0] >= tail
    assert applied[0] in (asked, tail)


def test_commit_is_never_quicker_than_the_quorum():
    arrival, committed = rounds(batch=[1.0, 8.0, 64.0])

    assert (committed.commit_mean_ms > quantile_ms(arrival, 0.5)).all()
    assert (committed.commit_p99_ms >= committed.commit_p50_ms).all()


def test_batch_size_has_an_optimum_inside_under_load():
    batches = 2.0 ** np.arange(13)

    latency = rounds(offered=8000.0, batch=batches, link_mbps=2000.0)[1].commit_mean_ms

    best = int(np.argmin(latency))
    assert 0 < best < batches.size - 1


def test_small_batches_are_best_when_idle_and_overload_under_pressure():
    idle = rounds(offered=5.0, batch=[1.0, 32.0])[1]
    busy = rounds(offered=8000.0, batch=[1.0, 32.0], link_mbps=2000.0)[1]

    assert idle.commit_mean_ms[0] < idle.commit_mean_ms[1]
    assert busy.queue_ops[0] > 0
    assert busy.queue_ops[1] == 0


def test_timeout_trades_repeated_work_against_recovery():
    timeouts = np.array([60.0, 150.0, 400.0, 10_000.0])

    committed = rounds(timeout_ms=timeouts, drop=0.01, crash_per_s=2e-3, batch=1.0)[1]

    assert committed.timeout_ratio[0] > committed.timeout_ratio[2]
    assert committed.commit_mean_ms[3] > committed.commit_mean_ms.min()


def test_window_of_one_round_bounds_the_rate_on_a_long_path():
    committed = rounds(offered=2000.0, inflight=[1.0, 64.0], rtt_ms=100.0)[1]

    assert committed.committed_ops[0] < 2000.0 * 0.5
    assert committed.committed_ops[1] == pytest.approx(2000.0)


def test_waiting_operations_are_conserved():
    committed = rounds(offered=20_000.0, batch=1.0, queue_ops=500.0)[1]

    arrived = 20_000.0 * 10 + 500.0
    done = committed.committed_ops[0] * 10 + committed.queue_ops[0]
    assert done == pytest.approx(arrived)


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(1, 4096).map(float), offered=st.floats(0.1, 1e5))
def test_batch_never_waits_longer_than_half_the_linger(batch, offered):
    size, wait_ms = batch_fill(np.array([batch]), np.array([offered]))

    assert 1 <= size[0] <= batch
    assert 0 <= wait_ms[0] <= 25.0 + 1e-9


def test_longer_synchronisation_interval_is_staler_cheaper_and_collides_more():
    interval = np.geomspace(100, 60_000, 20)
    same = np.ones(20)

    age = staleness_ms(interval, 50 * same)
    sent = sync_mbps(interval, 400 * same, 1e4 * same, 128 * same, 4 * same)
    conflicts = conflict_ratio(age, 400 * same, 1e4 * same)

    assert (np.diff(age) > 0).all()
    assert (np.diff(sent) < 0).all()
    assert (np.diff(conflicts) > 0).all()
    assert (conflicts < 1).all()


def test_distinct_keys_are_bounded_by_writes_and_by_keys():
    touched = distinct_keys(np.array([1.0, 100.0, 1e9]), np.full(3, 1000.0))

    assert touched[0] == pytest.approx(1.0, rel=1e-3)
    assert touched[1] < 100
    assert touched[2] == pytest.approx(1000.0)


def test_memory_of_page_versions_saturates_at_the_working_set():
    hits = baseline_hit_ratio(np.geomspace(1, 1e5, 30), np.full(30, 2000.0))

    assert (np.diff(hits) >= 0).all()
    assert hits[-1] == 1.0
    assert hits[0] < 0.1


@settings(max_examples=40, deadline=None)
@given(hit=st.floats(0, 1), chain=st.integers(1, 1000).map(float))
def test_share_of_whole_pages_lies_between_misses_and_all(hit, chain):
    whole = float(whole_page_ratio(np.array(hit), np.array(chain)))

    assert 1 - hit - 1e-12 <= whole <= 1


@settings(max_examples=40, deadline=None)
@given(whole=st.floats(0, 1), plain=st.floats(0.9, 20), delta=st.floats(0.9, 80))
def test_mixed_ratio_lies_between_its_parts(whole, plain, delta):
    value = float(mixed(np.array(whole), np.array(plain), np.array(delta)))

    assert min(plain, delta) - 1e-9 <= value <= max(plain, delta) + 1e-9


def test_longer_chains_cost_more_recovery_without_bound_on_availability():
    outage = mean_outage_s(np.full(3, 1e-3), np.array([1.0, 100.0, 1e6]))

    assert (np.diff(outage) > 0).all()
    assert outage[2] <= 0.5e6


def test_larger_chunks_encode_faster_and_arrive_later():
    chunk = np.geomspace(1e3, 4e6, 20)
    rate = np.full(20, 50.0)

    speed = with_chunk_overhead(np.full(20, 500.0), chunk)
    wait = fill_s(np.full(20, 8.0), chunk, rate, np.full(20, 30.0))

    assert (np.diff(speed) > 0).all()
    assert (np.diff(wait) > 0).all()
    assert speed[-1] < 500.0


def test_pipeline_runs_at_its_slowest_stage_which_is_fully_busy():
    rates = np.random.default_rng(1).uniform(1, 100, (4, 50))

    result = pipeline_rate(
        Stages(read_mb_s=rates[0], encode_mb_s=rates[1], send_mb_s=rates[2], decode_mb_s=rates[3])
    )

    np.testing.assert_array_equal(result.user_mb_s, rates.min(axis=0))
    busiest = np.maximum.reduce(
        [result.encode_busy_ratio, result.send_busy_ratio, result.decode_busy_ratio]
    )
    assert (busiest <= 1).all()


def test_money_is_linear_in_bytes_and_in_processor_time():
    base = money_usd(np.array(10.0), np.array(5.0), np.array(0.05), np.array(0.04))
    double = money_usd(np.array(20.0), np.array(10.0), np.array(0.05), np.array(0.04))

    assert double == pytest.approx(2 * base)


def test_transport_price_is_flat_in_streams_beyond_a_few():
    seconds = transport_cpu_s(np.full(3, 125.0), np.array([1.0, 64.0, 512.0]))

    assert seconds[0] < seconds[1]
    assert seconds[2] == pytest.approx(seconds[1], rel=0.01)


def test_higher_confidence_allocates_less_and_never_nothing():
    confidence = np.linspace(0.5, 0.99, 20)

    allocated = allocation_mbps(np.full(20, 100.0), np.full(20, 80.0), confidence)

    assert (np.diff(allocated) <= 0).all()
    assert (allocated >= 5.0).all()


def test_unchanged_allocation_costs_nothing_to_keep():
    assert change_cost_mbps(np.zeros(1), np.full(1, 100.0), np.full(1, 10.0))[0] == 0.0


@settings(max_examples=40, deadline=None)
@given(weights=st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_shares_sum_to_one_whatever_the_weights(weights):
    share = shares_of(np.array([weights]))

    assert share.sum() == pytest.approx(1.0)
    assert ((share == 0) | (share >= 0.02 - 1e-12)).all()
