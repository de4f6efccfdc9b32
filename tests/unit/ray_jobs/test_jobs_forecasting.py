import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubling_model import card

from novacron.contracts.forecast import Forecast
from novacron.errors import InvalidInputError, SchemaError, UnreadableInputError
from novacron.models.base import TensorSpec
from novacron.registry.records import LoadedModel
from ray_jobs.forecast_files import PredictRequest, predict_file

START = datetime(2026, 1, 1, tzinfo=UTC)


class EchoModel:
    """Answers the newest sample and the length of the history it was given."""

    kind = "echo"
    features_hash = "f" * 16
    inputs = tuple(
        TensorSpec(name=name, datatype="FP64", shape=(-1, -1), unit="", doc="", required=False)
        for name in ("bandwidth_mbps", "rtt_ms")
    )

    def prepare(self, tensors):
        newest = tensors["bandwidth_mbps"][:, -1]
        assert all(np.isfinite(tensors[name]).all() for name in tensors if name != "path_class")
        length = np.full(len(newest), float(tensors["bandwidth_mbps"].shape[1]))
        has_rtt = np.full(len(newest), float("rtt_ms" in tensors))
        named = np.full(len(newest), "path_class" in tensors)
        return {"newest": newest, "length": length, "has_rtt": has_rtt, "named": named}

    def predict(self, rows):
        value = np.stack([rows["newest"], rows["length"], rows["has_rtt"]], axis=1)
        # Shows in the answer that a class was named.
        fallback = np.where(rows["named"], "ewma_band", "").astype(object)
        return {
            "value_mbps": value,
            "lower_mbps": value - 1,
            "upper_mbps": value + 1,
            "fallback": fallback,
        }


@pytest.fixture
def forecast(tmp_path):
    loaded = LoadedModel(model=EchoModel(), name="bandwidth", version="4", card=card())

    def run(rows, **request):
        source = tmp_path / "links.parquet"
        table = pa.table({name: [row.get(name) for row in rows] for name in rows[0]})
        pq.write_table(table, source, row_group_size=7)
        answer = predict_file(
            loaded,
            PredictRequest(
                model="bandwidth", source=source, target=tmp_path / "out.parquet", **request
            ),
        )
        return answer, pq.read_table(tmp_path / "out.parquet").to_pylist()

    return run


def row(link, minute, bandwidth_mbps, **more):
    ts = START + timedelta(minutes=minute)
    return {"ts": ts, "link_id": link, "bandwidth_mbps": bandwidth_mbps} | more


def test_every_row_gets_one_forecast_of_the_contract(forecast):
    answer, made = forecast([row("a", minute, 10.0 + minute) for minute in range(5)])

    assert answer["rows"] == len(made) == 5
    for one in made:
        Forecast(**one)
    assert [one["value"][0] for one in made] == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert made[0]["horizon_s"] == [60.0, 120.0, 180.0]
    assert made[0]["valid_until"] == START + timedelta(minutes=3)
    assert len({one["prediction_id"] for one in made}) == 5


def test_a_window_holds_the_samples_of_its_own_link_up_to_its_row(forecast):
    rows = [row(link, minute, 1.0) for minute in range(4) for link in ("a", "b")]

    _, made = forecast(rows)

    assert [(one["entity_id"], one["value"][1]) for one in made] == [
        (link, minute + 1.0) for minute in range(4) for link in ("a", "b")
    ]


def test_the_answer_does_not_depend_on_how_the_file_is_cut_into_batches(forecast):
    rng = np.random.default_rng(3)
    rows = [
        row(link, minute, float(rng.uniform(1, 9)))
        for minute in range(150)
        for link in ("a", "b", "c")
    ]

    _, whole = forecast(rows)
    _, pieces = forecast(rows, batch_rows=11)

    assert pieces == whole


def test_a_history_is_never_longer_than_the_model_reads(forecast):
    _, made = forecast([row("a", minute, 1.0) for minute in range(120)])

    assert max(one["value"][1] for one in made) == 96.0


def test_a_pause_starts_the_history_anew(forecast):
    minutes = [0, 1, 2, 60, 61]

    _, made = forecast([row("a", minute, 1.0) for minute in minutes])

    assert [one["value"][1] for one in made] == [1.0, 2.0, 3.0, 1.0, 2.0]


def test_a_missing_round_trip_is_held_from_the_sample_before(forecast):
    rtts = [None, 20.0, None, 30.0]

    _, made = forecast([row("a", at, 1.0, rtt_ms=rtt) for at, rtt in enumerate(rtts)])

    assert [one["value"][2] for one in made] == [0.0, 0.0, 0.0, 0.0]


def test_a_round_trip_known_from_the_start_is_used_throughout(forecast):
    rtts = [20.0, None, None, 30.0]

    _, made = forecast([row("a", at, 1.0, rtt_ms=rtt) for at, rtt in enumerate(rtts)])

    assert [one["value"][2] for one in made] == [1.0, 1.0, 1.0, 1.0]


def test_the_class_of_the_paths_reaches_the_model(forecast):
    _, plain = forecast([row("a", 0, 1.0), row("a", 1, 1.0)])
    _, named = forecast([row("a", 0, 1.0), row("a", 1, 1.0)], path_class="lte")

    assert {one["fallback"] for one in plain} == {""}
    assert {one["fallback"] for one in named} == {"ewma_band"}


def test_bad_rows_are_quarantined_with_their_reason_and_the_others_answered(forecast):
    rows = [row("a", minute, 10.0) for minute in range(6)]
    rows[2]["bandwidth_mbps"] = -1.0
    rows[4]["bandwidth_mbps"] = None

    answer, made = forecast(rows)

    assert len(made) == 4
    assert answer["reasons"] == {"out_of_range": 1, "missing_required": 1}
    lines = Path(answer["quarantine"]).read_text().splitlines()
    assert {json.loads(line)["row"] for line in lines} == {3, 5}


def test_a_row_behind_another_of_its_link_is_quarantined(forecast):
    answer, made = forecast([row("a", minute, 10.0) for minute in (0, 2, 1, 3)])

    assert len(made) == 3
    assert answer["reasons"] == {"clock_went_back": 1}


def test_single_samples_need_the_step_to_be_named(forecast):
    rows = [row("a", 0, 1.0), row("b", 0, 1.0)]

    with pytest.raises(InvalidInputError, match="--step-s"):
        forecast(rows)
    _, made = forecast(rows, step_s=30.0)

    assert made[0]["horizon_s"] == [30.0, 60.0, 90.0]


def test_a_file_of_another_table_is_refused(forecast):
    with pytest.raises(SchemaError, match="link_id"):
        forecast([{"ts": START, "node": "a"}])


def test_a_damaged_file_is_refused_and_leaves_no_target(tmp_path):
    source = tmp_path / "links.parquet"
    source.write_bytes(b"PAR1 and then nothing")
    loaded = LoadedModel(model=EchoModel(), name="bandwidth", version="4", card=card())

    with pytest.raises(UnreadableInputError):
        predict_file(
            loaded,
            PredictRequest(model="bandwidth", source=source, target=tmp_path / "out.parquet"),
        )

    assert not (tmp_path / "out.parquet").exists()


def test_an_empty_file_gives_an_empty_file(forecast, tmp_path):
    table = pa.table(
        {
            "ts": pa.array([], pa.timestamp("us", tz="UTC")),
            "link_id": pa.array([], pa.string()),
            "bandwidth_mbps": pa.array([], pa.float64()),
        }
    )
    source = tmp_path / "none.parquet"
    pq.write_table(table, source)
    loaded = LoadedModel(model=EchoModel(), name="bandwidth", version="4", card=card())

    answer = predict_file(
        loaded,
        PredictRequest(model="bandwidth", source=source, target=tmp_path / "out.parquet"),
    )

    assert answer["rows"] == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
