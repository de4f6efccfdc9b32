import asyncio
import subprocess
import sys
import threading

import httpx
import numpy as np
import pandas as pd
import pytest
from serving_fakes import POISON, MeanModel, build_service

from novacron.errors import (
    CircuitOpenError,
    ForbiddenError,
    ModelNotFoundError,
    NotReadyError,
    NovacronError,
    OutOfRangeError,
    OverloadedError,
    RateLimitedError,
    SchemaError,
    UnauthorizedError,
)
from serve_apps.client import AsyncClient, Client, RetryPolicy
from serve_apps.client_wire import error_of, may_repeat, tensor_of
from serve_apps.messages import WIRE_DTYPES
from serve_apps.oip import encode_error

URL = "http://novacron"
QUICK = RetryPolicy(first_delay_s=0.001, max_delay_s=0.002)


class LoopTransport(httpx.BaseTransport):
    """Reaches an ASGI app, which lives on a loop in another thread, from a program without one."""

    def __init__(self, client, loop):
        self._client = client
        self._loop = loop

    def handle_request(self, request):
        sent = self._client._transport.handle_async_request(request)

        async def answer():
            reply = await sent
            return httpx.Response(
                reply.status_code, headers=reply.headers, content=await reply.aread()
            )

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(10)


@pytest.fixture
def client():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    service = build_service({"mean": MeanModel()}, ["mean"])
    asyncio.run_coroutine_threadsafe(service.host.load(), loop).result(10)
    with Client(URL, retry=QUICK, transport=LoopTransport(service.client, loop)) as made:
        yield made
    asyncio.run_coroutine_threadsafe(service.host.drain(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


ROWS = np.random.default_rng(3).uniform(1, 900, size=(5, 4))


def test_arrays_go_in_and_the_model_s_bits_come_out(client):
    answer = client.predict("mean", {"x_mbps": ROWS})

    assert answer["mean_mbps"].tobytes() == ROWS.mean(axis=1).tobytes()
    assert answer["fallback"].tolist() == [""] * 5
    assert (answer.model_name, answer.model_version) == ("mean", "1")
    assert answer.timing.startswith("decode;dur=")


def test_a_frame_of_histories_and_texts_goes_in_and_a_frame_comes_out(client):
    frame = pd.DataFrame({"x_mbps": list(ROWS), "path_class": "wan"}, index=list("abcde"))

    answer = client.predict("mean", frame).to_frame(index=frame.index)

    assert list(answer.columns) == ["mean_mbps", "fallback"]
    assert answer.loc["b", "mean_mbps"] == ROWS[1].mean()


def test_a_frame_of_numbers_is_one_element_a_row_in_the_model_s_datatype(client):
    answer = client.predict("mean", pd.DataFrame({"x_mbps": [1, 2, 3]}))

    assert answer["mean_mbps"].ravel().tolist() == [1.0, 2.0, 3.0]


def test_only_the_outputs_asked_for_come_back(client):
    answer = client.predict("mean", {"x_mbps": ROWS}, outputs=["fallback"], version="1")

    assert list(answer.outputs) == ["fallback"]


@pytest.mark.parametrize(
    ("inputs", "error", "field"),
    [
        ({"x_kbps": ROWS}, SchemaError, "inputs"),
        ({"x_mbps": [[1.0, 2.0], [3.0]]}, SchemaError, "x_mbps"),
        ({"x_mbps": [["a"]]}, SchemaError, "x_mbps"),
        ({"x_mbps": ROWS, "path_class": [1] * 5}, SchemaError, "path_class"),
        ({"x_mbps": [[1.0, np.nan]]}, OutOfRangeError, "x_mbps[0, 1]"),
        ({"x_mbps": [[1.0, -2.0]]}, OutOfRangeError, "x_mbps[0, 1]"),
    ],
)
def test_wrong_inputs_raise_the_error_that_names_the_field(client, inputs, error, field):
    with pytest.raises(error) as caught:
        client.predict("mean", inputs)

    assert caught.value.field == field


def spec_of(datatype):
    return {"x": {"name": "x", "datatype": datatype, "shape": [-1]}}


@pytest.mark.parametrize(
    ("values", "datatype"), [([2**40], "INT32"), ([1.5], "INT64"), ([1], "BOOL"), ([1], "BYTES")]
)
def test_values_that_would_change_are_not_sent(values, datatype):
    with pytest.raises(SchemaError, match=datatype):
        tensor_of(values, "x", spec_of(datatype))


@pytest.mark.parametrize(
    ("values", "datatype", "sent"),
    [([1, 2], "INT32", [1, 2]), ([True], "INT64", [1]), ([1, 2], "FP32", [1.0, 2.0])],
)
def test_values_that_fit_are_sent_in_the_model_s_datatype(values, datatype, sent):
    tensor = tensor_of(values, "x", spec_of(datatype))

    assert tensor.dtype == WIRE_DTYPES[datatype]
    assert tensor.tolist() == sent


def test_a_refusal_reads_as_it_did_at_the_endpoint(client):
    with pytest.raises(OutOfRangeError) as caught:
        client.predict("mean", {"x_mbps": [[1.0, -2.0]]})

    assert str(caught.value).startswith("x_mbps[0, 1]: got -2.0, expected a finite number in [0,")


def test_an_unknown_model_and_a_failing_one_raise_errors_of_their_own(client):
    with pytest.raises(ModelNotFoundError, match="No model 'other' is served here"):
        client.metadata("other")
    with pytest.raises(NovacronError, match="failed to answer"):
        client.predict("mean", {"x_mbps": [[POISON]]})


def test_ready_tells_whether_the_endpoint_answers(client):
    assert client.ready() is True
    with Client(URL, transport=httpx.MockTransport(lambda _: httpx.Response(503))) as other:
        assert other.ready() is False


@pytest.mark.asyncio
async def test_the_async_client_gives_the_same_answer(service):
    async with AsyncClient(URL, transport=service.client._transport) as client:
        answer = await client.predict("mean", {"x_mbps": ROWS})

        assert await client.ready()
        assert (await client.metadata("mean"))["name"] == "mean"
    assert answer["mean_mbps"].tobytes() == ROWS.mean(axis=1).tobytes()


def scripted(*replies):
    """A client whose endpoint gives these replies, and what it was asked."""
    left, asked = list(replies), []

    def answer(request):
        asked.append(request)
        reply = left.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    client = Client(URL, retry=RetryPolicy(attempts=3), transport=httpx.MockTransport(answer))
    return client, asked


@pytest.fixture
def sleepless(monkeypatch):
    slept = []
    monkeypatch.setattr("serve_apps.client.time.sleep", slept.append)
    return slept


OVERLOADED = {"error": "Full. Retry after 2.0 s.", "code": "OverloadedError", "retry_after_s": 2.0}


def test_an_overloaded_endpoint_is_asked_again_not_before_it_said(sleepless):
    full = httpx.Response(429, json=OVERLOADED, headers={"retry-after": "2"})
    client, asked = scripted(full, httpx.Response(200, json={"name": "mean"}))

    described = client.metadata("mean")

    assert described == {"name": "mean"}
    assert sleepless == [2.0]
    assert len(asked) == 2


@pytest.mark.parametrize(
    "trouble", [httpx.Response(503), httpx.Response(502), httpx.ConnectError("refused")]
)
def test_a_lost_connection_or_a_proxy_s_refusal_is_tried_again_with_growing_delays(
    sleepless, trouble
):
    client, asked = scripted(trouble, trouble, trouble)

    with pytest.raises(NotReadyError):
        client.metadata("mean")

    assert len(asked) == 3
    assert 0.05 <= sleepless[0] <= 0.1 <= sleepless[1] <= 0.2


@pytest.mark.parametrize("status", [400, 404, 413, 500])
def test_what_would_fail_again_is_not_asked_again(sleepless, status):
    client, asked = scripted(httpx.Response(status, json={"error": "No."}))

    with pytest.raises(NovacronError, match="No"):
        client.metadata("mean")

    assert len(asked) == 1
    assert sleepless == []


def test_a_wait_beyond_the_limit_is_not_begun(sleepless):
    full = httpx.Response(429, json=OVERLOADED, headers={"retry-after": "3600"})
    client, asked = scripted(full)

    with pytest.raises(OverloadedError):
        client.metadata("mean")

    assert len(asked) == 1
    assert sleepless == []


def test_the_client_needs_no_ray():
    code = (
        "import sys, serve_apps.client; assert not {'ray', 'mlflow', 'torch'} & set(sys.modules)"
    )

    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    ("reply", "again"),
    [
        (httpx.Response(500, content=b"Internal Server Error"), True),
        (httpx.Response(500, json={"error": "The model failed.", "code": "NovacronError"}), False),
        (httpx.Response(503, json={"error": "loading"}), True),
        (httpx.Response(400, json={"error": "wrong"}), False),
        (httpx.ConnectError("gone"), True),
    ],
)
def test_a_proxy_s_own_failure_may_be_asked_again_and_the_model_s_may_not(reply, again):
    assert may_repeat(reply) is again


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CircuitOpenError("It failed too often.", retry_after_s=42.5), 503),
        (RateLimitedError("Too often.", retry_after_s=1.5), 429),
        (OverloadedError("Full.", retry_after_s=0.5), 429),
        (ForbiddenError("It needs a role.", remedy="Ask with another token."), 403),
        (UnauthorizedError("The token has expired.", remedy="Send another."), 401),
    ],
)
def test_a_refusal_is_raised_as_the_endpoint_raised_it(error, status):
    raised = error_of(httpx.Response(status, content=encode_error(error)))

    assert type(raised) is type(error)
    assert raised.to_dict() == error.to_dict()


def test_a_proxy_s_date_to_retry_after_is_no_reason_to_fail():
    late = {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}

    raised = error_of(httpx.Response(503, text="busy", headers=late))

    assert type(raised) is NotReadyError
