"""Physics of one link and one node: each cause moves the metrics the way the world does."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from novacron.contracts.telemetry import DWCP_MODES
from novacron.telemetry.synthesize.config import MONDAY
from novacron.telemetry.synthesize.faults import (
    LINK_FAULTS,
    NODE_FAULTS,
    QUIET_LEAD_S,
    Fault,
    effect,
    growing_effect,
    schedule,
)
from novacron.telemetry.synthesize.links import LinkProfile, simulate_link
from novacron.telemetry.synthesize.nodes import (
    ELECTION_MS,
    NodeProfile,
    pba_error,
    quorum_ms,
    simulate_node,
)
from novacron.telemetry.synthesize.streams import Clock, Streams

N = 600
CLOCK = Clock(start=MONDAY, step_s=60.0, n=N)
FLAT = np.ones(N)
WAN = LinkProfile(
    link_id="a>b",
    src="a",
    dst="b",
    capacity_mbps=400.0,
    propagation_ms=80.0,
    base_loss_ratio=1e-5,
    demand_mbps=120.0,
)
METRO = replace(WAN, link_id="c>d", capacity_mbps=8000.0, propagation_ms=3.0, demand_mbps=2500.0)


def run(profile=WAN, faults=(), src=FLAT, dst=FLAT, seed=5):
    return simulate_link(
        profile, CLOCK, Streams(seed), src_activity=src, dst_activity=dst, faults=faults
    )


def fault(kind, first=200, stop=300, severity=1.0):
    return Fault(entity_id="a>b", kind=kind, first=first, stop=stop, severity_ratio=severity)


def test_a_busier_far_end_means_longer_queues_and_less_room():
    calm, busy = run(), run(dst=np.full(N, 2.5))

    assert busy.rtt_ms.mean() > calm.rtt_ms.mean()
    assert busy.jitter_ms.mean() > calm.jitter_ms.mean()
    assert busy.available_mbps.mean() < calm.available_mbps.mean()
    assert (busy.load >= calm.load - 1e-9).all()


def test_more_demand_means_more_traffic_and_longer_round_trips():
    little, much = run(src=np.full(N, 0.3)), run(src=np.full(N, 3.0))

    assert much.bandwidth_mbps.mean() > 2 * little.bandwidth_mbps.mean()
    assert much.rtt_ms.mean() > little.rtt_ms.mean()
    assert much.queue_depth_pkts.mean() > little.queue_depth_pkts.mean()


def test_the_round_trip_rises_before_the_rate_falls():
    rising = np.linspace(0.2, 3.5, N)
    quiet = replace(WAN, mood_s=1e9, burst_off_s=1e12, cross_swing_ratio=0.0, regime_stay_s=1e12)

    state = run(quiet, dst=rising)
    knee = np.argmax(state.bandwidth_mbps < 0.8 * state.bandwidth_mbps[:50].mean())

    assert knee > 50
    assert state.rtt_ms[knee - 20 : knee].mean() > 1.05 * state.rtt_ms[:50].mean()


def test_the_rate_never_exceeds_what_is_left_of_the_capacity():
    state = run(replace(WAN, greedy=True))

    assert (state.bandwidth_mbps <= state.available_mbps * 1.1).all()
    assert state.bandwidth_mbps.mean() > 0.8 * state.available_mbps.mean()


def test_a_longer_path_has_a_longer_round_trip_and_a_larger_window():
    near, far = run(), run(replace(WAN, propagation_ms=240.0))

    assert np.median(far.rtt_ms - near.rtt_ms) == pytest.approx(160, rel=0.05)
    assert np.median(far.cwnd_pkts) > 1.5 * np.median(near.cwnd_pkts)
    assert far.streams.mean() > near.streams.mean()


def test_loss_slows_a_loss_based_transport_and_spares_bbr():
    clean, lossy = run(METRO), run(replace(METRO, base_loss_ratio=0.02))
    wan_clean, wan_lossy = run(), run(replace(WAN, base_loss_ratio=0.02))

    assert lossy.bandwidth_mbps.mean() < 0.8 * clean.bandwidth_mbps.mean()
    assert wan_lossy.bandwidth_mbps.mean() > 0.9 * wan_clean.bandwidth_mbps.mean()


def test_loss_is_what_was_sent_again_over_what_was_sent():
    state = run(replace(WAN, base_loss_ratio=0.01))

    sent = state.retransmits / np.maximum(state.loss_ratio, 1e-12)
    rate_mbps = sent * 1460 * 8 / 60 / 1e6
    np.testing.assert_allclose(rate_mbps, state.bandwidth_mbps / 0.99, rtol=0.05)


def test_the_mode_follows_round_trip_and_speed():
    assert DWCP_MODES[np.bincount(run().mode).argmax()] == "internet"
    assert DWCP_MODES[np.bincount(run(METRO).mode).argmax()] == "datacenter"
    middle = replace(METRO, propagation_ms=25.0)
    assert DWCP_MODES[np.bincount(run(middle).mode).argmax()] == "hybrid"


def test_streams_stay_within_the_bounds_of_the_mode():
    assert set(np.unique(run().streams)) <= set(range(4, 17))
    assert run(METRO).streams.min() >= 32


EFFECTS = {
    "congestion": lambda hurt, well: hurt.rtt_ms > well.rtt_ms + 1,
    "loss_burst": lambda hurt, well: hurt.loss_ratio > well.loss_ratio + 0.01,
    "reroute": lambda hurt, well: hurt.rtt_ms > 1.3 * well.rtt_ms,
    "link_flap": lambda hurt, well: hurt.bandwidth_mbps == 0,
    "telemetry_gap": lambda hurt, well: ~hurt.reported,
}


@pytest.mark.parametrize("kind", LINK_FAULTS)
def test_a_link_fault_shows_in_its_interval_and_nowhere_else(kind):
    well, hurt = run(), run(faults=[fault(kind)])

    seen = EFFECTS[kind](hurt, well)

    assert seen[200:300].mean() > 0.9
    assert not seen[:200].any()
    assert not seen[310:].any()
    np.testing.assert_array_equal(hurt.bandwidth_mbps[:200], well.bandwidth_mbps[:200])
    np.testing.assert_array_equal(hurt.retransmits[310:], well.retransmits[310:])


def test_a_harder_fault_hurts_more():
    mild, hard = (run(faults=[fault("loss_burst", severity=s)]) for s in (0.4, 1.0))

    assert hard.loss_ratio[200:300].mean() > 2 * mild.loss_ratio[200:300].mean()


def test_a_link_that_is_down_answers_nothing_rather_than_zero():
    state = run(faults=[fault("link_flap")])
    down = state.bandwidth_mbps == 0

    assert np.isnan(state.rtt_ms[down]).all()
    assert np.isnan(state.jitter_ms[down]).all()
    assert (state.loss_ratio[down] == 1).all()
    assert np.isfinite(state.rtt_ms[~down]).all()


NODE = NodeProfile(
    node_id="a-n00",
    site="a",
    lon_deg=0.0,
    cores=16.0,
    service_ms=10.0,
    load_ratio=0.4,
    mem_base_ratio=0.4,
)


def run_node(faults=(), activity=FLAT, links=None):
    return simulate_node(
        NODE,
        CLOCK,
        Streams(5),
        activity=activity,
        voter_links=links or [run(METRO), run()],
        answers_needed=1,
        faults=faults,
    ).metrics


def test_a_busier_site_works_its_nodes_harder():
    calm, busy = run_node(), run_node(activity=np.full(N, 2.2))

    for name in ("cpu_ratio", "latency_mean_ms", "throughput_rps", "disk_ratio", "net_ratio"):
        assert busy[name].mean() > calm[name].mean(), name
    assert busy["mem_ratio"][60:].mean() > calm["mem_ratio"][60:].mean()


def test_latency_percentiles_are_ordered():
    metrics = run_node()

    assert (metrics["latency_mean_ms"] < metrics["latency_p95_ms"]).all()
    assert (metrics["latency_p95_ms"] < metrics["latency_p99_ms"]).all()


def test_a_saturated_node_sheds_load_as_errors():
    metrics = run_node(activity=np.full(N, 4.0))

    assert metrics["error_ratio"].mean() > 0.2
    assert metrics["cpu_ratio"].mean() > 0.95


NODE_EFFECTS = {
    "cpu_hog": ("cpu_ratio", 0.1),
    "memory_leak": ("mem_ratio", 0.005),
    "disk_full": ("disk_ratio", 0.2),
    "noisy_neighbour": ("cpu_ratio", 0.1),
    "error_burst": ("error_ratio", 0.1),
}


@pytest.mark.parametrize("kind", NODE_EFFECTS)
def test_a_node_fault_shows_in_its_interval_and_nowhere_else(kind):
    column, least = NODE_EFFECTS[kind]
    well, hurt = run_node(), run_node(faults=[fault(kind)])

    gap = hurt[column] - well[column]

    assert (gap[205:300] > least).all()
    np.testing.assert_array_equal(gap[:200], 0)
    np.testing.assert_array_equal(gap[300:], 0)
    assert column in NODE_FAULTS[kind].shows_in


def test_a_leak_grows_until_the_restart():
    leak = run_node(faults=[fault("memory_leak")])["mem_ratio"]

    assert leak[299] > 0.9
    assert leak[299] > leak[250] > leak[205]
    assert leak[300] < 0.6


def test_the_forecast_error_is_that_of_an_ewma_that_never_sees_the_actual():
    rates = np.array([10.0, 20.0, 5.0, 0.0, 8.0])

    level, errors = rates[0], [0.0]
    for before, actual in itertools.pairwise(rates):
        level = 0.3 * before + 0.7 * level
        errors.append(abs(level - actual) / max(actual, 1.0))

    np.testing.assert_allclose(pba_error(rates), errors)


def test_a_commit_waits_for_the_majority_and_not_for_the_slowest():
    near, far = run(METRO), run()
    links = [near, far, run(replace(WAN, link_id="x", propagation_ms=300.0))]

    second = quorum_ms(links, 2)

    assert (second >= np.fmin(near.rtt_ms, far.rtt_ms)).all()
    assert np.median(second) == pytest.approx(np.median(far.rtt_ms), rel=0.02)


def test_a_commit_that_needs_a_dead_voter_waits_for_an_election():
    dead = run(faults=[fault("link_flap")])

    waits = quorum_ms([dead], 1)

    assert (waits[np.isnan(dead.rtt_ms)] == ELECTION_MS).all()


def test_lossier_voters_make_commits_slower():
    clean = run_node(links=[run()])
    lossy = run_node(links=[run(replace(WAN, base_loss_ratio=0.05))])

    assert lossy["acp_commit_ms"].mean() > clean["acp_commit_ms"].mean() + 5


def test_pages_that_change_more_compress_less():
    calm, busy = run_node(), run_node(activity=np.full(N, 2.2))

    assert busy["hde_ratio"].mean() < calm["hde_ratio"].mean()


def test_faults_keep_apart_and_leave_a_quiet_lead():
    week = Clock(start=MONDAY, step_s=60.0, n=7 * 1440)

    faults = schedule(Streams(1), week, entity_id="e", kinds=("cpu_hog",), per_day=6.0)

    assert len(faults) > 20
    assert faults[0].first * 60 >= QUIET_LEAD_S
    for earlier, later in itertools.pairwise(faults):
        assert (later.first - earlier.stop) * 60 >= QUIET_LEAD_S - 60
        assert 0.4 <= later.severity_ratio <= 1


def test_no_faults_are_scheduled_where_none_are_asked():
    assert schedule(Streams(1), CLOCK, entity_id="e", kinds=("cpu_hog",), per_day=0.0) == ()


def test_an_effect_lasts_as_long_as_its_fault():
    hit = [fault("noisy_neighbour", first=2, stop=6, severity=0.8)]

    np.testing.assert_allclose(effect(hit, "noisy_neighbour", 5), [0, 0, 0.4, 0.4, 0.4])
    np.testing.assert_allclose(effect(hit, "cpu_hog", 5), 0)


def test_a_growing_effect_reaches_its_strength_at_the_end():
    hit = [fault("memory_leak", first=2, stop=6, severity=0.8)]

    grown = growing_effect(hit, "memory_leak", 8)

    np.testing.assert_allclose(grown, [0, 0, 0.2, 0.4, 0.6, 0.8, 0, 0])


def test_every_kind_of_fault_is_documented():
    page = (Path(__file__).parents[3] / "docs" / "generator.md").read_text()

    assert all(f"| {kind} |" in page for kind in {*LINK_FAULTS, *NODE_FAULTS})
