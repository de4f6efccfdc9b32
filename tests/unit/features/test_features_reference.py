from pathlib import Path

import pytest

from novacron.features.reference import describe_feature, render_page
from novacron.features.spec import BANDWIDTH, LINK_FULL


@pytest.mark.parametrize("spec", [LINK_FULL, BANDWIDTH])
def test_every_feature_has_a_unit_and_a_meaning(spec):
    docs = [describe_feature(name) for name in spec.names]

    assert all(doc.unit and doc.meaning for doc in docs)
    assert not any("{" in doc.meaning for doc in docs)


def test_a_feature_keeps_the_unit_of_its_channel_unless_its_name_says_otherwise():
    assert describe_feature("rtt_ms__q90_15").unit == "ms"
    assert describe_feature("rtt_ms__q90_15").meaning == "90 % quantile of the last 15 steps"
    assert describe_feature("rtt_ms__spike_count").unit == "samples"


@pytest.mark.parametrize("name", ["rtt_ms__lagged_3", "rtt__lag_3", "lag_3", "year"])
def test_a_name_that_no_spec_makes_is_unknown(name):
    with pytest.raises(KeyError):
        describe_feature(name)


def test_the_page_in_the_docs_is_the_one_the_specs_give():
    page = Path(__file__).parents[3] / "docs" / "features.md"

    assert page.read_text() == render_page({"LINK_FULL": LINK_FULL, "BANDWIDTH": BANDWIDTH})
