import re
from pathlib import Path

import pytest

from novacron.errors import DatasetNotFoundError, UnreadableInputError
from novacron.telemetry.datasets.catalogue import DATASETS, dataset
from novacron.telemetry.datasets.files import require_data_dir
from novacron.telemetry.datasets.reference import render_datasets
from novacron.telemetry.datasets.throughput import TRACE_SETS

NAMES = [
    "anom_donut",
    "anom_nab",
    "anom_nezha",
    "bytes_compress",
    "cap_energy",
    "cap_wikipedia",
    "net_5g_ucc",
    "net_mahimahi",
    "net_skyplane",
    "net_speedtest_telstra",
    "net_tput_traces",
    "place_alibaba_dlrm2025",
    "place_alibaba_gpu2023",
    "place_azure_v1",
    "scale_genai2026",
    "vm_azure_noise",
    "vm_bitbrains",
    "vm_dc_aggregate",
]


def test_every_data_set_is_in_the_catalogue():
    assert sorted(DATASETS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_says_what_it_is_for_and_whose_it_is(name):
    entry = dataset(name)

    assert entry.purpose
    assert entry.source
    assert entry.licence
    assert all(table.doc for table in entry.tables.values())
    assert all(file.startswith(f"{name}/") for file in entry.files)


def test_every_trace_set_reads_a_file_of_the_catalogue():
    files = {file for entry in DATASETS.values() for file in entry.files}

    assert {trace_set.file for trace_set in TRACE_SETS.values()} <= files


def test_an_unknown_name_gets_the_nearest_and_the_whole_list():
    with pytest.raises(DatasetNotFoundError, match="Did you mean 'vm_bitbrains'") as caught:
        dataset("bitbrains")

    assert all(name in str(caught.value) for name in NAMES)


def test_an_unknown_table_gets_the_list_of_tables(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="series, windows"):
        dataset("anom_nab").load(tmp_path, "labels")


def test_missing_files_are_listed(publish):
    folder = publish("anom_nab/series.parquet", {"series": ["a"]})

    assert dataset("anom_nab").missing_files(folder) == ("anom_nab/windows.parquet",)


@pytest.mark.parametrize("path", [None, "", "/nowhere/at/all"])
def test_a_missing_data_folder_says_how_to_name_one_and_what_is_in_it(path):
    with pytest.raises(DatasetNotFoundError, match=re.escape("net_tput_traces/fcc.parquet")) as e:
        require_data_dir(path)

    assert "NOVACRON_DATA_DIR" in str(e.value)


def test_a_data_folder_that_is_there_is_returned(tmp_path):
    assert require_data_dir(str(tmp_path)) == tmp_path


def test_a_file_that_is_not_parquet_is_called_unreadable(tmp_path):
    (tmp_path / "cap_energy").mkdir()
    (tmp_path / "cap_energy" / "vic_electricity_hourly.parquet").write_bytes(b"PAR1 truncated")

    with pytest.raises(UnreadableInputError, match="a Parquet file"):
        dataset("cap_energy").load(tmp_path, "demand")


def test_the_documented_data_sets_are_the_ones_of_the_catalogue():
    page = Path(__file__).parents[3] / "docs" / "datasets.md"

    assert page.read_text() == render_datasets(DATASETS.values())
