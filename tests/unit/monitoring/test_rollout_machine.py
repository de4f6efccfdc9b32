import numpy as np
import pytest

from novacron.monitoring.rollouts.counts import ArmCounts, bin_upper_s, bins_of_ratio, latency_bin
from novacron.monitoring.rollouts.machine import abort, advance
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.state import Rollout, from_json, to_json

PLAN = RolloutPlan(window_s=10, min_requests=50, min_compared=10)


class Traffic:
    """Ten requests a look for each percent... of a simulated clock: counts go where the split says."""

    def __init__(self, plan=PLAN, **rollout):
        fields = {"id": "r", "model": "m", "stable": "1", "tried": ("2",), "plan": plan}
        self.rollout = Rollout(**fields | {"started_at_s": 0.0, "who": "t"} | rollout)
        self.totals = {}
        self.now_s = 1.0
        self.rng = np.random.default_rng(0)

    def look(self, n=100, *, errors=0.0, slow=1.0, differs=0.0, stable_errors=0.0, fallbacks=0.0):
        self.now_s += 1.0
        arms = self.totals.setdefault(self.rollout.stage, {})
        for version, share in self.rollout.split.shares:
            is_tried = version != self.rollout.stable
            count = round(share * n)
            counts = ArmCounts(requests=count, rows=count)
            counts.errors = int(self.rng.binomial(count, errors if is_tried else stable_errors))
            counts.fallback_rows = int(self.rng.binomial(count, fallbacks if is_tried else 0.0))
            for _ in range(count - counts.errors):
                factor = slow if is_tried else 1.0
                counts.observe_latency(0.01 * factor * self.rng.lognormal(0, 0.4))
            if is_tried:
                counts.compared = n // 10
                counts.differing = int(self.rng.binomial(counts.compared, differs))
            arms.setdefault(version, ArmCounts()).add(counts)
        return advance(self.rollout, {"replica": self.totals}, self.now_s)

    def run(self, looks, **world):
        for _ in range(looks):
            self.look(**world)
            if self.rollout.status != "running":
                break
        return self.rollout


def steps_of(rollout):
    return [decision.what for decision in rollout.decisions]


def test_a_good_version_goes_up_step_by_step_and_is_promoted():
    traffic = Traffic()
    seen = set()

    for _ in range(100):
        seen.add(traffic.rollout.split.share("2"))
        traffic.look()

    assert seen == {0.1, 0.5, 1.0}
    assert traffic.rollout.status == "promoting"
    assert steps_of(traffic.rollout) == ["stage", "stage", "promote"]
    assert traffic.rollout.split.share("2") == 1.0


@pytest.mark.parametrize(
    ("world", "gate"),
    [
        ({"errors": 0.3}, "errors"),
        ({"slow": 3.0}, "latency"),
        ({"differs": 1.0}, "answers"),
        ({"fallbacks": 0.9}, "fallbacks"),
    ],
)
def test_a_bad_version_is_taken_back_within_the_first_window_at_ten_percent(world, gate):
    rollout = Traffic().run(40, **world)

    assert rollout.status == "rolled_back"
    assert gate in rollout.decisions[-1].why
    assert rollout.window <= 1
    assert rollout.exposed_ratio <= 0.1
    assert rollout.split.share("1") == 1.0


def test_a_window_without_traffic_neither_promotes_nor_rolls_back():
    traffic = Traffic()

    for _ in range(500):
        traffic.look(n=0)

    assert traffic.rollout.status == "running"
    assert (traffic.rollout.stage, traffic.rollout.decisions) == (0, [])


def test_too_few_requests_hold_the_stage_however_long_it_takes():
    traffic = Traffic()

    for _ in range(40):
        traffic.look(n=10)
    assert traffic.rollout.stage == 0
    for _ in range(12):
        traffic.look(n=10)

    assert traffic.rollout.stage == 1


def test_errors_that_the_stable_version_makes_too_are_no_reason_to_go_back():
    rollout = Traffic().run(300, errors=0.05, stable_errors=0.05)

    assert rollout.status != "rolled_back"
    assert rollout.stage >= 1


def test_a_version_that_turns_bad_at_half_the_traffic_is_taken_back_there():
    traffic = Traffic()
    while traffic.rollout.stage == 0:
        traffic.look()

    rollout = traffic.run(20, errors=0.2)

    assert rollout.status == "rolled_back"
    assert rollout.stage == 1


def test_a_version_that_cannot_be_shown_good_is_given_up_after_the_windows_allowed():
    plan = PLAN.model_copy(update={"max_windows": 3, "min_compared": 10_000})

    rollout = Traffic(plan).run(200)

    assert rollout.status == "rolled_back"
    assert steps_of(rollout) == ["hold", "hold", "roll_back"]
    assert "not shown good in 3 windows" in rollout.decisions[-1].why


def test_without_promotion_a_version_that_passed_waits_at_full_share():
    rollout = Traffic(PLAN.model_copy(update={"promote": False})).run(100)

    assert rollout.status == "passed"
    assert rollout.split.share("2") == 1.0
    assert rollout.is_live


def test_a_shadow_answers_nobody_and_ends_with_a_report():
    plan = PLAN.model_copy(update={"mode": "shadow"})
    traffic = Traffic(plan)
    assert traffic.rollout.split.shares == (("1", 1.0),)
    for _ in range(30):
        counts = ArmCounts(requests=50, rows=50, compared=50)
        for _ in range(50):
            counts.observe_latency(0.01)
        arms = traffic.totals.setdefault(0, {})
        arms.setdefault("2", ArmCounts()).add(counts)
        traffic.look()

    assert traffic.rollout.status == "finished"
    assert traffic.rollout.exposed_ratio == 0.0


def test_counts_of_several_replicas_add_up_and_a_dead_one_keeps_its_last():
    traffic = Traffic()
    one = {0: {"1": ArmCounts(requests=90), "2": ArmCounts(requests=10)}}
    other = {0: {"1": ArmCounts(requests=45), "2": ArmCounts(requests=5)}}

    for now_s in (1.0, 2.0):
        advance(traffic.rollout, {"a": one, "dead": other}, now_s)

    assert traffic.rollout.answered == {"1": 135, "2": 15}
    assert traffic.rollout.exposed_ratio == pytest.approx(0.1)


def test_a_rollout_goes_on_from_its_saved_state_as_if_nothing_had_happened():
    through, restarted = Traffic(), Traffic()

    for _ in range(25):
        through.look(slow=1.1)
        restarted.look(slow=1.1)
        restarted.rollout = from_json(to_json(restarted.rollout), "file")

    assert restarted.rollout == through.rollout


def test_an_aborted_rollout_decides_nothing_more():
    traffic = Traffic()
    traffic.look()
    abort(traffic.rollout, "changed my mind", 5.0, "me")

    assert traffic.look(errors=1.0) == []
    assert traffic.rollout.status == "aborted"
    assert traffic.rollout.split.share("1") == 1.0


def test_eight_bins_of_latency_make_the_margin_of_a_fifth():
    assert bins_of_ratio(1.2) == 8
    assert latency_bin(0.012) - latency_bin(0.01) == 8
    assert 0.01 <= bin_upper_s(latency_bin(0.01)) <= 0.01 * 1.024


def ab_traffic(ratio, looks, seed=1, **changes):
    fields = {
        "mode": "ab",
        "weights": {"1": 0.5, "2": 0.5},
        "min_requests": 200,
        "compare_share": 0,
        "measure": "outcome",
    }
    plan = RolloutPlan(**fields | changes)
    rollout = Traffic(plan).rollout
    rng, totals = np.random.default_rng(seed), {0: {"1": ArmCounts(), "2": ArmCounts()}}
    for look in range(looks):
        for version, factor in (("1", 1.0), ("2", ratio)):
            arm = totals[0][version]
            arm.requests += 50
            for _ in range(50):
                arm.observe_unit(int(rng.integers(64)), factor * rng.exponential())
        advance(rollout, {"replica": totals}, float(look + 1))
        if rollout.status != "running":
            break
    return rollout


def test_an_ab_test_names_the_version_with_the_smaller_loss():
    assert (ab_traffic(0.6, 200).winner, ab_traffic(0.6, 200).status) == ("2", "promoting")
    worse = ab_traffic(1.7, 200)
    assert (worse.winner, worse.status) == ("1", "finished")
    assert "difference" in worse.decisions[-1].why


def test_an_ab_test_of_the_same_version_names_no_winner_however_often_one_looks():
    winners = [ab_traffic(1.0, 120, seed).winner for seed in range(20)]

    assert winners.count("") >= 18


def test_an_ab_test_ends_without_a_winner_at_its_limit():
    rollout = ab_traffic(1.0, 200, max_requests=2_000)

    assert (rollout.status, rollout.winner) == ("finished", "")
