"""Any servable model over Parquet: columns named like its tensors, bad rows apart with a reason."""

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubling_model import DoublingModel, card, write_bundle

from novacron.errors import OutOfRangeError, SchemaError, UnreadableInputError
from novacron.models.anomaly.budget import DEFAULT_CURVE
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.model import AnomalyModel
from novacron.models.base import TensorSpec
from novacron.models.tensor_checks import check_tensors
from novacron.models.tensor_specs import count, flag, number, text
from novacron.registry.records import LoadedModel
from novacron.registry.store import ModelStore
from ray_jobs.batch_answers import RowAnswerer
from ray_jobs.batch_files import BatchRequest, PartAnswerer, _parts, answer_file
from ray_jobs.locations import registry_config
from ray_jobs.predict import Prediction, prediction_answer, reads_links

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class EchoModel:
    """Returns every input; takes each kind of tensor."""

    kind = "echo"
    features_hash = "e" * 16
    inputs = (
        number("load", "1", "x", -1, low=0, high=100),
        number("grid", "1", "x", -1, 2, required=False),
        count("cores", "1", "x", required=False),
        flag("busy", "x", required=False),
        text("zone", "x", required=False),
    )
    outputs = (
        number("total", "1", "y"),
        number("pair", "1", "y", 2),
        number("block", "1", "y", 2, 2),
        count("steps", "1", "y"),
        flag("was_busy", "y"),
        text("where", "y"),
    )

    def prepare(self, tensors):
        rows = check_tensors(tensors, self.inputs)
        if tensors["load"].shape[1] > 9:
            raise SchemaError(field="load", got="10 samples", expected="at most 9")
        steps = np.full(rows, tensors["load"].shape[1])
        grid = tensors["grid"].sum(axis=(1, 2)) if "grid" in tensors else np.zeros(rows)
        return {
            "total": tensors["load"].sum(axis=1) + grid + tensors.get("cores", 0),
            "steps": steps,
            "was_busy": tensors.get("busy", np.zeros(rows, dtype=bool)),
            "where": tensors.get("zone", np.full(rows, "nowhere", dtype=object)),
        }

    def predict(self, rows):
        pair = np.stack([rows["total"], -rows["total"]], axis=1)
        return dict(rows) | {"pair": pair, "block": np.stack([pair, 2 * pair], axis=1)}


LOADED = LoadedModel(model=EchoModel(), name="echo", version="4", card=card())


def answer(columns, first_row=0):
    batch = pa.RecordBatch.from_pydict(columns)
    return RowAnswerer(LOADED, batch.schema, "file", clock=lambda: NOW).answer(batch, first_row)


def test_lists_of_different_length_are_answered_in_the_order_of_the_rows():
    found = answer({"load": [[1.0], [2.0, 3.0], [4.0], [5.0, 6.0]]})

    rows = found.table.to_pylist()
    assert [row["total"] for row in rows] == [1.0, 5.0, 4.0, 11.0]
    assert [row["steps"] for row in rows] == [1, 2, 1, 2]
    assert rows[1]["pair"] == [5.0, -5.0]
    assert rows[1]["block"] == [[5.0, -5.0], [10.0, -10.0]]


def test_every_kind_of_column_arrives_as_its_tensor():
    found = answer(
        {
            "load": pa.array([[1, 2]], pa.list_(pa.int16())),
            "grid": [[[1.0, 2.0], [3.0, 4.0]]],
            "cores": pa.array([8], pa.int32()),
            "busy": [True],
            "zone": pa.array(["eu"]).dictionary_encode(),
        }
    )

    (row,) = found.table.to_pylist()
    assert (row["total"], row["was_busy"], row["where"]) == (21.0, True, "eu")


def test_rows_that_lack_an_optional_input_are_answered_without_it():
    found = answer({"load": [[1.0], [1.0]], "zone": ["eu", None], "cores": [2, None]})

    rows = found.table.to_pylist()
    assert [(row["where"], row["total"]) for row in rows] == [("eu", 3.0), ("nowhere", 1.0)]


def test_an_answer_carries_the_other_columns_and_who_answered_when():
    found = answer({"load": [[1.0]], "vm": ["a"], "ts": pa.array([NOW])}, first_row=10)

    (row,) = found.table.to_pylist()
    assert (row["vm"], row["ts"]) == ("a", NOW)
    assert (row["source_row"], row["prediction_id"]) == (11, "echo-4-file-11")
    assert (row["model_name"], row["model_version"], row["made_at"]) == ("echo", "4", NOW)
    assert row["features_hash"] == "e" * 16


@pytest.mark.parametrize(
    ("bad", "reason", "column"),
    [
        ({"load": None}, "missing_required", "load"),
        ({"load": [1.0, None]}, "missing_required", "load"),
        ({"load": [1.0, float("nan")]}, "non_finite", "load[0, 1]"),
        ({"load": [1.0, 101.0]}, "out_of_range", "load[0, 1]"),
        ({"load": [1.0] * 10}, "refused_by_model", "load"),
        ({"load": []}, "refused_by_model", "load"),
        ({"grid": [[1.0, 2.0], [3.0]]}, "wrong_type", "grid"),
        ({"grid": [[1.0], [3.0]]}, "refused_by_model", "grid"),
        ({"cores": -1}, "out_of_range", "cores[0]"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason_and_its_batch_is_answered(bad, reason, column):
    good = {"load": [1.0, 2.0], "grid": [[1.0, 2.0], [3.0, 4.0]], "cores": 1, "id": 7}
    rows = [good, good | bad, good]
    schema = pa.schema(
        [
            ("load", pa.list_(pa.float64())),
            ("grid", pa.list_(pa.list_(pa.float64()))),
            ("cores", pa.int64()),
            ("id", pa.int64()),
        ]
    )
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)

    found = RowAnswerer(LOADED, schema, "file").answer(batch, 100)

    assert found.table["source_row"].to_pylist() == [101, 103]
    (one,) = found.rejected
    assert (one.row, one.reason, one.column, one.raw["id"]) == (102, reason, column, 7)
    assert one.expected
    json.loads(one.to_json())


def test_many_bad_rows_among_many_good_ones_are_all_found():
    rng = np.random.default_rng(0)
    bad = rng.random(500) < 0.1
    loads = [[500.0 if one else 1.0, 2.0] for one in bad]

    found = answer({"load": loads})

    assert [one.row - 1 for one in found.rejected] == np.flatnonzero(bad).tolist()
    assert found.table.num_rows == 500 - bad.sum()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"freight": [[1.0]]}, "load"),
        ({"load": [1.0]}, "load"),
        ({"load": [["a"]]}, "load"),
        ({"load": [[1.0]], "cores": [1.5]}, "cores"),
        ({"load": [[1.0]], "busy": [1]}, "busy"),
        ({"load": [[1.0]], "zone": [1]}, "zone"),
        ({"load": [[1.0]], "total": [1.0]}, "total"),
        ({"load": [[1.0]], "model_name": ["x"]}, "model_name"),
    ],
)
def test_a_file_whose_columns_cannot_be_the_tensors_is_refused_by_name(columns, words):
    with pytest.raises(SchemaError) as caught:
        answer(columns)

    assert caught.value.field == words


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "in" / "rows.parquet"
    path.parent.mkdir()
    loads = [[float(n), 1.0] for n in range(100)] + [[200.0, 1.0]]
    table = pa.table({"load": loads, "id": list(range(101))})
    pq.write_table(table, path, row_group_size=40)
    return path


def request_for(path, target, **changes):
    return BatchRequest(**{"model": "echo", "source": path, "target": target} | changes)


def test_a_file_is_answered_in_batches_and_bad_rows_lie_in_quarantine(rows_file, tmp_path):
    seen = []
    payload = answer_file(
        LOADED, request_for(rows_file, tmp_path / "out.parquet", batch_rows=7), seen.append
    )

    made = pq.read_table(tmp_path / "out.parquet")
    assert made["id"].to_pylist() == list(range(100))
    assert made["total"].to_pylist() == [n + 1.0 for n in range(100)]
    assert (payload["rows"], payload["rows_rejected"]) == (100, 1)
    assert payload["reasons"] == {"out_of_range": 1}
    assert payload["rows_per_s"] > 0
    assert max(np.diff([0, *seen])) <= 7
    (line,) = (tmp_path / "out.quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["row"] == 101


def test_the_parts_of_workers_are_the_rows_of_the_one_file(rows_file, tmp_path):
    request = request_for(rows_file.parent, tmp_path / "out")
    parts = pa.Table.from_pylist(list(_parts(rows_file.parent)))

    counted = PartAnswerer(request, LOADED)(parts).to_pylist()

    answer_file(LOADED, request_for(rows_file, tmp_path / "alone.parquet"))
    alone = pq.read_table(tmp_path / "alone.parquet").drop_columns("made_at")
    made = [pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert len(made) == 3
    assert pa.concat_tables(made).drop_columns("made_at").equals(alone)
    assert [one["rows"] for one in counted] == [40, 40, 20]
    assert counted[2]["reason"] == ["out_of_range"]


@pytest.mark.parametrize("content", [b"not parquet", b"PAR1 and then nothing"])
def test_a_damaged_file_is_refused_and_leaves_no_target(tmp_path, content):
    (tmp_path / "rows.parquet").write_bytes(content)

    with pytest.raises(UnreadableInputError):
        answer_file(LOADED, request_for(tmp_path / "rows.parquet", tmp_path / "out.parquet"))

    assert not (tmp_path / "out.parquet").exists()


def test_an_empty_file_gives_an_empty_one_with_the_same_columns(tmp_path):
    table = pa.table({"load": pa.array([], pa.list_(pa.float64()))})
    pq.write_table(table, tmp_path / "none.parquet")

    payload = answer_file(LOADED, request_for(tmp_path / "none.parquet", tmp_path / "out.parquet"))

    assert payload["rows"] == 0
    assert "total" in pq.read_table(tmp_path / "out.parquet").column_names


def test_a_registered_detector_judges_windows_of_any_length(tmp_path):
    model = AnomalyModel(AnomalyDetector(curve=DEFAULT_CURVE))
    loaded = LoadedModel(model=model, name="anomaly", version="1", card=card())
    rng = np.random.default_rng(0)
    quiet, jump = rng.normal(0, 1, 300), np.append(rng.normal(0, 1, 280), 40.0)
    pq.write_table(pa.table({"value": [quiet, jump, [1.0]]}), tmp_path / "in.parquet")

    payload = answer_file(
        loaded,
        BatchRequest(
            model="anomaly", source=tmp_path / "in.parquet", target=tmp_path / "out.parquet"
        ),
    )

    score = pq.read_table(tmp_path / "out.parquet")["score"].to_pylist()
    assert score[1] > score[0]
    assert payload["reasons"] == {"refused_by_model": 1}


def test_the_job_reads_links_only_where_the_column_holds_samples(tmp_path):
    model = DoublingModel()
    for name, values in (("links", [1.0]), ("windows", [[1.0]])):
        pq.write_table(pa.table({"bandwidth_mbps": values}), tmp_path / f"{name}.parquet")

    assert reads_links(model, tmp_path / "links.parquet")
    assert reads_links(model, tmp_path / "links.csv")
    assert not reads_links(model, tmp_path / "windows.parquet")
    assert not reads_links(EchoModel(), tmp_path / "links.parquet")


@pytest.mark.usefixtures("runs")
def test_the_job_answers_by_a_registered_version(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", factor=3.0)
    ModelStore.connect(registry_config()).register("doubling", bundle, card(name="doubling"))
    source = tmp_path / "windows.parquet"
    pq.write_table(pa.table({"bandwidth_mbps": [[1.0, 2.0]], "key": ["a"]}), source)
    request = Prediction(
        model="doubling", ref="challenger", source=source, target=tmp_path / "out.parquet"
    )

    found = prediction_answer(request, on_cluster=False, show_progress=False)

    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (row["key"], row["value_mbps"]) == ("a", [3.0, 6.0])
    assert (row["model_name"], row["model_version"]) == ("doubling", found.payload["version"])


def test_specs_are_built_in_one_line():
    assert number("a", "s", "d", 3, low=0) == TensorSpec(
        name="a", datatype="FP64", shape=(-1, 3), unit="s", doc="d", low=0
    )
    assert text("b", "d").unit == "name"
    with pytest.raises(OutOfRangeError):
        check_tensors({"c": np.array([-1])}, (count("c", "1", "d"),))
