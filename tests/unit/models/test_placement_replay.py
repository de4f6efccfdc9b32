from dataclasses import replace

import numpy as np
import pytest
from tiny_placement import SMALL, requests, tiny_models

from novacron.models.placement.arrivals import Requests
from novacron.models.placement.audit import Audit
from novacron.models.placement.packing import OFF, Gate
from novacron.models.placement.replay import Nodes, Replay
from novacron.models.placement.scoring import gain_share
from novacron.models.placement.training import Times, choose_gate, curves_of, follow_clusters

HOST = (16.0, 64.0, 0.0, 0.0, 0.0)
ORACLE = Gate(rule="buckets", scale_s=600.0, least_gain=0.0)


def asked(rows, cut_s=100.0):
    """Rows of arrival, end, cores, GB, devices, application, most on one node."""
    table = np.array(rows, dtype=float)
    amount_NR = np.zeros((len(table), 5))
    amount_NR[:, 0], amount_NR[:, 1], amount_NR[:, 4] = table[:, 2], table[:, 3], table[:, 4]
    return Requests(
        arrived_s=table[:, 0],
        end_s=table[:, 1],
        amount_NR=amount_NR,
        batch_N=np.arange(len(table)),
        gpus_N=np.ceil(table[:, 4]).astype(np.int64),
        app_N=table[:, 5].astype(np.int64),
        max_per_node_N=table[:, 6].astype(np.int64),
        cut_s=cut_s,
    )


def replay(found, rule, nodes=None, **changes):
    settings = {"starts_s": -1.0, "score_from_s": 0.0} | changes
    return Replay(found, nodes or Nodes.alike(6, HOST), rule, **settings).run()


def test_nodes_in_use_are_integrated_over_time_by_hand():
    found = asked([(0, 50, 10, 4, 0, -1, 0), (20, 80, 10, 4, 0, -1, 0)])

    run = replay(found, "best_fit")

    # One node for 20 s, two for 30 s, one for 30 s, none for 20 s.
    assert run.active_nodes == pytest.approx((20 + 60 + 30) / 100)
    assert run.fluid_bound == pytest.approx((50 + 60) * (10 / 16) / 100)
    np.testing.assert_array_equal(run.node_N, [0, 1])


def test_each_rule_chooses_as_its_name_says():
    # Three nodes in use with 6, 4 and 7 cores left, then one more.
    found = asked(
        [
            (0, 99, 10, 9, 0, -1, 0),
            (1, 99, 12, 9, 0, -1, 0),
            (2, 99, 9, 9, 0, -1, 0),
            (3, 99, 4, 1, 0, -1, 0),
        ]
    )
    chosen = {
        rule: int(replay(found, rule).node_N[3])
        for rule in ("first_fit", "best_fit", "worst_fit", "least_loaded")
    }

    assert chosen == {"first_fit": 0, "best_fit": 1, "worst_fit": 2, "least_loaded": 2}


def test_the_oracle_puts_together_what_ends_together():
    # A long and a short resident; the newcomer is long, and fits better beside the short one.
    found = asked(
        [(0, 90_000, 9, 9, 0, -1, 0), (1, 600, 10, 9, 0, -1, 0), (2, 80_000, 5, 1, 0, -1, 0)],
        cut_s=100_000.0,
    )

    best = replay(found, "best_fit")
    oracle = replay(found, "lifetime_oracle", gate=ORACLE)

    assert (int(best.node_N[2]), int(oracle.node_N[2])) == (1, 0)
    assert oracle.active_nodes < best.active_nodes


def test_anti_affinity_and_devices_are_kept():
    found = asked([(0, 99, 1, 1, 0, 7, 1), (1, 99, 1, 1, 0, 7, 1), (2, 99, 1, 1, 0.6, -1, 0)] * 1)
    nodes = Nodes(total_HR=np.array([[8, 8, 0, 0, 1.0], [8, 8, 0, 0, 1.0]]), is_fixed=True)
    audit = Audit(found, [tuple(map(float, row)) for row in nodes.total_HR])

    run = replay(found, "first_fit", nodes, auditor=audit)

    assert run.node_N[0] != run.node_N[1]
    assert (audit.placements, audit.infeasible) == (3, 0)


def test_on_fixed_nodes_what_fits_nowhere_is_refused_and_counted():
    found = asked([(0, 99, 8, 8, 0, -1, 0), (1, 99, 8, 8, 0, -1, 0), (2, 99, 1, 1, 0, -1, 0)])

    run = replay(found, "first_fit", Nodes(total_HR=np.array([[9.0, 9, 0, 0, 0]]), is_fixed=True))

    assert (run.rejected, run.placed) == (1, 2)
    np.testing.assert_array_equal(run.node_N, [0, -1, 0])


def test_with_the_gate_off_the_lifetime_rule_is_best_fit():
    part = follow_clusters(requests(), SMALL.lifetimes)[0]
    lives = curves_of(part, tiny_models().lifetimes)

    best = replay(part.requests, "best_fit")
    off = replay(part.requests, "lifetime", lifetimes=lives, gate=OFF)

    np.testing.assert_array_equal(off.node_N, best.node_N)
    assert off.fallbacks > 0


def test_before_it_takes_over_every_rule_is_best_fit():
    part = follow_clusters(requests(), SMALL.lifetimes)[0]
    half_s = 43_200.0
    early_N = part.requests.arrived_s < half_s

    best, worst = (
        replay(part.requests, rule, starts_s=half_s) for rule in ("best_fit", "worst_fit")
    )

    np.testing.assert_array_equal(worst.node_N[early_N], best.node_N[early_N])
    assert (worst.node_N != best.node_N).any()


def test_no_decision_depends_on_what_comes_after_it():
    part = follow_clusters(requests(), SMALL.lifetimes)[0]
    lives = curves_of(part, tiny_models().lifetimes)
    early_N = part.requests.arrived_s < 50_000
    prefix = replace(part.requests.take(early_N), cut_s=50_000.0)

    whole = replay(part.requests, "lifetime", lifetimes=lives, gate=ORACLE)
    cut = replay(
        prefix,
        "lifetime",
        lifetimes=replace(lives, group_N=lives.group_N[early_N]),
        gate=ORACLE,
    )

    np.testing.assert_array_equal(cut.node_N, whole.node_N[early_N])


def test_every_placement_of_a_replay_passes_the_independent_checker():
    part = follow_clusters(requests(), SMALL.lifetimes)[0]
    for rule in ("random", "lifetime_oracle"):
        audit = Audit(part.requests, [HOST] * 12)
        replay(part.requests, rule, Nodes.alike(12, HOST), gate=ORACLE, auditor=audit)
        assert audit.infeasible == 0
        assert audit.placements == len(part.requests)


def test_the_gate_is_set_within_the_training_time():
    parts = follow_clusters(requests(days=1.5), SMALL.lifetimes)
    times = Times.of(requests(days=1.5), SMALL.lifetimes)
    changed = [
        replace(
            part,
            requests=replace(
                part.requests,
                end_s=np.where(part.requests.end_s > times.trained_s, np.inf, part.requests.end_s),
            ),
        )
        for part in parts
    ]

    assert choose_gate(changed, times, SMALL.lifetimes) == choose_gate(
        parts, times, SMALL.lifetimes
    )


def test_the_share_of_the_oracle_gain_is_a_ratio_of_sums():
    rng = np.random.default_rng(0)
    best, ours, oracle = (np.array(x, float) for x in ([10, 20], [9, 19], [8, 18]))

    assert gain_share(best, ours, oracle, rng).value == pytest.approx(0.5)
    assert gain_share(best, oracle, oracle, rng).value == pytest.approx(1.0)
    assert gain_share(best, best, best, rng).value == 0.0
