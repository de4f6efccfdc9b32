import numpy as np
import pytest

from novacron.errors import OutOfRangeError, SchemaError
from novacron.models.base import TensorSpec
from novacron.models.tensor_checks import check_tensors

SPECS = (
    TensorSpec(
        name="bandwidth_mbps",
        datatype="FP64",
        shape=(-1, -1),
        unit="Mbit/s",
        doc="recent goodput",
        low=0,
        high=1e6,
    ),
    TensorSpec(
        name="path_class",
        datatype="BYTES",
        shape=(-1,),
        unit="name",
        doc="kind of path",
        required=False,
    ),
)
GOOD = np.ones((2, 3))


def test_well_formed_tensors_give_their_number_of_rows():
    assert check_tensors({"bandwidth_mbps": GOOD}, SPECS) == 2


@pytest.mark.parametrize(
    ("tensors", "field"),
    [
        ({}, "bandwidth_mbps"),
        ({"bandwidth": GOOD}, "inputs"),
        ({"bandwidth_mbps": GOOD.astype(np.float32)}, "bandwidth_mbps"),
        ({"bandwidth_mbps": np.ones(3)}, "bandwidth_mbps"),
        ({"bandwidth_mbps": np.ones((0, 3))}, "bandwidth_mbps"),
        ({"bandwidth_mbps": np.ones((1, 0))}, "bandwidth_mbps"),
        ({"bandwidth_mbps": GOOD, "path_class": np.array(["wan"], dtype=object)}, "shape"),
    ],
)
def test_a_tensor_that_does_not_fit_its_spec_is_refused_by_name(tensors, field):
    with pytest.raises(SchemaError) as caught:
        check_tensors(tensors, SPECS)

    assert caught.value.field == field


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 2e6])
def test_an_element_out_of_its_range_is_named_with_its_place_and_unit(value):
    bandwidth_mbps = GOOD.copy()
    bandwidth_mbps[1, 2] = value

    with pytest.raises(OutOfRangeError) as caught:
        check_tensors({"bandwidth_mbps": bandwidth_mbps}, SPECS)

    assert caught.value.field == "bandwidth_mbps[1, 2]"
    assert "Mbit/s" in caught.value.expected


def test_a_model_whose_inputs_are_all_optional_still_needs_one():
    with pytest.raises(SchemaError):
        check_tensors({}, SPECS[1:])
