import asyncio
import subprocess
import sys
from types import SimpleNamespace

import pytest

from serve_apps import short_path
from serve_apps.autoscale import IN_FLIGHT, by_requests_in_flight
from serve_apps.grpc_ingress import METHODS, SERVICE, add_inference_service
from serve_apps.short_path import Door, InferenceFirst, pass_through

pytestmark = pytest.mark.asyncio


def scope_of(path="/v2/models/bandwidth/infer", method="POST", kind="http"):
    return {"type": kind, "method": method, "path": path}


class Caller:
    """Sends a body in parts, then says nothing, or leaves."""

    def __init__(self, *parts, leaves=False):
        last = len(parts) - 1
        self.messages = [
            {"type": "http.request", "body": part, "more_body": place < last}
            for place, part in enumerate(parts)
        ]
        if leaves:
            self.messages.append({"type": "http.disconnect"})

    async def __call__(self):
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)


async def ignore(_message):
    pass


def way(name, seen):
    async def app(_scope, _receive, _send):
        seen.append(name)

    return app


async def test_inference_goes_to_the_gateway_and_the_rest_to_serve():
    seen = []
    door = Door()
    door.open(way("gateway", seen), None)
    first = InferenceFirst(way("serve", seen), door)

    for scope in (
        scope_of(),
        scope_of("/v2/models/bandwidth/versions/3/infer"),
        scope_of(method="GET"),
        scope_of("/v2/health/ready", "GET"),
        scope_of("/-/healthz", "GET"),
        scope_of("/other/v2/models/bandwidth/infer"),
        {"type": "lifespan"},
    ):
        await first(scope, Caller(b""), ignore)

    assert seen == ["gateway", "gateway", "serve", "serve", "serve", "serve", "serve"]


async def test_a_process_that_serves_no_models_lets_serve_answer():
    seen = []
    door = Door()

    await InferenceFirst(way("serve", seen), door)(scope_of(), Caller(b""), ignore)
    door.open(way("gateway", seen), None)
    door.close()
    await InferenceFirst(way("serve", seen), door)(scope_of(), Caller(b""), ignore)

    assert seen == ["serve", "serve"]


async def test_models_on_another_loop_are_left_to_serve():
    seen = []
    door = Door()

    def open_elsewhere():
        async def do():
            door.open(way("gateway", seen), None)

        asyncio.run(do())

    await asyncio.to_thread(open_elsewhere)
    await InferenceFirst(way("serve", seen), door)(scope_of(), Caller(b""), ignore)

    assert seen == ["serve"]


async def test_requests_in_flight_are_counted_while_they_last_and_after_failures():
    door = Door()
    counts = []

    async def app(_scope, _receive, _send):
        counts.append(door.in_flight)
        raise RuntimeError("broken")

    door.open(app, None)
    with pytest.raises(RuntimeError, match="broken"):
        await InferenceFirst(ignore, door)(scope_of(), Caller(b""), ignore)

    assert counts == [1]
    assert door.in_flight == 0


async def test_a_caller_who_leaves_before_the_answer_frees_its_place(monkeypatch):
    monkeypatch.setattr(short_path, "WATCH_AFTER_S", 0.001)
    door = Door()
    ended = []

    async def slow(_scope, receive, _send):
        await receive()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    door.open(slow, None)
    await asyncio.wait_for(
        InferenceFirst(ignore, door)(scope_of(), Caller(b"{}", leaves=True), ignore), 5
    )

    assert ended == ["cancelled"]
    assert door.in_flight == 0


async def test_a_caller_who_waits_gets_an_answer_however_late(monkeypatch):
    monkeypatch.setattr(short_path, "WATCH_AFTER_S", 0.001)
    door = Door()
    sent = []

    async def slow(_scope, receive, send):
        await receive()
        await asyncio.sleep(0.02)
        await send("answer")

    async def send(message):
        sent.append(message)

    door.open(slow, None)
    await InferenceFirst(ignore, door)(scope_of(), Caller(b"{}"), send)

    assert sent == ["answer"]


async def test_a_body_that_never_comes_whole_does_not_hold_its_place_for_ever(monkeypatch):
    monkeypatch.setattr(short_path, "WATCH_AFTER_S", 0.001)
    monkeypatch.setattr(short_path, "GIVE_UP_S", 0.004)
    door = Door()
    caller = Caller(b"{", b"}")
    caller.messages.pop()

    async def reader(_scope, receive, _send):
        while (await receive())["more_body"]:
            pass

    door.open(reader, None)
    await asyncio.wait_for(InferenceFirst(ignore, door)(scope_of(), caller, ignore), 5)

    assert door.in_flight == 0


async def test_a_shutdown_is_not_taken_for_a_caller_who_left():
    door = Door()

    async def slow(_scope, _receive, _send):
        await asyncio.Event().wait()

    door.open(slow, None)
    request = asyncio.create_task(InferenceFirst(ignore, door)(scope_of(), Caller(b""), ignore))
    await asyncio.sleep(0)
    request.cancel()

    with pytest.raises(asyncio.CancelledError):
        await request


class GrpcServer:
    """The part of Serve's gRPC server that registers services."""

    def __init__(self):
        self.passed = []
        self.handlers = []

    def add_passthrough_service(self, service):
        self.passed.append(service)

    def add_generic_rpc_handlers(self, handlers):
        self.handlers.extend(handlers)


async def test_a_replica_answers_grpc_itself_and_counts_it():
    door, server = Door(), GrpcServer()

    async def answer(method, body, _context):
        return f"{method} {body.decode()} {door.in_flight}".encode()

    door.open(ignore, answer)

    assert pass_through(server, SERVICE, METHODS, door)
    assert server.passed == [SERVICE]
    details = SimpleNamespace(method=f"/{SERVICE}/ModelInfer", invocation_metadata=())
    handler = server.handlers[0].service(details)
    assert await handler.unary_unary(b"body", None) == b"ModelInfer body 1"
    assert door.in_flight == 0


@pytest.mark.parametrize("server", [GrpcServer(), SimpleNamespace()])
async def test_a_server_without_models_or_without_the_way_through_registers_as_usual(server):
    door = Door()
    if not hasattr(server, "passed"):
        door.open(ignore, ignore)

    assert not pass_through(server, SERVICE, METHODS, door)


async def test_a_proxy_registers_the_service_for_serve_to_route():
    server = GrpcServer()
    servicer = SimpleNamespace(**dict.fromkeys(METHODS))

    add_inference_service(servicer, server)

    assert server.passed == []
    assert len(server.handlers) == 1


async def test_a_proxy_imports_no_model_code():
    code = (
        "import sys, serve_apps.short_path, serve_apps.grpc_ingress;"
        "sys.exit(any(name.split('.')[0] in ('novacron', 'torch') for name in sys.modules))"
    )
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=False)

    assert done.returncode == 0


def context_of(seen_by_serve, told, *, replicas=2):
    return SimpleNamespace(
        current_num_replicas=replicas,
        target_num_replicas=1,
        total_num_requests=seen_by_serve,
        aggregated_metrics={IN_FLIGHT: told} if told is not None else None,
        config=SimpleNamespace(get_target_ongoing_requests=lambda: 32.0),
    )


async def test_replicas_follow_all_requests_in_flight_whoever_answers_them():
    assert by_requests_in_flight(context_of(16.0, {"a": 40.0, "b": 40.0})) == (3.0, {})
    assert by_requests_in_flight(context_of(16.0, None)) == (0.5, {})
    assert by_requests_in_flight(context_of(0.0, {}, replicas=0)) == (1, {})
