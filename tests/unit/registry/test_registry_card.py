import doubling_model
import pytest
from pydantic import ValidationError

from novacron.registry.card import ModelCard, render_markdown


def test_a_card_comes_back_from_json_unchanged():
    card = doubling_model.card()

    assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_a_card_without_limits_is_refused():
    with pytest.raises(ValidationError, match="limits"):
        doubling_model.card(limits=())


def test_a_card_with_an_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="accuracy"):
        doubling_model.card(accuracy=0.99)


def test_a_naive_creation_time_is_refused():
    with pytest.raises(ValidationError, match="created_at"):
        doubling_model.card(created_at=doubling_model.CREATED_AT.replace(tzinfo=None))


def test_half_an_interval_is_refused():
    with pytest.raises(ValidationError, match="both ends"):
        doubling_model.metric(hi=None)


def test_an_interval_turned_around_is_refused():
    with pytest.raises(ValidationError, match="lo exceeds hi"):
        doubling_model.metric(lo=2.0, hi=1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_is_refused(value):
    with pytest.raises(ValidationError):
        doubling_model.metric(value=value, lo=None, hi=None)


def test_a_metric_listed_twice_for_one_set_is_refused():
    twice = (doubling_model.metric(value=0.8), doubling_model.metric(value=0.7))

    with pytest.raises(ValidationError, match="listed twice"):
        doubling_model.card(metrics=twice)


def test_the_page_shows_interval_baseline_data_limits_and_code():
    page = render_markdown(doubling_model.card())

    assert "| wape_ratio_to_ewma | oboe | 0.8 | 0.75 .. 0.85 | 100 | EWMA |" in page
    assert "generator seed 7" in page
    assert "Not for other paths." in page
    assert "c" * 40 in page


def test_the_page_says_when_a_metric_has_no_interval():
    card = doubling_model.card(metrics=(doubling_model.metric(lo=None, hi=None),))

    assert "| 0.8 | none | 100 |" in render_markdown(card)


def test_the_page_says_when_nothing_was_measured():
    assert "Nothing was measured." in render_markdown(doubling_model.card(metrics=()))
