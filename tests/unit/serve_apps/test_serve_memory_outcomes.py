"""Answers logged, and outcomes that judge them, behind HTTP."""

import pytest
from memory_services import ACTUALS, BANDWIDTH, SAMPLES, STEP_S, batch, post, series

from novacron.monitoring.predictions.join import join_actuals, read_predictions

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


async def test_an_answer_is_logged_and_its_outcome_judges_it(begin, tmp_path, infer_body):
    service = await begin()
    await post(service, SAMPLES, batch(series(30)))
    record = (await post(service, BANDWIDTH, {"link_id": "w-1"})).json()
    told = await post(
        service, ACTUALS, {"prediction_id": record["prediction_id"], "value": [50.0, 40.0]}
    )
    assert told.json() == {"kept": 1, "refused": 0, "errors": []}
    body = infer_body([[2.0, 4.0], [6.0, 6.0]], parameters={"entity_id": "lte-9"})
    tensors = await post(service, "/v2/models/mean/infer", body)
    log_id = tensors.json()["parameters"]["prediction_id"]
    service.memory.recorder.writer.flush()

    logged = read_predictions(tmp_path / "predictions", model="bandwidth")
    (row,) = logged.to_pylist()
    assert row["prediction_id"] == record["prediction_id"]
    assert row["output.value_mbps"] == record["value_mbps"]
    assert (row["entity"], row["version"], row["role"]) == ("w-1", "1", "champion")
    assert row["horizon_s"] == pytest.approx(record["horizon_s"])
    assert row["step_s"] == pytest.approx(STEP_S)
    joined = join_actuals(logged, tmp_path / "predictions")
    assert joined["actual"].tolist() == [50, 40]
    means = read_predictions(tmp_path / "predictions", model="mean").to_pylist()
    assert [one["prediction_id"] for one in means] == [f"{log_id}.0", f"{log_id}.1"]
    assert {one["entity"] for one in means} == {"lte-9"}


async def test_an_outcome_of_an_unknown_prediction_is_refused_by_itself(begin):
    service = await begin()
    record = (await post(service, BANDWIDTH, {"bandwidth_mbps": [1, 2, 3]})).json()
    stranger = "0123456789ab00000001"
    actuals = [
        {"prediction_id": stranger, "value": 1},
        {"prediction_id": record["prediction_id"], "value": 1},
        {"prediction_id": "x", "value": 1},
    ]

    mixed = await post(service, ACTUALS, {"actuals": actuals})
    alone = await post(service, ACTUALS, actuals[0])

    answer = mixed.json()
    assert (answer["kept"], answer["refused"]) == (1, 2)
    assert [(one["row"], one["code"]) for one in answer["errors"]] == [
        (0, "NotFoundError"), (2, "SchemaError"),
    ]  # fmt: skip
    assert alone.status_code == 404
    assert stranger in alone.json()["error"]
    assert service.seen.total("novacron_actuals", "unknown") == 2


async def test_too_many_outcomes_are_refused(begin):
    service = await begin(predictions={"max_actuals": 2})

    reply = await post(service, ACTUALS, {"actuals": [{}, {}, {}]})

    assert (reply.status_code, reply.json()["field"]) == (413, "actuals")


async def test_a_log_that_cannot_be_written_harms_no_answer_and_health_says_so(begin, tmp_path):
    (tmp_path / "predictions").write_text("a file in the way")
    service = await begin(predictions={"log": {"block_interval_s": 600, "max_buffer_rows": 2}})

    replies = [await post(service, BANDWIDTH, {"bandwidth_mbps": [1, 2, 3]}) for _ in range(4)]

    assert all(reply.status_code == 200 for reply in replies)
    health = (await service.client.get("/v2/health/ready")).json()
    assert (health["ready"], health["prediction_log"]) == (True, "failing")
    status = (await service.client.get("/api/v1/predictions/status")).json()
    assert (status["rows_waiting"], status["rows_refused"]) == (2, 2)
