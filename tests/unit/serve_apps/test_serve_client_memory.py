"""The client sends samples, asks by name and tells what came true, against a real endpoint's app."""

from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pandas as pd
import pytest
import pytest_asyncio
from doubling_model import DoublingModel
from serving_fakes import build_service

from novacron.errors import NotFoundError, OutOfRangeError
from serve_apps.client import AsyncClient, Client, RetryPolicy
from serve_apps.client_wire import rows_of
from serve_apps.memory import Memory
from serve_apps.metrics import MemoryMetrics
from serve_apps.settings.predictions import PredictionsConfig
from serve_apps.settings.streaming import StreamingConfig


@pytest_asyncio.fixture
async def endpoint(tmp_path):
    log = PredictionsConfig(log={"block_interval_s": 600, "fsync": False})
    memory = Memory(StreamingConfig(), log, tmp_path, MemoryMetrics())
    service = build_service(
        {"bandwidth": DoublingModel()}, ["bandwidth"], site_dir=tmp_path / "f", memory=memory
    )
    await service.host.load()
    transport = service.client._transport
    async with AsyncClient("http://novacron", transport=transport) as client:
        yield client
    await memory.close()


def frame():
    newest = datetime.now(UTC)
    return pd.DataFrame(
        {
            "ts": pd.to_datetime([newest - timedelta(seconds=5 * n) for n in (2, 1, 0)]),
            "link_id": "w-1",
            "bandwidth_mbps": [1.0, 2.0, 4.0],
            "rtt_ms": [3.0, np.nan, 5.0],
        }
    )


@pytest.mark.asyncio
async def test_samples_go_in_a_prediction_comes_by_name_and_its_outcome_is_told(endpoint):
    assert (await endpoint.send_samples("link", frame()))["accepted"] == 3

    record = await endpoint.ask("predict/bandwidth", link_id="w-1")
    told = await endpoint.tell({record["prediction_id"]: [3.0, None]})

    assert record["value_mbps"] == [2, 4, 8]
    assert told["kept"] == 1


@pytest.mark.asyncio
async def test_rows_of_a_tensor_answer_have_ids_for_their_outcomes(endpoint):
    answer = await endpoint.predict("bandwidth", {"bandwidth_mbps": [[1.0, 2.0], [3.0, 4.0]]})

    told = await endpoint.tell(dict.fromkeys(answer.row_ids, 2.0))

    assert told == {"kept": 2, "refused": 0, "errors": []}
    assert answer.row_ids == [f"{answer.prediction_id}.{n}" for n in range(2)]


@pytest.mark.asyncio
async def test_refusals_are_the_errors_of_the_endpoint(endpoint):
    with pytest.raises(NotFoundError, match="nobody"):
        await endpoint.ask("predict/bandwidth", link_id="nobody")
    with pytest.raises(NotFoundError, match="no prediction"):
        await endpoint.tell({"0123456789ab00000001": 1.0})
    with pytest.raises(OutOfRangeError) as caught:
        await endpoint.send_samples("link", frame().assign(bandwidth_mbps=-1))
    assert caught.value.field == "samples[0].bandwidth_mbps"


def test_the_blocking_client_sends_the_same():
    seen = []

    def answer(request):
        seen.append((request.url.path, request.content, request.headers["content-type"]))
        return httpx.Response(200, json={"kept": 1})

    with Client(
        "http://novacron", retry=RetryPolicy(attempts=1), transport=httpx.MockTransport(answer)
    ) as client:
        client.send_samples("node", [{"ts": "2026-03-01T12:00:00Z", "cpu_ratio": None}])
        client.ask("predict/bandwidth", link_id="a")
        client.tell({"id": np.array([1.0, 2.0])})

    assert [path for path, _, _ in seen] == [
        "/api/v1/samples", "/api/v1/predict/bandwidth", "/api/v1/actuals",
    ]  # fmt: skip
    assert seen[0][1] == b'{"table":"node","samples":[{"ts":"2026-03-01T12:00:00Z"}]}'
    assert seen[2][1] == b'{"actuals":[{"prediction_id":"id","value":[1.0,2.0]}]}'
    assert {kind for _, _, kind in seen} == {"application/json"}


def test_what_a_frame_lacks_is_left_out():
    rows = rows_of(frame())

    assert "rtt_ms" not in rows[1]
    assert rows[0]["ts"].endswith("+00:00")
    assert rows_of([{"streams": np.int64(3)}]) == [{"streams": 3}]
