"""Answers inference at the replica's own listeners, ahead of Serve's machinery for each request.

Behind HAProxy every replica listens itself. Serve puts tasks, contexts and metrics of its own
between that listener and the application, which cost more than the answer of a light model.
The listener takes middlewares (`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`), and one of them hands
inference requests to this replica's gateway at once; its gRPC server takes services that it passes
through. All else, and everything in a process that serves no models, goes the way it always went.

What Serve then does not see, it is told: requests in flight by `record_autoscaling_stats` and
`serve_apps.autoscale`. Its own counters of HTTP and gRPC requests miss those answered here; the
platform's, in `novacron.monitoring.metric_names`, count all of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import grpc
from starlette.middleware import Middleware

from serve_apps.asgi import App, Message, Receive, Send

CALLBACK_VARIABLE: Final = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
CALLBACK: Final = "serve_apps.short_path:middlewares"
WATCH_AFTER_S: Final = 0.05
"""A request that is answered sooner is not watched for a caller who leaves: a task each costs more
than what it could save."""
GIVE_UP_S: Final = 60.0
"""A body that has not come after this time does not come; its request is dropped."""

GrpcCall = Callable[[str, bytes, Any], Awaitable[bytes]]


class Door:
    """Where the one endpoint of this process is found, once it has loaded its models."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._app: App | None = None
        self._grpc: GrpcCall | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, app: App, grpc_call: GrpcCall) -> None:
        """Take requests from here on; call it on the event loop on which the models live."""
        self._loop = asyncio.get_running_loop()
        self._app, self._grpc = app, grpc_call

    def close(self) -> None:
        """Let Serve have the requests again."""
        self._app = self._grpc = None

    @property
    def app(self) -> App | None:
        """What answers HTTP on the loop that is running, if anything does.

        Without Serve's throughput mode its listeners run on another loop than the models.
        """
        return self._app if self._loop is asyncio.get_running_loop() else None

    @property
    def grpc(self) -> GrpcCall | None:
        """What answers gRPC; as above, and None where no loop runs."""
        try:
            return self._grpc if self._loop is asyncio.get_running_loop() else None
        except RuntimeError:
            return None

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request as in flight."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1


DOOR: Final = Door()


def middlewares() -> list[Middleware]:
    """Return what Serve puts around its listeners; it finds this by `CALLBACK`."""
    return [Middleware(InferenceFirst)]


def is_inference(scope: Mapping[str, Any]) -> bool:
    """Tell whether a request asks a model: what is worth a shorter way."""
    path = scope.get("path", "")
    return bool(
        scope["type"] == "http"
        and scope["method"] == "POST"
        and path.startswith("/v2/models/")
        and path.endswith("/infer")
    )


class InferenceFirst:
    """ASGI middleware that lets the gateway of this process answer inference.

    Args:
        app: Serve's own way.
        door: Where the gateway is found.
    """

    def __init__(self, app: App, door: Door = DOOR) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        door = self._door
        app = door.app if is_inference(scope) else None
        if app is None:
            await self._app(scope, receive, send)
            return
        watch = _Watch(receive)
        try:
            with door.counted():
                await app(scope, watch.receive, send)
        except asyncio.CancelledError:
            # The caller left: there is nobody to answer. Whoever else cancels shuts down.
            if not watch.has_left:
                raise
        finally:
            watch.stop()


class _Watch:
    """Cancels the task of a request whose caller leaves, or never sends all of its body."""

    __slots__ = ("_handle", "_is_whole", "_loop", "_receive", "_task", "_waited_s", "has_left")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._is_whole = False
        self._waited_s = 0.0
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._handle: asyncio.TimerHandle | asyncio.Task[None] = self._loop.call_later(
            WATCH_AFTER_S, self._look
        )
        self.has_left = False

    async def receive(self) -> Message:
        """Receive for the application, noting when the body is whole."""
        message = await self._receive()
        self._is_whole = not message.get("more_body", False)
        return message

    def stop(self) -> None:
        """The request is answered."""
        self._handle.cancel()

    def _look(self) -> None:
        self._waited_s += WATCH_AFTER_S
        if self._is_whole:
            self._handle = self._loop.create_task(self._until_left())
        elif self._waited_s >= GIVE_UP_S:
            self._leave()
        else:
            self._handle = self._loop.call_later(WATCH_AFTER_S, self._look)

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self.has_left = True
        if self._task is not None:
            self._task.cancel()


def pass_through(server: Any, service: str, methods: tuple[str, ...], door: Door = DOOR) -> bool:
    """Let a replica's gRPC server answer a service by itself.

    Args:
        server: As Serve hands it to whoever registers services.
        service: Its full name.
        methods: Its unary methods.
        door: Where the endpoint is found.

    Returns:
        Whether it does; otherwise the service must be registered as usual.
    """
    ask = door.grpc
    if ask is None or not hasattr(server, "add_passthrough_service"):
        return False

    def answer(method: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def call(body: bytes, context: Any) -> bytes:
            with door.counted():
                return await ask(method, body, context)

        return call

    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            answer(method), request_deserializer=None, response_serializer=None
        )
        for method in methods
    }
    server.add_passthrough_service(service)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    return True
