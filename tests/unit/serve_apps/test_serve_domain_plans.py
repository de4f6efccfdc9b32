"""The routes of models that plan: capacity and scaling, typed and as the Go callers ask."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
import pytest_asyncio
import tiny_performance
from serving_fakes import build_service
from tiny_capacity import tiny_capacity
from tiny_placement import node, tiny_models, workload
from tiny_policy import telemetry_of
from tiny_policy import tiny_model as tiny_policy
from tiny_scaling import tiny_model, working_days

from novacron.models.placement.model import PlacementModel
from serve_apps.ai_service import AIService, classes
from serve_apps.domain.routes import DomainRoutes

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]
DEMAND = (100 + 10 * np.sin(np.arange(120) * 2 * np.pi / 7) + 0.2 * np.arange(120)).tolist()
STEPS = 12
"""Marks of the hour ahead."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {
        "capacity": tiny_capacity("weekday_mean", "boosted"),
        "scaling": tiny_model(),
        "optimizer": tiny_policy(tmp_path_factory.mktemp("policy")),
        "placement": PlacementModel(tiny_models()),
        "performance": tiny_performance.tiny_model(),
    }


@pytest_asyncio.fixture
async def service(models, tmp_path):
    built = build_service(models, list(models), site_dir=tmp_path)
    await built.host.load()
    return built


async def test_a_capacity_plan_has_a_value_for_each_day_and_its_crossings(service):
    body = {
        "entity_id": "cluster-7",
        "demand": DEMAND,
        "step_s": 86_400,
        "start_s": 1.6e9,
        "warning": 130.0,
        "critical": 1e6,
    }

    record = (await service.client.post("/api/v1/capacity/plan", json=body)).json()

    forecast = record["forecast"]
    first = datetime.fromtimestamp(1.6e9 + 120 * 86_400, UTC).date()
    assert abs((datetime.fromisoformat(record["first_day"]).date() - first).days) <= 1
    assert record["horizon_s"] == 86_400 * len(forecast["value"]) == 86_400 * 30
    assert np.all(np.array(forecast["lower"]) <= forecast["value"])
    assert np.all(forecast["value"] <= np.array(forecast["upper"]))
    assert record["critical"]["days_median"] is None
    assert 0 <= record["warning"]["probability"] <= 1
    assert record["entity_id"] == "cluster-7"


async def test_a_scaling_advice_has_its_hour_ahead_and_its_risk(service):
    usage = working_days(2, seed=1)[:400].tolist()
    body = {"vm_id": "vm-1", "usage": usage, "step_s": 300, "capacity": 12.0}

    record = (await service.client.post("/api/v1/scaling/recommend", json=body)).json()

    assert record["action"] in ("scale_up", "scale_down", "no_action")
    assert record["forecast"]["at_s"] == [300.0 * (mark + 1) for mark in range(STEPS)]
    assert 0 <= record["shortage_probability_after"] <= 1
    assert record["horizon_s"] == 3600
    assert record["valid_until"] is not None


async def ask_process(service, pair, data):
    name, method = pair.split(".")
    body = {"id": "1", "service": name, "method": method, "data": data}
    return (await service.client.post("/api/v1/process", json=body)).json()


def history(count=200):
    ratios = 0.4 + 0.1 * np.sin(np.arange(count) / 20)
    return [
        {"timestamp": 1_700_000_000 + 300 * i, "value": v} for i, v in enumerate(ratios.tolist())
    ]


async def test_the_go_callers_demand_is_a_ratio_with_a_time_for_each_value(service):
    data = {
        "node_id": "n",
        "resource_type": "cpu",
        "horizon_minutes": 30,
        "historical_data": history(),
    }

    answer = await ask_process(service, "resource_prediction.predict_demand", data)

    predictions = answer["data"]["predictions"]
    assert answer["success"] is True
    assert len(predictions) == 6
    first = datetime.fromisoformat(predictions[0]["timestamp"]).timestamp()
    assert first == 1_700_000_000 + 199 * 300 + 300
    assert all(0 <= one["lower"] <= one["value"] <= one["upper"] < 2 for one in predictions)
    assert 0.5 < answer["confidence"] < 1


async def test_the_go_callers_scaling_decision_is_the_typed_route_s(service):
    data = {"vm_id": "v", "resource_type": "cpu", "historical_data": history()}

    answer = await ask_process(service, "predictive_scaling.predict_scaling", data)

    (decision,) = answer["data"]["decisions"]
    assert answer["model_version"] == "1"
    assert decision["target_capacity"] > 0


async def test_percent_is_refused_where_a_ratio_is_asked_for(service):
    points = [one | {"value": 100 * one["value"]} for one in history(20)]
    data = {"node_id": "n", "resource_type": "cpu", "historical_data": points}

    answer = await ask_process(service, "resource_prediction.predict_demand", data)

    assert answer["success"] is False
    assert "Divide percent by 100" in answer["error"]


async def test_advice_on_parameters_has_their_names_and_types(service):
    body = {"target": "hde_compression", "telemetry": telemetry_of("hde_compression")}

    reply = await service.client.post("/api/v1/parameters/optimize", json=body)

    record = reply.json()
    assert reply.status_code == 200
    assert set(record["parameters"]) == set(record["default_parameters"])
    low, high = record["improvement_lower_ratio"], record["improvement_upper_ratio"]
    assert low <= record["improvement_ratio"] <= high
    assert record["target"] == "hde_compression"


async def test_a_channel_that_is_left_out_was_not_measured(service):
    measured = telemetry_of("hde_compression")
    measured.pop(next(iter(measured)))
    body = {"target": "hde_compression", "telemetry": [measured]}

    reply = await service.client.post("/api/v1/parameters/optimize", json=body)

    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"target": "hde_compression", "telemetry": {"rtt_s": 1}}, "telemetry[0].rtt_s"),
        ({"target": "nothing", "telemetry": [[1.0]]}, "target[0]"),
        ({"telemetry": [[1.0]]}, "target"),
    ],
)
async def test_telemetry_that_is_none_gets_a_400(service, body, field):
    reply = await service.client.post("/api/v1/parameters/optimize", json=body)

    assert (reply.status_code, reply.json()["field"]) == (400, field)


async def test_the_go_callers_optimization_lists_what_to_set(service):
    cluster = {"target": "hde_compression", "telemetry": telemetry_of("hde_compression")}
    data = {"cluster_id": "c", "cluster_data": cluster}

    answer = await ask_process(service, "performance_optimization.optimize_cluster", data)

    assert answer["success"] is True
    for one in answer["data"]["recommendations"]:
        assert one["parameters"]["value"] != one["parameters"]["default"]


async def test_a_placement_takes_objects_and_answers_candidates_with_reasons(service):
    body = {"workload": workload(), "nodes": [node(1), node(2), node(3)]}

    reply = await service.client.post("/api/v1/placement/optimize", json=body)

    record = reply.json()
    assert reply.status_code == 200
    assert {one["node_id"] for one in record["candidates"]} <= {"n1", "n2", "n3"}
    assert record["candidates"][0]["reasons"]
    assert record["none_feasible_because"] == ""


async def test_a_workload_in_wrong_terms_names_the_field(service):
    body = {"workload": workload(cpu_cores=-1), "nodes": [node(1)]}

    reply = await service.client.post("/api/v1/placement/optimize", json=body)

    assert reply.status_code == 400
    assert "cpu_cores" in reply.json()["error"]


async def test_the_placement_call_over_grpc_ranks_the_nodes_it_was_given(service):
    handlers = AIService(DomainRoutes(service.plane)).handlers()
    request = classes()["OptimizePlacementRequest"](
        workload_id="w",
        requirements={"cpu_cores": 4, "memory_gb": 8},
        nodes_json=json.dumps([node(1), node(2)]),
    )

    body = await handlers["OptimizePlacement"](request.SerializeToString(), None)

    answer = classes()["OptimizePlacementResponse"].FromString(body)
    scores = [one.score for one in answer.candidates]
    assert {one.node_id for one in answer.candidates} == {"n1", "n2"}
    assert scores == sorted(scores, reverse=True)
    assert answer.candidates[0].reasoning
    assert 0.5 < answer.overall_confidence < 1


async def test_a_performance_forecast_is_the_model_s_own(service):
    asked = tiny_performance.request(1, 12)
    body = {name: array[0].tolist() if array.dtype != object else array[0]
            for name, array in asked.items()}  # fmt: skip

    reply = await service.client.post("/api/v1/predict/performance", json=body | {"vm_id": "v"})

    model = service.host.get("performance").model
    wanted = model.predict(model.prepare(asked))
    record = reply.json()
    assert reply.status_code == 200, record
    assert record["value"] == wanted["value"][0]
    assert record["lower"] <= record["value"] <= record["upper"]
    assert (record["vm_id"], record["coverage_ratio"]) == ("v", 0.8)
