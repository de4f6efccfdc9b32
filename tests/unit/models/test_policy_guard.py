import numpy as np
import pytest

from novacron.errors import ConfigError
from novacron.models.policy.config import GuardConfig, canary_length_s
from novacron.models.policy.guard import Advice, Guard
from novacron.params.encode import numbers_of, values_of
from novacron.params.groups import AMST_TRANSPORT

SHIPPED = numbers_of(AMST_TRANSPORT, AMST_TRANSPORT.defaults())
BETTER = numbers_of(
    AMST_TRANSPORT, AMST_TRANSPORT.defaults() | {"streams": 16, "congestion_algorithm": "cubic"}
)


def guard(**settings):
    needs_canary = settings.pop("needs_canary", True)
    return Guard(
        group=AMST_TRANSPORT,
        shipped_D=SHIPPED,
        config=GuardConfig(**settings),
        needs_canary=needs_canary,
    )


def advice(values=BETTER, **facts):
    return Advice(values_D=values, **({"gain_lo_nats": -0.1, "gain_nats": 0.3} | facts))


def test_setting_is_tried_on_a_small_share_before_it_gets_all_of_the_traffic():
    watcher = guard()

    tried = watcher.propose(advice())
    verdict = watcher.judge(0.3)

    assert tried.action == "canary"
    assert np.array_equal(tried.values_D, SHIPPED)
    assert np.array_equal(tried.canary_D, BETTER)
    assert verdict.action == "apply"
    assert np.array_equal(watcher.in_force_D, BETTER)


def test_canary_within_the_margin_changes_nothing_and_brings_a_pause():
    watcher = guard(canary_margin_nats=0.1, cool_down_decisions=2)
    watcher.propose(advice())

    verdict = watcher.judge(0.1)

    assert verdict.action == "hold"
    assert np.array_equal(watcher.in_force_D, SHIPPED)
    reasons = [watcher.propose(advice()).reason for _ in range(3)]
    assert reasons[:2] == ["cooling down", "cooling down"]
    assert "tried" in reasons[2]


@pytest.mark.parametrize("gain", [float("nan"), -1.0, 0.0])
def test_canary_that_measures_no_gain_is_never_applied(gain):
    watcher = guard()
    watcher.propose(advice())

    assert watcher.judge(gain).action == "hold"
    assert np.array_equal(watcher.in_force_D, SHIPPED)


def test_default_against_itself_is_never_applied():
    watcher = guard()

    assert watcher.propose(advice(SHIPPED)).action == "hold"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"is_unfamiliar": True}, "unlike what the policy was trained on"),
        ({"values": np.full(4, np.nan)}, "not finite"),
    ],
)
def test_bad_advice_brings_back_the_defaults_with_the_reason(facts, reason):
    watcher = guard()
    watcher.propose(advice())
    watcher.judge(0.5)

    decision = watcher.propose(advice(**facts))

    assert decision.action == "default"
    assert reason in decision.reason
    assert np.array_equal(watcher.in_force_D, SHIPPED)
    assert watcher.history[-1] == decision


@pytest.mark.parametrize(
    "facts",
    [{"broken_limits": ("cost increase below 0.1",)}, {"gain_nats": 0.0}, {"gain_nats": -0.5}],
)
def test_poor_proposal_keeps_what_a_canary_accepted_and_else_the_defaults(facts):
    tried, fresh, unwatched = guard(), guard(), guard(needs_canary=False)
    tried.propose(advice())
    tried.judge(0.5)
    unwatched.propose(advice())

    decisions = [each.propose(advice(**facts)) for each in (tried, fresh, unwatched)]

    assert [each.action for each in decisions] == ["hold", "default", "default"]
    assert np.array_equal(tried.in_force_D, BETTER)
    assert np.array_equal(unwatched.in_force_D, SHIPPED)


def test_canary_that_shows_the_setting_in_force_losing_takes_it_back():
    watcher = guard()
    watcher.propose(advice())
    watcher.judge(0.5)
    watcher.propose(advice(SHIPPED * 1.0))

    verdict = watcher.judge(-0.3, in_force_gain_nats=-0.4)

    assert verdict.action == "revert"
    assert np.array_equal(watcher.in_force_D, SHIPPED)


def test_numbers_that_are_not_finite_bring_back_the_defaults():
    assert guard().propose(advice(np.full(4, np.nan))).action == "default"


def test_setting_outside_the_table_is_brought_to_values_that_exist():
    watcher = guard(slew_octaves=20.0, slew_share=1.0)
    wild = np.array([1e9, 7.0, 12.3, -4.0])

    tried = watcher.propose(advice(wild)).canary_D

    values = values_of(AMST_TRANSPORT, tried)
    assert AMST_TRANSPORT.check(values) == values
    assert values["streams"] == 512


def test_knobs_move_no_further_than_the_slew_limit_and_choices_at_once():
    watcher = guard(slew_octaves=1.0)
    far = numbers_of(
        AMST_TRANSPORT,
        AMST_TRANSPORT.defaults() | {"streams": 512, "congestion_algorithm": "cubic"},
    )

    streams = []
    for _ in range(3):
        tried = watcher.propose(advice(far)).canary_D
        watcher.judge(0.5 + len(streams))
        streams.append(values_of(AMST_TRANSPORT, tried)["streams"])

    assert streams == [16, 32, 64]
    assert values_of(AMST_TRANSPORT, watcher.in_force_D)["congestion_algorithm"] == "cubic"


def test_without_a_canary_only_a_sure_gain_is_applied():
    unsure = guard(needs_canary=False).propose(advice(gain_lo_nats=-0.01))
    sure = guard(needs_canary=False).propose(advice(gain_lo_nats=0.05))

    assert unsure.action == "default"
    assert "uncertain" in unsure.reason
    assert sure.action == "apply"


def test_sure_gain_needs_no_canary_unless_a_trial_is_asked_for():
    at_once = guard().propose(advice(gain_lo_nats=0.2))
    tried = guard().propose(advice(gain_lo_nats=0.2), trial_first=True)

    assert (at_once.action, tried.action) == ("apply", "canary")


def test_smaller_step_is_taken_where_the_whole_one_is_not_sure():
    watcher = guard(needs_canary=False)
    half = SHIPPED.copy()
    half[0] = 11

    decision = watcher.propose(
        advice(gain_lo_nats=-0.5), (advice(half, gain_lo_nats=0.1, gain_nats=0.15),)
    )

    assert decision.action == "apply"
    assert np.array_equal(watcher.in_force_D, half)


def test_gains_measured_on_a_path_pay_for_risk_and_losses_take_it_away():
    watcher = guard(sure_gain_nats=0.1, needs_canary=False, cool_down_decisions=0)
    watcher.account_nats = 0.0
    first = watcher.propose(advice(gain_lo_nats=0.0)).action
    watcher.propose(advice(gain_lo_nats=0.15))
    watcher.watch({}, 0.25)

    further = SHIPPED + np.array([1, 0, 0, 0])
    second = watcher.propose(advice(further, gain_lo_nats=-0.1)).action
    watcher.watch({}, -0.4)
    third = watcher.propose(advice(further, gain_lo_nats=0.1)).action

    assert (first, second, third) == ("default", "apply", "default")
    assert watcher.account_nats == pytest.approx(-0.15)


def test_past_gains_count_for_no_more_than_the_cap():
    watcher = guard(account_cap_nats=0.3)
    watcher.propose(advice(gain_lo_nats=0.5))
    for _ in range(5):
        watcher.watch({}, 0.4)

    assert watcher.account_nats == 0.3


def test_large_loss_early_in_an_interval_ends_it_and_is_charged_for_the_time_it_took():
    watcher = guard(needs_canary=False)
    watcher.account_nats = 0.0
    watcher.propose(advice(gain_lo_nats=0.5))

    small, large = watcher.check_early(-0.1, 0.2), watcher.check_early(-0.5, 0.2)

    assert (small.action, large.action) == ("hold", "revert")
    assert np.array_equal(watcher.in_force_D, SHIPPED)
    assert watcher.account_nats == pytest.approx(-0.1)


def test_nothing_is_taken_back_where_going_back_is_expected_to_lose_more():
    costly, cheap = guard(), guard()
    for watcher, expected in ((costly, -2.0), (cheap, 0.0)):
        watcher.propose(advice(gain_lo_nats=0.5, return_gain_nats=expected))

    assert costly.watch({}, -0.3).action == "hold"
    assert cheap.watch({}, -0.3).action == "revert"
    assert costly.watch({"retransmit_ratio": 0.5}, -0.3).action == "revert"


def test_unfamiliar_telemetry_leaves_only_what_gained_in_its_last_interval_in_force():
    gained, unknown = guard(), guard()
    for watcher in (gained, unknown):
        watcher.propose(advice(gain_lo_nats=0.5))
    gained.watch({}, 0.2)
    unknown.watch({})

    decisions = [each.propose(advice(is_unfamiliar=True)) for each in (gained, unknown)]

    assert [each.action for each in decisions] == ["hold", "default"]


@pytest.mark.parametrize(
    ("telemetry", "gain"),
    [
        ({}, -0.2),
        ({"retransmit_ratio": 0.2}, None),
        ({"srtt_over_min_ratio": 4.0}, None),
        ({"cpu_busy_ratio": 0.99}, None),
    ],
)
def test_trip_wire_takes_a_setting_back_within_one_interval_and_cools_down(telemetry, gain):
    watcher = guard(cool_down_decisions=1)
    watcher.watch({"retransmit_ratio": 0.01, "srtt_over_min_ratio": 1.2, "cpu_busy_ratio": 0.3})
    watcher.propose(advice())
    watcher.judge(0.5)

    decision = watcher.watch(telemetry, gain)

    assert decision.action == "revert"
    assert decision.reason
    assert np.array_equal(watcher.in_force_D, SHIPPED)
    assert watcher.propose(advice()).reason == "cooling down"


def test_trouble_after_a_good_setting_goes_back_to_the_good_one_first_then_to_the_default():
    watcher = guard(slew_octaves=1.0, cool_down_decisions=0)
    watcher.propose(advice())
    watcher.judge(0.5)
    watcher.watch({})
    further = BETTER.copy()
    further[0] = 32
    watcher.propose(advice(further))
    watcher.judge(0.9)

    first = watcher.watch({}, -0.5)
    second = watcher.watch({}, -0.5)

    assert np.array_equal(first.values_D, BETTER)
    assert np.array_equal(second.values_D, SHIPPED)


def test_what_the_defaults_show_as_well_is_no_trouble():
    watcher = guard()
    watcher.watch({"srtt_over_min_ratio": 4.0, "cpu_busy_ratio": 0.97})
    watcher.propose(advice())
    watcher.judge(0.5)

    assert watcher.watch({"srtt_over_min_ratio": 4.1, "cpu_busy_ratio": 0.97}).action == "hold"


def test_verdict_without_a_canary_is_refused():
    with pytest.raises(ConfigError, match="propose"):
        guard().judge(1.0)


def test_canary_lasts_at_least_three_round_trips():
    assert canary_length_s(GuardConfig(), 10.0) == 1.0
    assert canary_length_s(GuardConfig(), 1000.0) == 3.0


def limited(expected=0.0):
    return advice(max_cost_increase_ratio=0.1, cost_log_ratio=expected)


def test_canary_that_measures_a_cost_above_the_limit_is_dropped_without_a_pause():
    watcher = guard()
    watcher.propose(limited())

    verdict = watcher.judge(0.8, cost_increase_ratio=0.25)

    assert verdict.action == "hold"
    assert "cost increase of 0.250, allowed 0.100" in verdict.reason
    assert np.array_equal(watcher.in_force_D, SHIPPED)
    assert watcher.propose(limited()).action == "canary"


def test_canary_within_the_limit_of_the_cost_is_accepted():
    watcher = guard()
    watcher.propose(limited())

    assert watcher.judge(0.8, cost_increase_ratio=0.09).action == "apply"


def test_measured_cost_above_the_limit_takes_a_setting_back_however_much_it_gains():
    dear, within, unlimited = guard(), guard(), guard()
    for watcher, given in ((dear, limited()), (within, limited()), (unlimited, advice())):
        watcher.propose(given)
        watcher.judge(0.8)

    actions = [
        watcher.watch({}, 0.8, cost_increase_ratio=ratio).action
        for watcher, ratio in ((dear, 0.11), (within, 0.1), (unlimited, 5.0))
    ]

    assert actions == ["revert", "hold", "hold"]
    assert np.array_equal(dear.in_force_D, SHIPPED)


def test_cost_early_in_an_interval_has_to_be_clearly_above_the_limit():
    watcher = guard(early_trip_cost_over_limit=0.1)
    watcher.propose(limited())
    watcher.judge(0.8)

    near = watcher.check_early(0.5, 0.2, cost_increase_ratio=0.19)
    far = watcher.check_early(0.5, 0.2, cost_increase_ratio=0.21)

    assert (near.action, far.action) == ("hold", "revert")


def test_costs_measured_above_those_expected_are_added_to_what_is_expected_next():
    watcher = guard()
    watcher.propose(limited(expected=np.log(1.05)))

    assert watcher.extra_cost_nats == 0.0
    watcher.judge(0.8, cost_increase_ratio=0.365)
    assert watcher.extra_cost_nats == pytest.approx(np.log(1.3))
    watcher.propose(limited(expected=np.log(1.0)))
    watcher.judge(0.8, cost_increase_ratio=0.0)
    assert watcher.extra_cost_nats == pytest.approx(0.5 * np.log(1.3))


def test_costs_below_those_expected_loosen_no_limit():
    watcher = guard()
    watcher.propose(limited(expected=0.0))
    watcher.judge(0.8, cost_increase_ratio=-0.5)

    assert watcher.extra_cost_nats == 0.0
