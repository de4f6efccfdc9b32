import numpy as np
import pyarrow as pa
import pytest

from novacron.errors import DatasetNotFoundError
from novacron.telemetry.digest import data_sha256, tables_sha256, traces_sha256
from novacron.telemetry.traces import Trace


def test_the_digest_does_not_depend_on_order_or_place(tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_text("1")
        (tmp_path / folder / "b.csv").write_text("2")
    here, there = tmp_path / "here", tmp_path / "there"

    digest = data_sha256([here / "b.csv", here / "a.csv"])

    assert digest == data_sha256([there])
    assert len(digest) == 64


@pytest.mark.parametrize("change", ["content", "name", "addition"])
def test_the_digest_sees_every_change(tmp_path, change):
    (tmp_path / "a.csv").write_text("1")
    before = data_sha256([tmp_path])

    if change == "content":
        (tmp_path / "a.csv").write_text("2")
    elif change == "name":
        (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    else:
        (tmp_path / "c.csv").write_text("")

    assert data_sha256([tmp_path]) != before


def test_a_missing_file_has_no_digest(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        data_sha256([tmp_path / "nowhere.csv"])


def test_nothing_has_no_digest(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="no file"):
        data_sha256([tmp_path])


def test_the_digest_of_a_table_does_not_depend_on_its_chunks():
    whole = pa.table({"x": [1.0, None, 3.0], "name": ["a", None, "c"], "ok": [True, None, False]})
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])

    assert tables_sha256({"t": whole}) == tables_sha256({"t": pieces})


@pytest.mark.parametrize(
    "other",
    [
        {"x": [1.0, 0.0]},
        {"x": [1.0, 2.0]},
        {"y": [1.0, None]},
        {"x": pa.array([1, None], pa.int64())},
    ],
)
def test_the_digest_of_a_table_sees_values_nulls_names_and_types(other):
    table = pa.table({"x": pa.array([1.0, None])})

    assert tables_sha256({"t": table}) != tables_sha256({"t": pa.table(other)})


def test_the_digest_of_traces_sees_values_and_order():
    def trace(name, value):
        return Trace(trace_id=name, path_class="x", t_s=[0.0], bandwidth_mbps=np.array([value]))

    a, b = trace("a", 1.0), trace("b", 1.0)

    assert traces_sha256([a, b]) == traces_sha256([trace("a", 1.0), trace("b", 1.0)])
    assert len({traces_sha256(x) for x in ([a, b], [b, a], [a], [trace("a", 2.0), b])}) == 4
