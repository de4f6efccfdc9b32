"""The typed routes: real models behind JSON rows, records with units, rows that fail alone."""

import asyncio
import json
import re
from datetime import datetime
from html.parser import HTMLParser

import jsonschema
import numpy as np
import pytest
import pytest_asyncio
from serving_fakes import POISON, MeanModel, build_service
from tiny_bandwidth import tiny_fit

from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.model import AnomalyModel
from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.fit import fit_patterns
from serve_apps.domain.routes import ROUTES
from serve_apps.domain.site import Site

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]
BATCH = "/api/v1/predict/batch"
SINE = (0.5 + 0.3 * np.sin(np.arange(256) / 8)).tolist()
QUIET = np.random.default_rng(2).normal(10, 1, 400).tolist()


def with_site(models, tmp_path):
    return build_service(models, list(models), site_dir=tmp_path)


@pytest_asyncio.fixture
async def means(tmp_path):
    service = with_site({"mean": MeanModel()}, tmp_path)
    await service.host.load()
    return service


@pytest.fixture(scope="module")
def real_models():
    patterns = fit_patterns(PatternsConfig(train_each=10, validation_each=10, trees=8))
    return {"bandwidth": tiny_fit().model, "patterns": patterns}


@pytest_asyncio.fixture
async def real(real_models, tmp_path):
    models = real_models | {"anomaly": AnomalyModel(AnomalyDetector())}
    service = with_site(models, tmp_path)
    await service.host.load()
    return service


async def test_one_row_is_answered_by_its_record(means):
    body = {"model": "mean", "rows": [{"x_mbps": [1, 3], "entity_id": "link-7"}]}

    reply = await means.client.post(BATCH, json=body)

    (record,) = reply.json()["records"]
    assert reply.status_code == 200
    assert record["entity_id"] == "link-7"
    assert record["mean_mbps"] == [2.0]
    assert (record["model_name"], record["model_version"]) == ("mean", "1")
    assert datetime.fromisoformat(record["made_at"]).tzinfo is not None
    assert "predict;dur=" in reply.headers["server-timing"]


async def test_rows_of_several_lengths_are_answered_in_their_order_and_bad_ones_fail_alone(means):
    rows = [[1, 3], [5], [1, -1], [2, 4], [POISON, POISON], [1, 2, 6]]

    reply = await means.client.post(
        BATCH, json={"model": "mean", "rows": [{"x_mbps": row} for row in rows]}
    )

    answer = reply.json()
    assert (answer["count"], answer["failed"]) == (6, 2)
    found = [record.get("mean_mbps", record.get("code")) for record in answer["records"]]
    assert found == [[2.0], [5.0], "OutOfRangeError", [3.0], "NovacronError", [3.0]]
    assert [record["row"] for record in answer["records"] if "code" in record] == [2, 4]


async def test_fields_beside_the_rows_hold_for_all_of_them(means):
    body = {"model": "mean", "path_class": "lte", "rows": [{"x_mbps": [1]}, {"x_mbps": [3]}]}

    answer = (await means.client.post(BATCH, json=body)).json()

    assert [record["mean_mbps"] for record in answer["records"]] == [[1.0], [3.0]]


BAD = {
    "no model": ({"rows": [{"x_mbps": [1]}]}, 400, "model"),
    "unknown model": ({"model": "std", "rows": [{"x_mbps": [1]}]}, 404, None),
    "unknown version": ({"model": "mean", "version": "9", "rows": [{"x_mbps": [1]}]}, 404, None),
    "no object": ([1], 400, "body"),
    "no rows": ({"model": "mean", "rows": []}, 400, "rows"),
    "row is no object": ({"model": "mean", "rows": [1]}, 400, "rows[0]"),
    "unknown field": ({"model": "mean", "x_kbps": [1]}, 400, "x_kbps"),
    "not nested": ({"model": "mean", "x_mbps": 1}, 400, "x_mbps"),
    "nested too deep": ({"model": "mean", "x_mbps": [[1]]}, 400, "x_mbps"),
    "null": ({"model": "mean", "x_mbps": [1, None]}, 400, "x_mbps.data[1]"),
    "out of range": ({"model": "mean", "x_mbps": [-1]}, 400, "x_mbps[0, 0]"),
    "missing": ({"model": "mean"}, 400, "body"),
    "entity": ({"model": "mean", "x_mbps": [1], "entity_id": 7}, 400, "entity_id"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_request_gets_a_4xx_that_names_the_field(means, case):
    body, status, field = BAD[case]

    reply = await means.client.post(BATCH, json=body)

    assert reply.status_code == status
    assert reply.json().get("field") == field
    assert reply.json()["error"]
    assert reply.json()["request_id"]


@pytest.mark.parametrize("route", [route for route in ROUTES if route.model], ids=lambda r: r.path)
async def test_a_route_whose_model_is_not_served_says_what_to_do(means, route):
    reply = await means.client.post(route.path, json={})

    assert reply.status_code == 404
    assert f"({route.train})" in reply.json()["remedy"]


async def test_a_bandwidth_forecast_is_the_model_s_own_with_its_horizon(real):
    history = [30.0, 31.0, 29.5, 30.5] * 8
    body = {"link_id": "a-b", "bandwidth_mbps": history, "step_s": 60}

    record = (await real.client.post("/api/v1/predict/bandwidth", json=body)).json()

    model = real.host.get("bandwidth").model
    wanted = model.predict(model.prepare({"bandwidth_mbps": np.array([history])}))
    assert record["link_id"] == "a-b"
    assert record["value_mbps"] == wanted["value_mbps"][0].tolist()
    assert (
        record["horizon_s"] == 60.0 * record["horizon_steps"] == 60.0 * len(record["value_mbps"])
    )
    assert record["coverage_ratio"] == 0.8


async def test_an_outlier_is_an_anomaly_with_severity_and_a_usual_sample_is_none(real):
    rows = [{"value": [*QUIET, 60.0]}, {"value": [*QUIET, 10.1]}]

    reply = await real.client.post("/api/v1/anomalies/detect", json={"rows": rows, "step_s": 60})

    odd, usual = reply.json()["records"]
    assert odd["is_anomaly"] is True
    assert odd["severity"] in ("low", "medium", "high", "critical")
    assert (usual["is_anomaly"], usual["severity"]) == (False, "none")


async def test_verdicts_move_the_threshold_and_each_alert_counts_once(real):
    feedback = "/api/v1/anomalies/feedback"
    before = real.host.get("anomaly").model.detector.threshold
    wrong = {"entity_id": "vm-1", "alert_id": "7", "false_positive": True}

    first = await real.client.post(feedback, json=wrong)
    again = await real.client.post(feedback, json=wrong)
    right = await real.client.post(feedback, json={"entity_id": "vm-1", "verdict": "confirmed"})

    assert before < first.json()["threshold"] == again.json()["threshold"]
    assert right.json()["threshold"] < first.json()["threshold"]


async def test_a_verdict_taken_by_another_replica_is_applied_here(real, tmp_path):
    other = with_site({"anomaly": AnomalyModel(AnomalyDetector())}, tmp_path)
    await other.host.load()
    body = {"entity_id": "vm-1", "verdict": "false_alarm"}

    told = await real.client.post("/api/v1/anomalies/feedback", json=body)
    Site(other.plane, tmp_path).refresh()

    assert other.host.get("anomaly").model.detector.threshold == told.json()["threshold"]


async def test_a_damaged_line_of_the_file_costs_no_verdict_around_it(real, tmp_path):
    wrong = {"entity_id": "vm-1", "verdict": "false_alarm"}
    first = await real.client.post("/api/v1/anomalies/feedback", json=wrong)
    with (tmp_path / "verdicts.jsonl").open("a") as lines:
        lines.write("{broken\n[]\n{}\n")

    another = wrong | {"alert_id": "another"}
    second = await real.client.post("/api/v1/anomalies/feedback", json=another)

    assert second.status_code == 200
    assert second.json()["threshold"] > first.json()["threshold"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"verdict": "confirmed"}, "entity_id"),
        ({"entity_id": "a"}, "verdict"),
        ({"entity_id": "a", "verdict": "maybe"}, "verdict"),
        ({"entity_id": "a", "verdict": "confirmed", "false_positive": True}, "verdict"),
        ({"entity_id": "a", "false_positive": 1}, "false_positive"),
        ({"entity_id": "a", "verdict": "confirmed", "note": ""}, "note"),
        ({"entity_id": "a" * 300, "verdict": "confirmed"}, "entity_id"),
        ([], "body"),
    ],
)
async def test_a_verdict_that_is_none_gets_a_400(real, body, field):
    reply = await real.client.post("/api/v1/anomalies/feedback", json=body)

    assert (reply.status_code, reply.json()["field"]) == (400, field)


async def test_a_pattern_comes_with_its_probabilities_and_reasons(real):
    body = {"usage": SINE, "step_s": 60, "workload_id": "w"}

    record = (await real.client.post("/api/v1/patterns/recognize", json=body)).json()

    assert record["pattern"] in record["probabilities"]
    assert sum(record["probabilities"].values()) == pytest.approx(1)
    assert record["confidence_ratio"] == pytest.approx(max(record["probabilities"].values()))
    assert {"evidence", "value", "weight_ratio"} == set(record["reasons"][0])


def points(values, step_s=60):
    return [{"timestamp": 1_700_000_000 + i * step_s, "value": v} for i, v in enumerate(values)]


async def ask_process(service, pair, data):
    service_name, method = pair.split(".")
    body = {"id": "9", "service": service_name, "method": method, "data": data}
    return await service.client.post("/api/v1/process", json=body)


async def test_the_go_callers_anomaly_detection_is_the_typed_route_s(real):
    values = [ratio / 100 for ratio in QUIET] + [0.9]
    data = {"resource_id": "vm-1", "metric_type": "cpu", "data_points": points(values)}

    reply = await ask_process(real, "anomaly_detection.detect", data)

    answer = reply.json()
    assert (reply.status_code, answer["success"], answer["id"]) == (200, True, "9")
    (anomaly,) = answer["data"]["anomalies"]
    assert anomaly["affected_metrics"] == ["cpu"]
    assert datetime.fromisoformat(anomaly["timestamp"]).timestamp() == 1_700_000_000 + 400 * 60
    assert answer["model_version"] == "1"
    assert answer["data"]["baseline"]["median"] == pytest.approx(0.1, abs=0.01)


async def test_the_go_callers_pattern_has_its_period_in_nanoseconds(real):
    data = {"workload_id": "w", "data_points": points(SINE)}

    answer = (
        await ask_process(real, "workload_pattern_recognition.analyze_patterns", data)
    ).json()

    seasonality = answer["data"]["seasonality"]
    assert answer["success"] is True
    assert answer["data"]["classification"] == answer["data"]["patterns"][0]["type"]
    if seasonality["has_seasonality"]:
        assert seasonality["period"] == pytest.approx(8 * 2 * np.pi * 60e9, rel=0.1)


@pytest.mark.parametrize(
    ("pair", "data", "status", "words"),
    [
        ("health.heal", {}, 400, "health.check"),
        ("model_training.train", {}, 405, "novacron train"),
        ("resource_prediction.predict_demand", {}, 404, "novacron train --model scaling"),
        ("predictive_scaling.predict_scaling", {}, 404, "novacron train --model scaling"),
        ("performance_optimization.optimize_cluster", {}, 404, "novacron optimize"),
        ("anomaly_detection.detect", {"data_points": points([1])}, 400, "at least two points"),
        (
            "anomaly_detection.detect",
            {"metric_type": "cpu", "data_points": points([40.0, 50.0, 60.0])},
            400,
            "Divide percent by 100",
        ),
        (
            "anomaly_detection.detect",
            {"data_points": [*points([1, 2, 3]), {"timestamp": 9e9, "value": 1}]},
            400,
            "even steps",
        ),
        ("anomaly_detection.detect", {"data_points": [{"value": 1}] * 2}, 400, "RFC 3339"),
    ],
)
async def test_a_refusal_has_the_adapter_s_form_and_the_error_s_status(
    real, pair, data, status, words
):
    reply = await ask_process(real, pair, data)

    assert reply.status_code == status
    assert reply.json()["success"] is False
    assert words in reply.json()["error"]


async def test_health_and_info_are_those_of_the_endpoint(real):
    health = (await ask_process(real, "health.check", {})).json()
    info = (await ask_process(real, "model_management.get_info", {})).json()

    assert health["data"]["status"] == "healthy"
    assert [one["name"] for one in info["data"]["models"]] == ["bandwidth", "patterns", "anomaly"]
    assert all(one["accuracy"] is None for one in info["data"]["models"])


async def test_the_openapi_document_describes_what_the_routes_take(real):
    document = (await real.client.get("/openapi.json")).json()

    posted = document["paths"]["/api/v1/predict/bandwidth"]["post"]
    row = posted["requestBody"]["content"]["application/json"]["schema"]["anyOf"][0]
    jsonschema.Draft202012Validator.check_schema(row)
    assert row["required"] == ["bandwidth_mbps"]
    assert "Mbit/s" in row["properties"]["bandwidth_mbps"]["description"]
    assert set(document["paths"]) > {route.path for route in ROUTES}
    jsonschema.validate({"bandwidth_mbps": [1.0], "step_s": 60}, row)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"bandwidth_mbps": [-1.0]}, row)


async def test_answers_are_what_the_document_promises(real):
    document = (await real.client.get("/openapi.json")).json()
    bodies = {
        "/api/v1/predict/bandwidth": {"bandwidth_mbps": [30.0] * 30},
        "/api/v1/anomalies/detect": {"value": QUIET},
        "/api/v1/patterns/recognize": {"usage": SINE, "step_s": 60},
    }

    for path, body in bodies.items():
        answer = document["paths"][path]["post"]["responses"]["200"]
        schema = answer["content"]["application/json"]["schema"]
        for sent in (body, {"rows": [body, body]}):
            reply = await real.client.post(path, json=sent)
            jsonschema.validate(reply.json(), schema)


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.outside = []

    def handle_starttag(self, tag, attrs):
        self.outside += [v for k, v in attrs if k in ("src", "href") and re.match(r"\w+:|//", v)]


async def test_the_docs_page_names_every_route_and_loads_nothing_from_elsewhere(real):
    reply = await real.client.get("/docs")

    links = Links()
    links.feed(reply.text)
    assert reply.headers["content-type"].startswith("text/html")
    assert links.outside == []
    assert "url(" not in reply.text
    assert all(route.path in reply.text for route in ROUTES)
    assert "bandwidth_mbps" in reply.text


@pytest.mark.parametrize(
    ("method", "path"), [("GET", BATCH), ("POST", "/docs"), ("DELETE", "/openapi.json")]
)
async def test_another_method_gets_a_405(means, method, path):
    reply = await means.client.request(method, path)

    assert reply.status_code == 405
    assert reply.headers["allow"]


async def test_two_requests_at_once_keep_their_rows(means):
    bodies = [
        {"model": "mean", "rows": [{"x_mbps": [i]}, {"x_mbps": [i, i]}]} for i in range(20, 40)
    ]

    replies = await asyncio.gather(*(means.client.post(BATCH, json=body) for body in bodies))

    for i, reply in enumerate(replies, 20):
        found = [record["mean_mbps"] for record in json.loads(reply.content)["records"]]
        assert found == [[float(i)], [float(i)]]
