import doubling_model
import pytest
from doubling_model import card, metric
from pydantic import ValidationError

from novacron.registry.gate import BandRule, GateRules, MetricRule, decide

RULE = MetricRule(name="wape_ratio_to_ewma", set="oboe", limit=1.0)
RULES = GateRules(required=(RULE,))


def reasons(challenger, champion=None, rules=RULES):
    decision = decide(challenger, champion, rules)
    assert decision.passed == (not decision.reasons)
    return " ".join(decision.reasons)


def test_a_first_version_that_beats_its_baseline_passes_and_says_there_was_no_champion():
    decision = decide(card(), None, RULES)

    assert decision.passed
    assert "no champion yet" in decision.notes[0]


def test_a_first_version_that_does_not_beat_its_baseline_is_refused():
    worse = card(metrics=(metric(value=0.97, lo=0.94, hi=1.01),))

    assert "does not beat EWMA" in reasons(worse)


def test_a_required_metric_without_interval_is_refused():
    assert "has no interval" in reasons(card(metrics=(metric(lo=None, hi=None),)))


def test_a_required_metric_that_is_missing_is_refused():
    assert "does not have it" in reasons(card(metrics=()))


def test_a_metric_on_another_set_does_not_count():
    assert "does not have it" in reasons(card(metrics=(metric(set_name="puffer"),)))


def test_too_few_traces_behind_an_interval_are_refused():
    assert "n = 5, expected at least 30" in reasons(card(metrics=(metric(n=5),)))


def test_a_version_worse_than_the_champion_by_more_than_the_tolerance_is_refused():
    champion = card(metrics=(metric(value=0.80),))

    assert "worse than the champion" in reasons(card(metrics=(metric(value=0.82),)), champion)


def test_a_version_within_the_tolerance_of_the_champion_passes():
    champion = card(metrics=(metric(value=0.80),))

    assert reasons(card(metrics=(metric(value=0.815),)), champion) == ""


def test_a_set_on_which_only_the_champion_was_measured_is_missed():
    champion = card(metrics=(metric(), metric(set_name="puffer")))

    assert "wape_ratio_to_ewma on puffer: the champion was measured there" in reasons(
        card(), champion
    )


def test_the_direction_of_a_metric_decides_what_is_worse():
    rule = MetricRule(name="f1", set="oboe", better="higher", limit=0.5)
    rules = GateRules(required=(rule,))
    champion = card(metrics=(metric(name="f1", value=0.9),))

    assert "worse than the champion" in reasons(
        card(metrics=(metric(name="f1", value=0.8),)), champion, rules
    )
    assert reasons(card(metrics=(metric(name="f1", value=0.95),)), champion, rules) == ""


def test_a_higher_is_better_metric_must_lie_wholly_above_its_limit():
    rules = GateRules(required=(MetricRule(name="f1", set="oboe", better="higher", limit=0.8),))

    assert "must stay above 0.8" in reasons(
        card(metrics=(metric(name="f1", value=0.82),)), rules=rules
    )


def test_a_champion_measured_on_other_data_is_called_not_comparable():
    champion = card(data_sha256="e" * 64, metrics=(metric(value=0.1, lo=0.05, hi=0.2),))

    decision = decide(card(), champion, RULES)

    assert decision.passed
    assert "Not comparable" in decision.notes[0]


def test_rules_can_ask_for_a_champion_scored_on_the_same_data():
    champion = card(data_sha256="e" * 64)
    strict = RULES.model_copy(update={"on_other_data": "refuse"})

    assert "Score the champion on the same data" in reasons(card(), champion, strict)


def test_a_challenger_of_another_kind_is_refused():
    assert "the champion is a doubling" in reasons(card(kind="other"), card())


def test_an_unknown_feature_fingerprint_is_refused():
    rules = RULES.model_copy(update={"features_hashes": ("0" * 16,)})

    assert "fingerprint" in reasons(card(), rules=rules)


def test_a_known_feature_fingerprint_passes():
    rules = RULES.model_copy(update={"features_hashes": (doubling_model.FEATURES,)})

    assert reasons(card(), rules=rules) == ""


BAND = GateRules(
    required=(RULE,), bands=(BandRule(name="coverage_80", set="oboe", low=0.78, high=0.82),)
)


@pytest.mark.parametrize(("coverage", "inside"), [(0.77, False), (0.80, True), (0.83, False)])
def test_coverage_must_lie_inside_its_band(coverage, inside):
    challenger = card(metrics=(metric(), metric(name="coverage_80", value=coverage)))

    assert decide(challenger, None, BAND).passed == inside


def test_coverage_that_was_not_measured_is_refused():
    assert "coverage_80 on oboe: the card does not have it" in reasons(card(), rules=BAND)


def test_every_reason_is_given_at_once():
    challenger = card(metrics=(metric(value=1.2, n=3),))

    assert len(decide(challenger, None, BAND).reasons) == 3


def test_rules_that_require_nothing_are_refused():
    with pytest.raises(ValidationError, match="required"):
        GateRules(required=())


def test_a_misspelt_rule_is_refused():
    with pytest.raises(ValidationError, match="minimum_n"):
        MetricRule.model_validate({"name": "a", "set": "b", "limit": 1, "minimum_n": 3})


def test_an_empty_band_is_refused():
    with pytest.raises(ValidationError, match="low must be below high"):
        BandRule(name="coverage_80", set="oboe", low=0.9, high=0.8)
