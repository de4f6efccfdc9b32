import dataclasses

import pytest

from novacron.errors import ConfigError, OutOfRangeError, UnknownNameError
from novacron.params.groups import CODECS, GROUPS, HDE_COMPRESSION, parameter_group
from novacron.params.spec import ParameterGroup, ParameterSpec


def make_knob(**changes):
    fields = {
        "name": "streams", "unit": "count", "kind": "log2", "low": 1, "high": 64, "default": 8,
        "doc": "d", "trades": "a / b", "source": "s",
    }  # fmt: skip
    return ParameterSpec(**(fields | changes))


def test_unknown_group_error_lists_the_groups_and_suggests_the_nearest():
    with pytest.raises(UnknownNameError) as caught:
        parameter_group("hde_compresion")

    assert "acp_consensus" in str(caught.value)
    assert "Did you mean 'hde_compression'" in str(caught.value)
    assert caught.value.exit_code == 2


def test_unknown_parameter_error_lists_the_parameters_of_the_group():
    with pytest.raises(UnknownNameError, match="chunk_size_bytes"):
        HDE_COMPRESSION.check({"level": 3})


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("mode", ["internet", "datacenter", "hybrid"])
def test_shipped_defaults_pass_their_own_table(group, mode):
    defaults = group.defaults(mode)

    assert group.check(defaults) == defaults


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_every_parameter_names_two_opposing_effects_a_unit_and_a_source(group):
    for knob in group.parameters:
        assert knob.unit
        assert knob.source
        assert " / " in knob.trades or knob.trades.startswith("none allowed")
        assert ("none allowed" in knob.trades) == (not knob.tunable)


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("acp_consensus", "quorum_size"),
        ("acp_consensus", "max_staleness_s"),
        ("amst_transport", "connect_timeout_s"),
        ("amst_transport", "max_retries"),
        ("hde_compression", "quantization_bits"),
    ],
)
def test_safety_parameters_cannot_be_set_by_a_policy(group, name):
    table = GROUPS[group]

    assert name not in table.names
    with pytest.raises(OutOfRangeError, match="guards correctness"):
        table.check(table.defaults() | {name: table[name].default})


def test_joint_group_takes_its_bounds_from_the_two_groups_it_joins():
    joint = GROUPS["joint"]

    for part in ("hde_compression", "amst_transport"):
        assert all(joint[name] is GROUPS[part][name] for name in GROUPS[part].names)


@pytest.mark.parametrize("value", [0, 65, 2.5, float("nan"), True, "8", None])
def test_value_outside_the_table_is_refused(value):
    with pytest.raises(OutOfRangeError, match="streams"):
        make_knob().to_number(value)


def test_enum_travels_as_its_index_and_comes_back_as_its_name():
    codec = HDE_COMPRESSION["codec"]

    assert [codec.from_number(codec.to_number(name)) for name in CODECS] == list(CODECS)
    with pytest.raises(OutOfRangeError, match="one of none"):
        codec.to_number("brotli")
    with pytest.raises(OutOfRangeError):
        codec.from_number(2.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "octave"},
        {"low": 64, "high": 1},
        {"low": 0},
        {"choices": ("a", "b")},
        {"kind": "enum", "default": "a"},
        {"high": float("inf")},
    ],
)
def test_contradicting_table_entry_is_refused(changes):
    with pytest.raises(ConfigError):
        make_knob(**changes)


def test_default_outside_its_own_bounds_is_refused():
    with pytest.raises(OutOfRangeError):
        make_knob(default=65)


def test_group_naming_a_parameter_twice_is_refused():
    knob = make_knob()

    with pytest.raises(ConfigError, match="each name once"):
        ParameterGroup(name="g", doc="d", components=("AMST",), parameters=(knob, knob))


def test_missing_parameter_is_refused_by_name():
    values = HDE_COMPRESSION.defaults()
    del values["workers"]

    with pytest.raises(OutOfRangeError, match="workers"):
        HDE_COMPRESSION.check(values)


def test_fingerprint_changes_with_a_bound_and_not_with_a_default():
    group = ParameterGroup(name="g", doc="d", components=("AMST",), parameters=(make_knob(),))
    wider = dataclasses.replace(group, parameters=(make_knob(high=128),))
    other_default = dataclasses.replace(group, parameters=(make_knob(default=16),))

    assert group.fingerprint() != wider.fingerprint()
    assert group.fingerprint() == other_default.fingerprint()


def test_integer_too_long_for_a_float_is_out_of_range():
    with pytest.raises(OutOfRangeError, match="streams"):
        parameter_group("amst_transport")["streams"].to_number(10**400)
