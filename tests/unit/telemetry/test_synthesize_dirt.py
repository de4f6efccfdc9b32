"""Dirt put in on purpose: the right kind, in the right rows, with the truth beside it."""

import pyarrow.compute as pc
import pytest

from novacron.contracts.telemetry import LINK_SCHEMA, NODE_SCHEMA
from novacron.errors import SchemaError
from novacron.telemetry.synthesize.config import DirtConfig, fleet_small
from novacron.telemetry.synthesize.dirt import KINDS, SENTINELS, spoil
from novacron.telemetry.synthesize.fleet import generate_fleet

CLEAN = {f"{kind}_ratio": 0.0 for kind in KINDS}


@pytest.fixture(scope="module")
def fleet():
    return generate_fleet(fleet_small(hours=6), seed=3)


def only(kind, share=0.05):
    return DirtConfig(**(CLEAN | {f"{kind}_ratio": share}))


def test_no_dirt_asked_leaves_the_table_as_it_is(fleet):
    dirty = spoil(fleet.nodes, NODE_SCHEMA, DirtConfig(**CLEAN), seed=1)

    assert dirty.table.equals(fleet.nodes)
    assert dirty.truth.num_rows == 0


def test_the_same_seed_spoils_the_same_rows_and_another_others(fleet):
    one, two, three = (spoil(fleet.nodes, NODE_SCHEMA, DirtConfig(), seed=s) for s in (1, 1, 2))

    assert one.table.equals(two.table)
    assert one.truth.equals(two.truth)
    assert not one.truth.equals(three.truth)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_hits_about_its_share(fleet, kind):
    dirty = spoil(fleet.nodes, NODE_SCHEMA, only(kind), seed=1)

    assert set(dirty.truth["kind"].to_pylist()) == {kind}
    assert 0.03 < dirty.truth.num_rows / fleet.nodes.num_rows < 0.07


def test_a_duplicate_is_the_row_before_it(fleet):
    dirty = spoil(fleet.nodes, NODE_SCHEMA, only("duplicate"), seed=1)

    assert dirty.table.num_rows == fleet.nodes.num_rows + dirty.truth.num_rows
    for row in dirty.truth["row"].to_pylist():
        assert dirty.table.slice(row, 1).equals(dirty.table.slice(row - 1, 1))


def test_a_dropped_row_is_gone(fleet):
    dirty = spoil(fleet.nodes, NODE_SCHEMA, only("dropped"), seed=1)
    left = dirty.table.select(["ts", "node_id"]).to_pandas()
    gone = dirty.truth.to_pandas()

    assert dirty.table.num_rows == fleet.nodes.num_rows - dirty.truth.num_rows
    assert not gone.merge(left, left_on=["ts", "entity_id"], right_on=["ts", "node_id"]).size
    assert not gone.breaks_contract.any()


def test_a_late_row_follows_a_later_one_of_its_entity(fleet):
    dirty = spoil(fleet.links, LINK_SCHEMA, only("late"), seed=1)
    frame = dirty.table.select(["ts", "link_id"]).to_pandas()

    newest = frame.groupby("link_id").ts.cummax()
    backwards = frame.index[frame.ts < newest].tolist()

    assert backwards == sorted(dirty.truth["row"].to_pylist())
    assert dirty.table.sort_by([("ts", "ascending"), ("link_id", "ascending")]).equals(
        fleet.links.sort_by([("ts", "ascending"), ("link_id", "ascending")])
    )


@pytest.mark.parametrize("kind", ["percent", "sentinel"])
def test_a_changed_value_is_recorded_before_and_after(fleet, kind):
    dirty = spoil(fleet.nodes, NODE_SCHEMA, only(kind), seed=1)

    for entry in dirty.truth.to_pylist():
        value = dirty.table[entry["column"]][entry["row"]].as_py()
        assert value == entry["became"]
        before = fleet.nodes[entry["column"]][entry["row"]].as_py()
        assert before == entry["was"]
        wanted = {before * 100} if kind == "percent" else set(SENTINELS)
        assert value in wanted


def test_what_breaks_the_contract_is_what_leaves_its_bounds(fleet):
    dirty = spoil(fleet.links, LINK_SCHEMA, only("percent", 0.2), seed=1)

    for entry in dirty.truth.to_pylist():
        field = LINK_SCHEMA[entry["column"]]
        assert entry["breaks_contract"] == (not field.low <= entry["became"] <= field.high)
    # Little loss in percent still looks like a ratio: no bound can tell.
    assert not all(dirty.truth["breaks_contract"].to_pylist())


def test_rows_that_the_truth_does_not_name_are_untouched(fleet):
    dirty = spoil(fleet.nodes, NODE_SCHEMA, only("sentinel"), seed=1)
    spoilt = set(dirty.truth["row"].to_pylist())
    keep = [row for row in range(dirty.table.num_rows) if row not in spoilt]

    assert dirty.table.take(keep).equals(fleet.nodes.take(keep))
    assert pc.all(pc.is_valid(dirty.table["cpu_ratio"])).as_py()


def test_a_table_of_another_schema_is_refused(fleet):
    with pytest.raises(SchemaError, match="LinkSample"):
        spoil(fleet.nodes, LINK_SCHEMA, DirtConfig(), seed=1)
