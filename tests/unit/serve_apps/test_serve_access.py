"""Who is let in: tokens over HTTP and over gRPC."""

import hashlib

import grpc
import pytest
import pytest_asyncio
from serving_fakes import MeanModel, build_service
from test_serve_grpc import RAW, Context

from serve_apps.access.desk import Desk
from serve_apps.access.guard import Guard
from serve_apps.grpc_service import InferenceService
from serve_apps.settings.access import AccessConfig

pytestmark = pytest.mark.asyncio
URL = "/v2/models/mean/infer"
DESK = Desk(Guard(AccessConfig(token_sha256=(hashlib.sha256(b"right").hexdigest().upper(),))))


@pytest_asyncio.fixture
async def guarded():
    service = build_service({"mean": MeanModel()}, ["mean"], desk=DESK)
    await service.host.load()
    return service


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"},
                                     {"Authorization": "Basic right"}])  # fmt: skip
async def test_without_a_known_token_nothing_is_answered(guarded, infer_body, headers):
    for reply in (
        await guarded.client.post(URL, json=infer_body([[1, 3]]), headers=headers),
        await guarded.client.get("/v2/models/mean", headers=headers),
    ):
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert reply.json()["code"] == "UnauthorizedError"
        assert "SHA-256" in reply.json()["remedy"]


async def test_a_known_token_is_let_in_and_health_never_asks(guarded, infer_body):
    headers = {"Authorization": "Bearer right"}

    reply = await guarded.client.post(URL, json=infer_body([[1, 3]]), headers=headers)

    assert reply.status_code == 200
    assert (await guarded.client.get("/v2/health/ready")).status_code == 200


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ((), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Bearer wrong"),), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Bearer right"),), None),
    ],
)
async def test_grpc_reads_the_token_from_its_metadata(guarded, metadata, code):
    service = InferenceService(guarded.plane, allow_remote=False, desk=DESK)
    context = Context(metadata=metadata)

    await service.call("ModelInfer", RAW, context)

    assert context.code == code
