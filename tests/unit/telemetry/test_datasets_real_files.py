"""The real files, where they are at hand: counts, ranges, and the bounds of the contracts."""

import functools
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from novacron.contracts.telemetry import LINK_SCHEMA, NODE_SCHEMA
from novacron.telemetry.arrow import arrow_schema
from novacron.telemetry.datasets.catalogue import DATASETS, dataset
from novacron.telemetry.datasets.throughput import TRACE_SETS, load_traces
from novacron.telemetry.ingest import ingest

pytestmark = pytest.mark.data

TABLES = [(name, table) for name, entry in DATASETS.items() for table in entry.tables]
TELEMETRY = [(n, t) for n, t in TABLES if DATASETS[n].tables[t].schema != "own"]


@functools.cache
def loaded(folder, name, table):
    """Each table is read once: what comes back is not changed by any test."""
    return dataset(name).load(folder, table)


# Traces, samples, and the range of bandwidth in Mbit/s of the part that is shared.
TRACES = {
    "fcc": (126, 75_992, 0.0, 9.0),
    "hsdpa": (80, 16_475, 0.1, 9.0),
    "oboe": (320, 15_680, 0.1, 14.0),
    "puffer_train": (900, 304_700, 0.0, 300.0),
    "puffer_test": (500, 171_279, 0.0, 300.0),
    "lte": (10, 4_457, 0.0, 70.0),
    "5g": (11, 18_402, 0.0, 540.0),
    "telstra": (1, 19_211, 0.5, 60.0),
}


@pytest.mark.parametrize(("name", "table"), TABLES)
def test_rows_kept_and_set_aside_add_up_to_the_file(real_data_dir, name, table):
    entry = dataset(name)

    result = loaded(real_data_dir, name, table)

    if (name, table) in {("net_mahimahi", "lte"), ("net_skyplane", "pairs")}:
        return  # ten slots make one row; two files are joined
    native = pq.read_metadata(real_data_dir / entry.tables[table].files[0]).num_rows
    assert result.rows_read - result.masked.get("day not published", 0) == native


@pytest.mark.parametrize(("name", "table"), TELEMETRY)
def test_telemetry_tables_keep_their_contract(real_data_dir, name, table):
    entry = dataset(name)
    schema = {"link": LINK_SCHEMA, "node": NODE_SCHEMA}[entry.tables[table].schema]

    frame = loaded(real_data_dir, name, table).table

    assert frame.schema.equals(arrow_schema(schema))
    assert all(frame[column].null_count == 0 for column in schema.required)
    assert not frame.select(["ts", schema.entity]).to_pandas().duplicated().any()
    for field in schema.metrics:
        bounds = pc.min_max(frame[field.name]).as_py()
        if bounds["min"] is not None:
            assert field.low <= bounds["min"] <= bounds["max"] <= field.high, field.name
            assert not pc.any(pc.is_nan(frame[field.name].cast("float64"))).as_py()


@pytest.mark.parametrize(("name", "table"), TABLES)
def test_a_file_without_rows_becomes_a_table_without_rows(real_data_dir, tmp_path, name, table):
    entry = dataset(name)
    for file in entry.tables[table].files:
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pq.read_table(real_data_dir / file).slice(0, 0), path)

    result = entry.load(tmp_path, table)

    assert result.table.num_rows == 0
    assert result.table.schema.names == loaded(real_data_dir, name, table).table.schema.names


@pytest.mark.parametrize("set_name", TRACE_SETS)
def test_trace_sets_have_the_counts_and_ranges_of_their_publisher(real_data_dir, set_name):
    n_traces, n_samples, low, high = TRACES[set_name]

    traces = load_traces(real_data_dir, set_name)

    assert len(traces) == n_traces
    assert sum(map(len, traces)) == n_samples
    values = np.concatenate([trace.bandwidth_mbps for trace in traces])
    assert low <= values.min() <= values.max() <= high


def test_puffer_sessions_lie_above_the_floor_they_were_chosen_by(real_data_dir):
    means = [t.bandwidth_mbps.mean() for t in load_traces(real_data_dir, "puffer_test")]

    assert min(means) >= 2.4


def test_5g_pings_come_about_once_in_twelve_rows(real_data_dir):
    traces = load_traces(real_data_dir, "5g")

    rtt_ms = np.concatenate([trace.rtt_ms for trace in traces])
    measured = rtt_ms[~np.isnan(rtt_ms)]

    assert 11 < len(rtt_ms) / len(measured) < 14
    assert 65 < np.median(measured) < 85


def test_nab_windows_cover_about_a_tenth_of_a_labelled_series(real_data_dir):
    frame = loaded(real_data_dir, "anom_nab", "series").table.to_pandas()

    share = frame.groupby("series").in_window.mean()

    assert len(share) == 17
    assert share[share > 0].between(0.08, 0.11).all()


def test_nezha_cpu_faults_show_in_the_pod_they_were_injected_into(real_data_dir):
    nodes = loaded(real_data_dir, "anom_nezha", "nodes").table.to_pandas()
    faults = loaded(real_data_dir, "anom_nezha", "faults").table.to_pandas()
    cpu = faults[faults.kind.str.startswith("cpu")]

    gains = []
    for fault in cpu.itertuples():
        pod = nodes[nodes.node_id == fault.node_id]
        inside = pod[(pod.ts > fault.start) & (pod.ts <= fault.end)]
        gains.append(inside.cpu_ratio.max() / max(pod.cpu_ratio.median(), 1e-3))

    assert len(cpu) == 15
    assert np.median(gains) > 2


def test_bitbrains_is_mostly_idle_and_bursts_above_what_was_given(real_data_dir):
    frame = loaded(real_data_dir, "vm_bitbrains", "nodes").table.to_pandas()

    assert frame.node_id.nunique() == 36
    assert frame.cpu_ratio.median() == pytest.approx(0.0193, abs=0.001)
    assert (frame.cpu_ratio > 1).mean() > 0.01


def test_two_data_centres_have_a_daily_shape(real_data_dir):
    alibaba = (
        loaded(real_data_dir, "vm_dc_aggregate", "alibaba2018_300s").table["cpu_ratio"].to_pandas()
    )
    azure = (
        loaded(real_data_dir, "vm_dc_aggregate", "azure_v2_300s")
        .table["cpu_usage_sum"]
        .to_pandas()
    )

    assert alibaba.autocorr(288) > 0.5
    assert azure.autocorr(288) > 0.5


def test_far_regions_are_slower_than_near_ones(real_data_dir):
    pairs = loaded(real_data_dir, "net_skyplane", "pairs").table.to_pandas()

    ranks = pairs[["throughput_median_mbps", "rtt_median_ms"]].corr("spearman")

    assert len(pairs) == 6_820
    assert -0.8 < ranks.iloc[0, 1] < -0.6


def test_wikipedia_pages_have_a_row_for_every_day(real_data_dir):
    frame = loaded(real_data_dir, "cap_wikipedia", "views").table.to_pandas()

    steps = frame.groupby("page").ts.diff().dropna()

    assert frame.page.nunique() == 12
    assert (steps == pd.Timedelta(days=1)).all()


def test_electricity_and_requests_come_at_even_steps(real_data_dir):
    energy = loaded(real_data_dir, "cap_energy", "demand").table["ts"].to_pandas()
    requests = loaded(real_data_dir, "scale_genai2026", "requests").table
    bins = requests["local_ts"].to_pandas()

    assert energy.diff().dropna().unique().tolist() == [pd.Timedelta(hours=1)]
    assert bins.diff().dropna().unique().tolist() == [pd.Timedelta(minutes=10)]


def test_lifetimes_of_azure_vms_are_known_for_the_later_split_alone(real_data_dir):
    frame = loaded(real_data_dir, "place_azure_v1", "arrivals").table.to_pandas()

    known = frame.groupby("split").life_min_s.count()

    assert frame.flavor.nunique() == 16
    assert known.to_dict() == {"dev": 259_159, "train": 0}
    ends = frame.dropna(subset="life_max_s")
    assert (ends.life_max_s > ends.life_min_s).all()


def test_compression_of_random_data_gains_nothing(real_data_dir):
    frame = loaded(real_data_dir, "bytes_compress", "curves").table.to_pandas()

    random = frame[frame.corpus == "random"]

    assert random.ratio_x.between(0.999, 1.0).all()
    assert frame.corpus.nunique() == 12


def test_noise_of_a_fixed_size_vm_is_far_below_that_of_a_burstable_one(real_data_dir):
    frame = loaded(real_data_dir, "vm_azure_noise", "scores").table.to_pandas()

    cpu = frame[frame.test == "Sysbench|Test:_CPU"].groupby("vm_size").score
    spread = cpu.std() / cpu.mean()

    assert frame.series_id.nunique() == 144
    assert spread["B8ms"] > 20 * spread["D8s_v5"]


@pytest.mark.parametrize(
    ("name", "table"),
    [("net_tput_traces", "hsdpa"), ("net_5g_ucc", "download"), ("anom_nezha", "nodes")],
)
def test_ingestion_accepts_every_row_an_adapter_hands_over(real_data_dir, tmp_path, name, table):
    entry = dataset(name)
    schema = {"link": LINK_SCHEMA, "node": NODE_SCHEMA}[entry.tables[table].schema]
    samples = loaded(real_data_dir, name, table).table
    pq.write_table(samples, tmp_path / "samples.parquet")

    report = ingest(
        [tmp_path / "samples.parquet"],
        schema,
        tmp_path / "out",
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )

    assert report.rows_accepted == samples.num_rows
    assert report.rows_rejected == 0
