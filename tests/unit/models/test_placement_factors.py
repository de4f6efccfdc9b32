import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from novacron.errors import OutOfRangeError, SchemaError, UnknownNameError
from novacron.models.placement.columns import RAW, Columns, raw_rows
from novacron.models.placement.factors import FACTORS, NAMES, factor, factor_table

PAGE = Path(__file__).parents[3] / "docs" / "models" / "placement.md"


def test_there_are_a_hundred_factors_in_the_five_documented_categories():
    assert len(set(NAMES)) == 100
    assert Counter(one.category for one in FACTORS) == {
        "resource": 20,
        "performance": 25,
        "infrastructure": 20,
        "network": 15,
        "operational": 20,
    }


def test_every_factor_says_its_unit_its_range_and_what_it_means():
    for one in FACTORS:
        assert one.unit
        assert one.doc
        assert one.kind == "categorical" or (
            math.isfinite(one.low) and math.isfinite(one.high) and one.low < one.high
        )


def test_an_absent_factor_is_absent_and_never_a_default():
    assert math.isnan(factor("cpu_frequency").encode(None))
    assert math.isnan(factor("storage_type").encode(None))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("cpu_frequency", 5.0, OutOfRangeError),
        ("network_congestion", 1.5, OutOfRangeError),
        ("cpu_frequency", "fast", SchemaError),
        ("storage_type", "tape", OutOfRangeError),
        ("storage_type", 3, SchemaError),
        ("temperature", float("inf"), OutOfRangeError),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(name, value, error):
    with pytest.raises(error, match=name):
        factor(name).encode(value)


def test_an_unknown_factor_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="cpu_frequency"):
        factor("cpu_freqency")


def test_a_name_without_a_list_is_coded_the_same_everywhere():
    assert factor("datacenter_location").encode("north") == factor("datacenter_location").encode(
        "north"
    )
    assert factor("kernel_version").encode("6.1") == 38.0


def test_the_page_has_the_table_as_the_code_has_it():
    assert factor_table() in PAGE.read_text()


def test_a_column_that_was_sometimes_absent_gets_a_second_one_that_says_so():
    factor_NF = np.full((3, 100), np.nan)
    factor_NF[:, NAMES.index("cpu_cores_available")] = 8.0
    factor_NF[:, NAMES.index("memory_available")] = 16.0
    factor_NF[:2, NAMES.index("temperature")] = [20.0, 30.0]
    raw_NR = raw_rows(factor_NF, np.ones((3, 5)))

    columns = Columns.of(raw_NR)
    x_NC = columns.matrix(raw_NR)

    assert columns.flagged == ("temperature",)
    assert "humidity" not in columns.names
    place = columns.names.index("temperature__given")
    np.testing.assert_array_equal(x_NC[:, place], [1, 1, 0])
    assert np.isfinite(x_NC).all()


def test_a_factor_that_training_always_had_may_not_be_absent_later():
    factor_NF = np.full((2, 100), np.nan)
    factor_NF[:, [NAMES.index("cpu_cores_available"), NAMES.index("memory_available")]] = 9.0
    raw_NR = raw_rows(factor_NF, np.ones((2, 5)))
    columns = Columns.of(raw_NR)
    raw_NR[0, RAW.index("memory_available")] = np.nan

    with pytest.raises(SchemaError, match="memory_available"):
        columns.matrix(raw_NR)
