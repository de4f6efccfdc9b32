import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_envs.physics.quantities import BBR, CUBIC, RENO
from rl_envs.physics.ramp import overshoot_ratio, ramp_lost_s, transfer_time_s
from rl_envs.physics.tcp_link import Link, Sender, buffer_utilisation, steady_flow
from rl_envs.physics.tcp_response import (
    burst_events,
    cubic_window_pkts,
    events_for_window,
    loss_events,
    random_loss_window_pkts,
    reno_window_pkts,
    timeout_factor,
    window_pkts,
)
from rl_envs.physics.tcp_start import climb_deficit_ratio, goodput_between, surplus_pkts

BASE = {
    "capacity_mbps": 100.0,
    "rtt_ms": 80.0,
    "loss_ratio": 1e-4,
    "burst_pkts": 1.0,
    "buffer_bdp": 1.0,
    "cross_flows": 0.0,
    "window_bytes": 6e7,
}


def lane(streams=1.0, algorithm=CUBIC, pacing_mbps=np.inf, **link):
    """Link and sender over any parameter given as a list; the rest are broadcast."""
    given_values = BASE | link | {"streams": streams, "algorithm": algorithm, "p": pacing_mbps}
    arrays = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(v, float)) for v in given_values.values())
    )
    named = dict(zip(given_values, (a.copy() for a in arrays), strict=True))
    sender = Sender(
        streams=named.pop("streams"), algorithm=named.pop("algorithm"), pacing_mbps=named.pop("p")
    )
    return Link(**named), sender


def flow(streams=1.0, algorithm=CUBIC, pacing_mbps=np.inf, **link):
    """Steady state of `lane`."""
    return steady_flow(*lane(streams, algorithm, pacing_mbps, **link))


def between(from_s, to_s, streams=1.0, algorithm=CUBIC, **link):
    """Mean goodput between two ages."""
    path, sender = lane(streams, algorithm, **link)
    ages = (np.full_like(path.rtt_ms, age) for age in (from_s, to_s))
    return goodput_between(steady_flow(path, sender), path, sender, *ages)


links = st.fixed_dictionaries(
    {
        "capacity_mbps": st.floats(2, 10_000),
        "rtt_ms": st.floats(0.1, 400),
        "loss_ratio": st.floats(1e-8, 0.1),
        "burst_pkts": st.floats(1, 16),
        "buffer_bdp": st.floats(0.05, 8),
        "cross_flows": st.integers(0, 40).map(float),
        "window_bytes": st.floats(6e4, 3e7),
    }
)
algorithms = st.sampled_from([CUBIC, BBR, RENO])


@settings(max_examples=60, deadline=None)
@given(link=links, algorithm=algorithms, streams=st.integers(1, 512).map(float))
def test_flow_never_exceeds_the_link_the_windows_or_probability(link, algorithm, streams):
    result = flow(streams, algorithm, **link)

    payload = link["capacity_mbps"] * 1448 / 1500
    assert 0 < result.goodput_mbps[0] <= payload
    assert result.goodput_mbps[0] <= streams * link["window_bytes"] * 8e-3 / link["rtt_ms"] + 1e-9
    assert 0 <= result.cross_mbps[0] <= payload
    assert result.goodput_mbps[0] + result.cross_mbps[0] <= payload * (1 + 1e-9)
    assert link["loss_ratio"] * 0.999 <= result.retransmit_ratio[0] < 1
    assert 0 <= result.queue_ms[0] <= link["buffer_bdp"] * link["rtt_ms"] * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(link=links, algorithm=st.sampled_from([CUBIC, RENO]), streams=st.integers(1, 64).map(float))
def test_more_random_loss_never_helps_a_loss_based_flow_alone(link, algorithm, streams):
    link = link | {"cross_flows": 0.0, "loss_ratio": np.geomspace(1e-7, 0.1, 30)}

    goodput = flow(streams, algorithm, **link).goodput_mbps

    assert (np.diff(goodput) <= 1e-9 * goodput[:-1]).all()


@settings(max_examples=40, deadline=None)
@given(link=links, algorithm=st.sampled_from([CUBIC, RENO]))
def test_more_streams_never_carry_less_for_a_loss_based_sender(link, algorithm):
    goodput = flow(2.0 ** np.arange(10), algorithm, **link).goodput_mbps

    assert (np.diff(goodput) >= -1e-9 * goodput[:-1]).all()


@settings(max_examples=40, deadline=None)
@given(link=links, algorithm=algorithms, streams=st.integers(1, 64).map(float))
def test_more_capacity_never_carries_less_without_cross_traffic(link, algorithm, streams):
    link = link | {"capacity_mbps": np.geomspace(2, 10_000, 30), "cross_flows": 0.0}

    goodput = flow(streams, algorithm, **link).goodput_mbps

    assert (np.diff(goodput) >= -1e-9 * goodput[:-1]).all()


def test_loss_limited_streams_add_up_until_the_link_is_full():
    goodput = flow([1, 2, 4, 8, 1024], CUBIC, loss_ratio=0.01, rtt_ms=200).goodput_mbps

    np.testing.assert_allclose(goodput[1:4] / goodput[0], [2, 4, 8], rtol=1e-12)
    assert goodput[4] == pytest.approx(100 * 1448 / 1500 * 0.99, rel=0.02)


def test_window_limit_gives_window_over_round_trip():
    goodput = flow(3, BBR, window_bytes=100_000.0, rtt_ms=100.0).goodput_mbps

    assert goodput[0] == pytest.approx(3 * 100_000 * 8 / 0.1 / 1e6)


def test_window_limited_share_is_reported_as_limited():
    result = flow(1, [CUBIC, BBR], window_bytes=1e5, loss_ratio=1e-8)

    assert (result.window_limited_ratio == 1).all()


def test_bursts_hurt_less_than_single_losses_of_the_same_rate():
    goodput = flow(1, CUBIC, loss_ratio=0.01, burst_pkts=[1, 4, 16]).goodput_mbps

    assert (np.diff(goodput) > 0).all()


def test_one_bbr_stream_holds_a_lossy_link_that_cubic_loses():
    cubic, bbr = flow(1, [CUBIC, BBR], loss_ratio=0.02, rtt_ms=150).goodput_mbps

    assert bbr > 0.9 * 100 * 1448 / 1500 * 0.98
    assert cubic < 0.05 * bbr


def test_bbr_collapses_when_probing_cannot_outrun_the_loss():
    goodput = flow(1, BBR, loss_ratio=[0.15, 0.19, 0.3, 0.4]).goodput_mbps

    assert goodput[1] > 0.9 * goodput[0]
    assert goodput[3] < 0.2 * goodput[0]


def test_equal_cubic_flows_share_a_full_link_equally():
    result = flow([1, 4, 12], CUBIC, cross_flows=4.0, loss_ratio=1e-7, capacity_mbps=50.0)

    share = result.goodput_mbps / (result.goodput_mbps + result.cross_mbps)
    np.testing.assert_allclose(share, [1 / 5, 4 / 8, 12 / 16], rtol=1e-6)


def test_several_bbr_flows_starve_loss_based_ones_in_a_short_buffer():
    result = flow([1, 4], BBR, cross_flows=4.0, loss_ratio=1e-7)

    share = result.goodput_mbps / (result.goodput_mbps + result.cross_mbps)
    assert share[0] == pytest.approx(0.78, abs=0.08)
    assert share[1] > 0.95


def test_deep_buffer_lets_loss_based_flows_keep_their_half():
    shares = []
    for depth in (2.0, 4.0, 8.0):
        result = flow(1, BBR, cross_flows=4.0, loss_ratio=1e-7, buffer_bdp=depth)
        shares.append(result.cross_mbps[0] / (result.cross_mbps[0] + result.goodput_mbps[0]))

    assert shares == sorted(shares)
    assert shares[-1] > 0.4


def test_reno_gets_less_than_cubic_beside_cubic_on_a_long_fat_path():
    reno, cubic = flow(
        2, [RENO, CUBIC], cross_flows=2.0, loss_ratio=1e-9, rtt_ms=200.0, capacity_mbps=500.0
    ).goodput_mbps

    assert reno < 0.8 * cubic


def test_full_link_of_many_streams_doubles_the_round_trip_at_one_bdp_of_buffer():
    queue = flow([4, 16, 64], [CUBIC, BBR, BBR], loss_ratio=1e-7).queue_ms

    assert (queue > 0.75 * 80).all()


def test_single_bbr_stream_keeps_the_queue_short():
    assert flow(1, BBR, loss_ratio=1e-7).queue_ms[0] < 0.3 * 80


def test_streams_make_their_own_loss_once_the_link_is_full():
    retransmit = flow([1, 16, 64, 256], CUBIC, loss_ratio=1e-7, rtt_ms=20).retransmit_ratio

    assert (np.diff(retransmit) > 0).all()
    assert 0.02 < retransmit[2] < 0.09
    assert 0.08 < retransmit[3] < 0.35


def test_pacing_below_capacity_removes_queue_and_own_loss():
    paced, free = (
        flow(16, CUBIC, pacing_mbps=pacing, loss_ratio=1e-7) for pacing in (60.0, np.inf)
    )

    assert paced.goodput_mbps[0] == pytest.approx(60.0)
    assert paced.queue_ms[0] < 0.01 * free.queue_ms[0]
    assert paced.retransmit_ratio[0] < 0.01 * free.retransmit_ratio[0]


@pytest.mark.parametrize("algorithm", [CUBIC, RENO])
def test_utilisation_grows_with_buffer_and_flows_up_to_one(algorithm):
    buffers = np.linspace(0, 2, 21)
    one = buffer_utilisation(buffers, np.ones(21), np.full(21, algorithm))
    ten = buffer_utilisation(buffers, np.full(21, 10.0), np.full(21, algorithm))

    assert (np.diff(one) >= 0).all()
    assert (ten >= one).all()
    assert one[-1] == 1.0


@settings(max_examples=50, deadline=None)
@given(
    window=st.floats(16, 1e5),
    rtt_ms=st.floats(1, 400),
    algorithm=st.sampled_from([CUBIC, RENO]),
)
def test_response_function_and_its_inverse_agree_where_windows_are_not_tiny(
    window, rtt_ms, algorithm
):
    arrays = (np.array([algorithm]), np.array([window]), np.array([rtt_ms]))

    events = events_for_window(*arrays)

    back = window_pkts(arrays[0], events, arrays[2])
    np.testing.assert_allclose(back, window, rtol=0.01)


@pytest.mark.parametrize("algorithm", [RENO, CUBIC])
def test_random_losses_leave_larger_windows_than_periodic_ones_of_the_same_rate(algorithm):
    events = np.geomspace(1e-6, 1e-3, 20)
    arrays = (np.full(20, algorithm), events, np.full(20, 80.0))

    ratio = random_loss_window_pkts(*arrays) / window_pkts(*arrays)

    assert ((ratio > 1.0) & (ratio < 1.2)).all()


def test_random_loss_window_of_reno_has_the_constant_of_ott_and_mathis():
    window = random_loss_window_pkts(np.full(1, RENO), np.full(1, 1e-10), np.full(1, 50.0))

    assert window[0] / reno_window_pkts(np.array(1e-10)) == pytest.approx(
        1.31 / np.sqrt(1.5), 1e-3
    )


def test_bursts_count_for_more_where_they_take_more_of_the_window():
    events = burst_events(np.full(3, 1e-3), np.full(3, 8.0), np.array([1e6, 70.0, 10.0]), 4.0)

    assert events[0] == pytest.approx(1e-3, rel=1e-3)
    assert (np.diff(events) > 0).all()


@settings(max_examples=50, deadline=None)
@given(
    first=st.floats(1, 1e5),
    steady=st.floats(2, 1e4),
    melt=st.floats(1e-6, 0.1),
    middle_s=st.floats(0.1, 100),
)
def test_surplus_of_two_ages_adds_up_and_never_is_negative(first, steady, melt, middle_s):
    def surplus(from_s, to_s):
        values = (steady, first, melt, 80.0, from_s, to_s)
        return surplus_pkts(*(np.array([value]) for value in values))[0]

    early, late = surplus(0.0, middle_s), surplus(middle_s, 200.0)

    assert early >= late * middle_s / 200.0 - 1e-6
    assert early + late == pytest.approx(surplus(0.0, 200.0), rel=1e-6, abs=1e-6)


def test_surplus_solves_its_differential_equation():
    steady, first, melt, rtt_s = 40.0, 800.0, 5e-4, 0.1
    window, sent, step = first, 0.0, 1e-3
    for _ in range(int(30.0 / step)):
        sent += (window - steady) * step / rtt_s
        window += melt * (steady**2 - window**2) / rtt_s * step
    values = (steady, first, melt, 1e3 * rtt_s, 0.0, 30.0)

    law = surplus_pkts(*(np.array([value]) for value in values))[0]

    assert law == pytest.approx(sent, rel=0.01)


@pytest.mark.parametrize("algorithm", [RENO, CUBIC])
@pytest.mark.parametrize("first", [80.0, 300.0, 860.0])
def test_climb_deficit_is_the_area_above_the_window(algorithm, first):
    full, rtt_s = 600.0, 0.08
    times = np.linspace(0.0, 40.0, 400_001)
    if algorithm == RENO:
        window = 0.5 * first + times / rtt_s
    else:
        cubic = 0.4 * (times - np.cbrt(0.3 * first / 0.4)) ** 3 + first
        friendly = 0.7 * first + 0.9 / 1.7 * times / rtt_s
        window = cubic if (cubic >= full).sum() > (friendly >= full).sum() else friendly
    reached = np.maximum.accumulate(window >= full)
    empty = np.where(reached, 0.0, full - window)[50_000:].mean() / full
    values = (algorithm, full, first, 1e3 * rtt_s, 5.0, 40.0)

    law = climb_deficit_ratio(*(np.array([value]) for value in values))[0]

    assert law == pytest.approx(empty, abs=1e-3)


def test_young_stream_on_a_light_lossy_path_carries_more_than_an_old_one():
    young = between(0.0, 40.0, loss_ratio=1e-3, rtt_ms=200.0)
    old = between(1000.0, 1040.0, loss_ratio=1e-3, rtt_ms=200.0)

    assert young[0] > 1.3 * old[0]
    assert old[0] == pytest.approx(flow(loss_ratio=1e-3, rtt_ms=200.0).goodput_mbps[0], rel=1e-3)


def test_stream_in_a_tenth_of_a_bdp_climbs_for_many_seconds_and_many_streams_do_not():
    one, many = between(0.0, 10.0, [1, 64], loss_ratio=1e-8, buffer_bdp=0.1)

    assert one < 0.7 * flow(loss_ratio=1e-8, buffer_bdp=0.1).goodput_mbps[0]
    assert many > 0.85 * flow(64, loss_ratio=1e-8, buffer_bdp=0.1).goodput_mbps[0]


def test_full_buffer_of_a_bdp_needs_no_climb():
    start = between(0.0, 5.0, [1, 8], loss_ratio=1e-8)

    np.testing.assert_allclose(start, flow([1, 8], loss_ratio=1e-8).goodput_mbps, rtol=1e-6)


def test_cubic_scales_with_time_as_its_equation_says():
    windows = cubic_window_pkts(np.full(2, 1e-7), np.array([100.0, 1600.0]))

    assert windows[1] / windows[0] == pytest.approx(16**0.75)


def test_timeouts_take_nothing_without_loss_and_nearly_all_under_heavy_loss():
    factor = timeout_factor(np.array([1e-9, 0.01, 0.1, 0.5]), np.full(4, 50.0))

    assert factor[0] == pytest.approx(1.0, abs=1e-3)
    assert (np.diff(factor) < 0).all()
    assert factor[3] < 0.03


def test_loss_events_never_exceed_losses():
    assert (loss_events(np.full(3, 0.01), np.array([0.5, 1.0, 8.0])) <= 0.01).all()


@settings(max_examples=50, deadline=None)
@given(window=st.floats(1, 1e6), rtt_ms=st.floats(0.1, 400))
def test_starting_a_stream_costs_at_least_its_handshakes(window, rtt_ms):
    lost = float(ramp_lost_s(np.array(window), np.array(rtt_ms)))

    assert lost >= 2 * rtt_ms * 1e-3 - 1e-12
    assert lost <= (2 + np.log2(max(window / 10, 1)) + 1) * rtt_ms * 1e-3


def test_overshoot_never_drops_more_than_was_delivered():
    share = overshoot_ratio(np.array([1e9, 1.0]), np.array([10.0, 1e9]), np.ones(2))

    assert share[0] == 0.5
    assert share[1] < 1e-8


def test_short_transfer_is_bound_by_round_trips_and_long_one_by_rate():
    size = np.array([1e4, 1e10])
    seconds = transfer_time_s(size, np.full(2, 100.0), np.full(2, 100.0), np.full(2, 800.0))

    assert 0.2 < seconds[0] < 0.4
    assert seconds[1] == pytest.approx(800, rel=0.01)
