"""The generated fleet: same bytes everywhere, labels that are true, tables that keep the contract."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from novacron.contracts.telemetry import LINK_SCHEMA, NODE_SCHEMA
from novacron.telemetry.arrow import arrow_schema
from novacron.telemetry.synthesize.config import (
    FleetConfig,
    SiteConfig,
    fleet_demo,
    fleet_small,
)
from novacron.telemetry.synthesize.faults import LINK_FAULTS, NODE_FAULTS
from novacron.telemetry.synthesize.fleet import generate_fleet, great_circle_km

SMALL = fleet_small(hours=12)


@pytest.fixture(scope="module")
def fleet():
    return generate_fleet(SMALL, seed=11)


@pytest.fixture(scope="module")
def long_fleet():
    return generate_fleet(fleet_small(hours=96), seed=2)


def of_entities(table: pa.Table, column: str, keep: set[str]) -> pa.Table:
    return table.filter(pc.is_in(table[column], pa.array(sorted(keep))))


def digests_in_a_fresh_process(hash_seed: str) -> dict:
    code = """
    import json
    from novacron.telemetry.digest import traces_sha256
    from novacron.telemetry.synthesize.config import fleet_small
    from novacron.telemetry.synthesize.fleet import generate_fleet
    from novacron.telemetry.synthesize.traces import generate_traces, white_noise_traces
    print(json.dumps({
        "fleet": generate_fleet(fleet_small(hours=12), seed=11).sha256(),
        "traces": traces_sha256(generate_traces(11, n_links=3, hours=0.5)),
        "noise": traces_sha256(white_noise_traces(11, n_links=3)),
    }))
    """
    finished = subprocess.run(
        [sys.executable, "-c", "\n".join(line.strip() for line in code.splitlines())],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": hash_seed, "PATH": "/usr/bin:/bin"},
    )
    return json.loads(finished.stdout)


def test_two_processes_generate_the_same_bytes(fleet):
    one, other = (digests_in_a_fresh_process(hash_seed) for hash_seed in ("1", "2"))

    assert one == other
    assert one["fleet"] == fleet.sha256()


def test_another_seed_generates_another_fleet(fleet):
    assert generate_fleet(SMALL, seed=12).sha256() != fleet.sha256()


def test_a_longer_span_begins_with_the_rows_of_a_shorter_one(fleet):
    longer = generate_fleet(fleet_small(hours=20), seed=11)

    for name in ("links", "nodes"):
        table, long_table = getattr(fleet, name), getattr(longer, name)
        assert long_table.num_rows > table.num_rows
        assert long_table.slice(0, table.num_rows).equals(table)
    assert longer.labels.slice(0, fleet.labels.num_rows).equals(fleet.labels)


def test_a_node_more_changes_no_other_row(fleet):
    sites = SMALL.sites
    more = SMALL.model_copy(
        update={"sites": (*sites[:2], sites[2].model_copy(update={"nodes": 3}))}
    )

    grown = generate_fleet(more, seed=11)

    known = set(fleet.nodes["node_id"].to_pylist())
    assert grown.links.equals(fleet.links)
    assert len(set(grown.nodes["node_id"].to_pylist())) == len(known) + 1
    assert of_entities(grown.nodes, "node_id", known).equals(fleet.nodes)


def test_a_last_site_more_changes_no_other_row(fleet):
    extra = SiteConfig(name="sgp", lat_deg=1.4, lon_deg=103.8)
    more = SMALL.model_copy(update={"sites": (*SMALL.sites, extra)})

    grown = generate_fleet(more, seed=11)

    links = set(fleet.links["link_id"].to_pylist())
    nodes = set(fleet.nodes["node_id"].to_pylist())
    assert of_entities(grown.links, "link_id", links).equals(fleet.links)
    assert of_entities(grown.nodes, "node_id", nodes).equals(fleet.nodes)
    assert grown.links.num_rows > fleet.links.num_rows


@pytest.mark.parametrize(("name", "schema"), [("links", LINK_SCHEMA), ("nodes", NODE_SCHEMA)])
def test_the_tables_keep_their_contract(fleet, name, schema):
    table = getattr(fleet, name)

    assert table.schema.equals(arrow_schema(schema))
    assert not table.select(["ts", schema.entity]).to_pandas().duplicated().any()
    assert (np.diff(table["ts"].to_numpy()) >= np.timedelta64(0)).all()
    for field in schema.metrics:
        bounds = pc.min_max(table[field.name]).as_py()
        assert field.low <= bounds["min"] <= bounds["max"] <= field.high, field.name
    for field in schema:
        if field.required:
            assert table[field.name].null_count == 0


def test_every_metric_moves(fleet):
    frame = fleet.nodes.to_pandas()

    for field in NODE_SCHEMA.metrics:
        assert frame.groupby("node_id")[field.name].std().min() > 0, field.name


def test_no_faults_asked_means_no_labels_and_no_gaps():
    quiet = generate_fleet(SMALL.model_copy(update={"faults_per_entity_day": 0.0}), seed=11)

    assert quiet.labels.num_rows == 0
    assert quiet.links.num_rows == 6 * 12 * 60
    assert quiet.nodes.num_rows == 6 * 12 * 60


def test_a_telemetry_gap_is_missing_rows_within_its_label(long_fleet):
    labels = long_fleet.labels.to_pandas()
    gaps = labels[labels.kind == "telemetry_gap"]
    tables = {
        "link": long_fleet.links.to_pandas().rename(columns={"link_id": "entity_id"}),
        "node": long_fleet.nodes.to_pandas().rename(columns={"node_id": "entity_id"}),
    }

    assert len(gaps) > 0
    for gap in gaps.itertuples():
        rows = tables[gap.entity_kind]
        inside = (rows.ts > gap.start) & (rows.ts <= gap.end)
        assert not (inside & (rows.entity_id == gap.entity_id)).any()


def test_the_labels_explain_every_difference_from_a_fleet_without_faults(fleet):
    quiet = generate_fleet(SMALL.model_copy(update={"faults_per_entity_day": 0.0}), seed=11)
    labels = fleet.labels.to_pandas()
    hurt = fleet.links.to_pandas().set_index(["link_id", "ts"]).bandwidth_mbps
    well = quiet.links.to_pandas().set_index(["link_id", "ts"]).bandwidth_mbps

    moved = hurt.index[(hurt != well.loc[hurt.index]).to_numpy()]

    assert len(moved) > 0
    by_link = dict(list(labels[labels.entity_kind == "link"].groupby("entity_id")))
    for link_id, ts in moved:
        faults = by_link[link_id]
        # One interval more: the number of streams follows the interval before.
        reach = faults.end + np.timedelta64(60, "s")
        assert ((faults.start < ts) & (ts <= reach)).any()


def test_every_label_names_a_known_fault_of_a_known_entity(long_fleet):
    labels = long_fleet.labels.to_pandas()

    assert set(labels[labels.entity_kind == "link"].kind) <= set(LINK_FAULTS)
    assert set(labels[labels.entity_kind == "node"].kind) == set(NODE_FAULTS)
    assert set(labels.entity_id) <= set(long_fleet.links["link_id"].to_pylist()) | set(
        long_fleet.nodes["node_id"].to_pylist()
    )
    assert (labels.end > labels.start).all()


def test_node_faults_show_in_the_metrics_their_label_names(long_fleet):
    quiet = generate_fleet(
        long_fleet.config.model_copy(update={"faults_per_entity_day": 0.0}), seed=2
    )
    hurt = long_fleet.nodes.to_pandas().set_index(["node_id", "ts"]).sort_index()
    well = quiet.nodes.to_pandas().set_index(["node_id", "ts"]).sort_index()
    labels = long_fleet.labels.to_pandas()
    checked = 0

    for label in labels[labels.entity_kind == "node"].itertuples():
        rows = hurt.loc[label.entity_id]
        rows = rows[(rows.index > label.start) & (rows.index <= label.end)]
        for column in label.shows_in:
            other = well.loc[label.entity_id].loc[rows.index, column]
            assert (rows[column] >= other).mean() > 0.9, (label.kind, column)
            assert (rows[column] - other).max() > 0, (label.kind, column)
            checked += 1
    assert checked > 10


def test_load_follows_the_local_day():
    config = fleet_demo(hours=72).model_copy(update={"faults_per_entity_day": 0.0})
    nodes = generate_fleet(config, seed=4).nodes.to_pandas()
    means = {
        site: nodes[nodes.node_id.str.startswith(site)].groupby(nodes.ts.dt.hour).cpu_ratio.mean()
        for site in ("fra", "sgp")
    }

    # Local noon is about 11 UTC in Frankfurt and 5 UTC in Singapore, local midnight half a day on.
    assert means["fra"][13] > 1.3 * means["fra"][1]
    assert means["sgp"][7] > 1.3 * means["sgp"][19]


def test_a_rate_has_memory_and_a_daily_cycle():
    config = fleet_small(hours=96).model_copy(update={"faults_per_entity_day": 0.0})
    links = generate_fleet(config, seed=4).links.to_pandas()

    for _, rows in links.groupby("link_id"):
        rate = rows.set_index("ts").bandwidth_mbps
        assert rate.autocorr(1) > 0.8
        assert abs(rate.autocorr(6 * 60)) < rate.autocorr(5)


def test_round_trips_follow_distance(fleet):
    rtt_ms = fleet.links.to_pandas().groupby("link_id").rtt_ms.median()

    assert rtt_ms["fra>ams"] < 12 < rtt_ms["fra>nyc"] < 200


def test_a_commit_needs_one_other_site_of_three_and_takes_the_nearest():
    config = fleet_small(hours=12).model_copy(update={"faults_per_entity_day": 0.0})
    fleet = generate_fleet(config, seed=11)
    commit_ms = fleet.nodes.to_pandas().groupby("node_id").acp_commit_ms.median()
    rtt_ms = fleet.links.to_pandas().groupby("link_id").rtt_ms.median()

    assert rtt_ms["fra>ams"] < commit_ms["fra-n00"] < rtt_ms["fra>nyc"]
    assert commit_ms["nyc-n00"] > min(rtt_ms["nyc>fra"], rtt_ms["nyc>ams"])


def test_frankfurt_to_new_york_is_six_thousand_kilometres():
    sites = {site.name: site for site in SMALL.sites}

    assert great_circle_km(sites["fra"], sites["nyc"]) == pytest.approx(6_210, rel=0.01)


@pytest.mark.parametrize(
    "change",
    [
        {"hours": 0},
        {"hours": 0.001},
        {"acp_voters": 9},
        {"steps": 60},
        {"sites": (SMALL.sites[0], SMALL.sites[0])},
        {"faults_per_entity_day": -1},
    ],
)
def test_a_config_that_cannot_be_run_is_refused(change):
    with pytest.raises(ValidationError):
        FleetConfig(**(SMALL.model_dump() | change))
