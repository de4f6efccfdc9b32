"""The three gRPC calls for the platform's own callers: units, refusals, and the file for others."""

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from serving_fakes import MeanModel, build_service
from test_serve_grpc import Context

from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.model import AnomalyModel
from novacron.models.base import TensorSpec
from serve_apps.ai_service import MESSAGES, PACKAGE, PROTO_PATH, AIService, classes, render_proto
from serve_apps.domain.routes import DomainRoutes
from serve_apps.grpc_ingress import AI_METHODS
from serve_apps.grpc_service import InferenceService


class Steady(MeanModel):
    """Forecasts five steps of the mean, within a tenth."""

    inputs = (
        TensorSpec(
            name="bandwidth_mbps",
            datatype="FP64",
            shape=(-1, -1),
            unit="Mbit/s",
            doc="samples",
            low=0,
        ),
    )
    outputs = (
        *tuple(
            TensorSpec(name=name, datatype="FP64", shape=(-1, 5), unit="Mbit/s", doc="d")
            for name in ("value_mbps", "lower_mbps", "upper_mbps")
        ),
        TensorSpec(name="fallback", datatype="BYTES", shape=(-1,), unit="name", doc="d"),
    )

    def prepare(self, tensors):
        return {"mean": tensors["bandwidth_mbps"].mean(axis=1)}

    def predict(self, rows):
        steps = np.repeat(rows["mean"][:, None], 5, axis=1)
        named = np.full(len(steps), "", dtype=object)
        return {
            "value_mbps": steps,
            "lower_mbps": 0.9 * steps,
            "upper_mbps": 1.1 * steps,
            "fallback": named,
        }


@pytest_asyncio.fixture
async def call():
    anomaly = AnomalyModel(AnomalyDetector())
    service = build_service(
        {"bandwidth": Steady(kind="bandwidth"), "anomaly": anomaly}, ["bandwidth", "anomaly"]
    )
    await service.host.load()
    handlers = AIService(DomainRoutes(service.plane)).handlers()
    assert tuple(handlers) == AI_METHODS
    inference = InferenceService(service.plane, allow_remote=False, more=handlers)

    async def ask(method, **fields):
        context = Context()
        body = classes()[f"{method}Request"](**fields).SerializeToString()
        reply = await inference.call(method, body, context)
        answer = classes()[f"{method}Response"]()
        answer.ParseFromString(reply.SerializeToString())
        return answer, context

    return ask


@pytest.mark.asyncio
async def test_a_forecast_has_the_steps_of_the_horizon_and_their_bounds(call):
    answer, _ = await call(
        "PredictBandwidth",
        vm_id="vm-1",
        historical_metrics=[90.0, 110.0],
        horizon_minutes=15,
        step_minutes=5,
    )

    assert list(answer.predictions) == [100.0] * 3
    assert list(answer.lower) == pytest.approx([90.0] * 3)
    assert answer.confidence == 0.8
    assert answer.model_version == "1"


def vm(cpu, **changes):
    fields = {"memory": 0.5, "disk_io": 1e6, "network_io": 1e6, "latency": 5, "error_rate": 0.01}
    return {"cpu": cpu} | fields | changes


@pytest.mark.asyncio
async def test_the_metric_that_is_oddest_answers(call):
    rng = np.random.default_rng(1)
    history = [vm(float(cpu)) for cpu in rng.normal(0.3, 0.01, 300)]

    odd, _ = await call("DetectAnomaly", vm_id="vm", metrics=vm(0.95), history=history)
    usual, _ = await call("DetectAnomaly", vm_id="vm", metrics=vm(0.3), history=history)

    assert (odd.is_anomaly, odd.anomaly_type) == (True, "cpu")
    assert odd.severity in ("low", "medium", "high", "critical")
    assert (usual.is_anomaly, usual.anomaly_type) == (False, "")


REFUSED = {
    "horizon beyond the model's": (
        "PredictBandwidth",
        {"historical_metrics": [1.0], "horizon_minutes": 60},
        "INVALID_ARGUMENT",
        "1 to 5 minutes",
    ),
    "no history": ("PredictBandwidth", {}, "INVALID_ARGUMENT", "bandwidth_mbps"),
    "negative": ("PredictBandwidth", {"historical_metrics": [-1]}, "INVALID_ARGUMENT", "Mbit/s"),
    "one sample": ("DetectAnomaly", {"metrics": vm(0.3)}, "INVALID_ARGUMENT", "history"),
    "percent": (
        "DetectAnomaly",
        {"metrics": vm(40.0), "history": [vm(39.0)] * 9},
        "INVALID_ARGUMENT",
        "Divide percent by 100",
    ),
    "not served": (
        "OptimizePlacement",
        {"workload_id": "w", "available_nodes": ["a"]},
        "NOT_FOUND",
        "--model placement",
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_call_gets_its_status_and_what_to_do(call, case):
    method, fields, status, words = REFUSED[case]

    _, context = await call(method, **fields)

    assert context.code == grpc.StatusCode[status]
    assert words in context.details


def test_the_proto_file_is_the_one_that_the_code_renders_and_compiles_to_its_messages(tmp_path):
    out = tmp_path / "set"

    failed = protoc.main(
        ["protoc", f"-I{PROTO_PATH.parent}", f"--descriptor_set_out={out}", PROTO_PATH.name]
    )

    found = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    assert failed == 0
    assert PROTO_PATH.read_text() == render_proto()
    assert found.package == PACKAGE
    assert [method.name for method in found.service[0].method] == list(AI_METHODS)
    for message in found.message_type:
        own = descriptor_pb2.DescriptorProto()
        classes()[message.name].DESCRIPTOR.CopyToProto(own)
        assert [(f.name, f.number, f.type, f.label) for f in message.field] == [
            (f.name, f.number, f.type, f.label) for f in own.field
        ]
    assert [message.name for message in found.message_type] == list(MESSAGES)
