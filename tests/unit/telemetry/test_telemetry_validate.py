from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.contracts.telemetry import LINK_SCHEMA, NODE_SCHEMA
from novacron.telemetry.clocks import EntityClocks
from novacron.telemetry.readers import ArrowSource, ReadConfig
from novacron.telemetry.validate import ValidationConfig, Validator, to_us

T0 = datetime(2026, 3, 1, tzinfo=UTC)
NOW = T0 + timedelta(hours=1)


def sample(seconds=0.0, link="a", bandwidth=1.0, **metrics):
    ts = T0 + timedelta(seconds=seconds)
    return {"ts": ts, "link_id": link, "bandwidth_mbps": bandwidth} | metrics


def check(rows, config=None, *, schema=LINK_SCHEMA, batch_rows=1_000, now=NOW):
    """Return accepted row numbers and (row number, reason, column) of the rejected ones."""
    names = dict.fromkeys(name for row in rows for name in row)
    texts = {name for name in names if schema[name].kind == "string"}
    fields = [
        (
            n,
            pa.timestamp("us", "UTC")
            if n == "ts"
            else pa.string()
            if n in texts
            else pa.float64(),
        )
        for n in names
    ]
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    source = ArrowSource("memory", table, schema, ReadConfig(batch_rows=batch_rows))
    validator = Validator(schema, config or ValidationConfig(), now=lambda: now)
    checked = [validator.check(block) for block in source.blocks()]
    accepted = [int(row) for part in checked for row in part.accepted.rows]
    return accepted, [bad for part in checked for bad in part.rejected], validator


def reasons(rows, config=None, **options):
    return [(bad.row, bad.reason, bad.column) for bad in check(rows, config, **options)[1]]


@pytest.mark.parametrize(
    ("metrics", "reason", "column"),
    [
        ({"bandwidth": None}, "missing_required", "bandwidth_mbps"),
        ({"bandwidth": float("nan")}, "non_finite", "bandwidth_mbps"),
        ({"bandwidth": -0.1}, "out_of_range", "bandwidth_mbps"),
        ({"bandwidth": 1e6 + 1}, "out_of_range", "bandwidth_mbps"),
        ({"rtt_ms": float("inf")}, "non_finite", "rtt_ms"),
        ({"loss_ratio": 1.5}, "percent_not_ratio", "loss_ratio"),
        ({"loss_ratio": 100.0}, "percent_not_ratio", "loss_ratio"),
        ({"loss_ratio": 100.5}, "out_of_range", "loss_ratio"),
        ({"loss_ratio": -0.5}, "out_of_range", "loss_ratio"),
        ({"streams": 2.5}, "not_integer", "streams"),
        ({"mode": "turbo"}, "unknown_choice", "mode"),
        ({"link": ""}, "missing_required", "link_id"),
        ({"link": None}, "missing_required", "link_id"),
        ({"seconds": 3_600 + 301}, "future", "ts"),
        ({"seconds": -30 * 365 * 86_400}, "out_of_range", "ts"),
    ],
)
def test_a_bad_value_is_rejected_with_its_reason_and_column(metrics, reason, column):
    rows = [sample(), sample(**({"seconds": 1.0} | metrics))]

    assert reasons(rows) == [(2, reason, column)]


@pytest.mark.parametrize(
    "metrics",
    [
        {"bandwidth": 0.0},
        {"bandwidth": 1e6},
        {"loss_ratio": 1.0},
        {"rtt_ms": None},
        {"streams": 3.0},
        {"mode": "hybrid"},
        {"mode": ""},
        {"seconds": 3_600 + 300},
    ],
)
def test_values_on_their_bounds_and_empty_optional_ones_are_accepted(metrics):
    assert check([sample(**metrics)])[0] == [1]


def test_a_percent_is_named_as_such_also_where_bursting_goes_above_one():
    row = {"ts": T0, "node_id": "n", "cpu_ratio": 80.0}

    bad = check([row], schema=NODE_SCHEMA)[1][0]

    assert bad.reason == "percent_not_ratio"
    assert "divide by 100" in bad.hint


def test_a_round_trip_in_microseconds_and_a_rate_in_bit_s_get_a_hint():
    rows = [sample(rtt_ms=80_000.0), sample(1, bandwidth=5e7), sample(2, bandwidth=5e10)]

    hints = [bad.hint for bad in check(rows)[1]]

    assert ["microseconds" in hints[0], "kbit/s" in hints[1], " bit/s" in hints[2]] == [True] * 3


def test_the_quarantined_row_has_all_its_values_and_no_nan():
    bad = check([sample(bandwidth=float("nan"), rtt_ms=5.0, streams=None)])[1][0]

    assert bad.raw == {
        "ts": "2026-03-01T00:00:00.000000Z", "link_id": "a", "bandwidth_mbps": "nan", "rtt_ms": 5.0
    }  # fmt: skip


def test_nan_may_be_declared_to_mean_missing():
    rows = [sample(rtt_ms=float("nan")), sample(1, bandwidth=float("nan"))]

    found = reasons(rows, ValidationConfig(nan_means_missing=True))

    assert found == [(2, "missing_required", "bandwidth_mbps")]


def test_a_sample_older_than_the_allowed_age_is_stale():
    rows = [sample(0), sample(1_800)]

    assert reasons(rows, ValidationConfig(max_age_s=2_000)) == [(1, "stale", "ts")]


def test_the_clock_may_step_back_within_the_allowed_disorder_only():
    rows = [sample(100), sample(40), sample(39)]

    assert reasons(rows, ValidationConfig(max_disorder_s=60)) == [(3, "clock_went_back", "ts")]


def test_each_entity_has_its_own_clock():
    rows = [sample(1_000, "a"), sample(0, "b"), sample(0, "a")]

    assert reasons(rows) == [(3, "clock_went_back", "ts")]


def test_a_rejected_row_does_not_set_the_clock():
    rows = [sample(3_000, bandwidth=-1.0), sample(0)]

    assert reasons(rows) == [(1, "out_of_range", "bandwidth_mbps")]


def test_equal_and_conflicting_duplicates_are_told_apart_and_the_first_row_stays():
    rows = [sample(rtt_ms=1.0), sample(rtt_ms=1.0), sample(rtt_ms=2.0), sample(1, rtt_ms=1.0)]

    accepted, rejected, _ = check(rows)

    assert accepted == [1, 4]
    assert [(bad.row, bad.reason) for bad in rejected] == [
        (2, "duplicate"), (3, "conflicting_duplicate")
    ]  # fmt: skip


def test_zero_and_minus_zero_are_equal_values():
    rows = [sample(bandwidth=0.0), sample(bandwidth=-0.0)]

    assert reasons(rows) == [(2, "duplicate", "ts")]


def test_further_entities_than_allowed_are_rejected_and_not_remembered():
    rows = [sample(link="a"), sample(link="b"), sample(link="c"), sample(1, link="a")]

    accepted, rejected, validator = check(rows, ValidationConfig(max_entities=2))

    assert accepted == [1, 2, 4]
    assert [(bad.row, bad.reason) for bad in rejected] == [(3, "entity_limit")]
    assert validator.vocabularies.entities.words == ["a", "b"]


def test_gaps_are_counted_for_each_entity_across_batches():
    rows = [sample(s, link) for s in (0, 10, 400, 1_000) for link in ("a", "b")]

    _, _, validator = check(rows[:-1], ValidationConfig(max_gap_s=300), batch_rows=3)

    assert validator.clocks.gaps[:2].tolist() == [2, 1]
    assert validator.clocks.longest_gap_us[:2].tolist() == [600_000_000, 390_000_000]


def test_memory_of_recent_rows_does_not_grow_with_the_number_of_rows():
    clocks = EntityClocks(max_disorder_us=60_000_000, max_gap_us=300_000_000)
    sizes = []

    for batch in range(30):
        ts = np.repeat(np.arange(batch * 100, (batch + 1) * 100), 5) * 1_000_000
        clocks.check(
            np.tile(np.arange(5, dtype=np.int32), 100), ts, lambda i: np.zeros(len(i), np.uint64)
        )
        sizes.append(len(clocks._recent.ts_us))

    assert max(sizes) <= 5 * 61


def test_microseconds_are_exact_for_far_moments():
    moment = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

    assert to_us(moment) == 253_402_300_799_999_999


ROWS = st.lists(
    st.builds(
        sample,
        seconds=st.integers(0, 200),
        link=st.sampled_from(["a", "b", "c", ""]),
        bandwidth=st.sampled_from([1.0, 2.0, -1.0, None]),
        mode=st.sampled_from(["hybrid", "turbo", None]),
    ),
    max_size=40,
)


@given(rows=ROWS, batch_rows=st.integers(1, 41))
@settings(max_examples=50, deadline=None)
def test_verdicts_do_not_depend_on_how_rows_are_cut_into_batches(rows, batch_rows):
    config = ValidationConfig(max_disorder_s=30)
    rows = [sample(), *rows]

    whole, cut = check(rows, config), check(rows, config, batch_rows=batch_rows)

    assert whole[0] == cut[0]
    assert whole[1] == cut[1]


@given(rows=ROWS, future=ROWS)
@settings(max_examples=50, deadline=None)
def test_later_rows_never_change_the_verdict_on_earlier_ones(rows, future):
    rows = [sample(), *rows]

    alone, together = check(rows), check(rows + future)

    assert [row for row in together[0] if row <= len(rows)] == alone[0]
    assert [bad for bad in together[1] if bad.row <= len(rows)] == alone[1]
