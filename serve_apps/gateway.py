"""The HTTP skin over the data plane: a small ASGI app for the Open Inference Protocol's routes."""

import logging
import math
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from novacron.errors import (
    CircuitOpenError,
    ForbiddenError,
    InvalidInputError,
    MethodNotAllowedError,
    NotFoundError,
    NotReadyError,
    NovacronError,
    OverloadedError,
    UnauthorizedError,
    UnreadableInputError,
)
from serve_apps.access.desk import Desk, Visit
from serve_apps.arrow_ipc import CONTENT_TYPE as ARROW
from serve_apps.arrow_ipc import ArrowStream
from serve_apps.asgi import Receive, Send
from serve_apps.dataplane import DataPlane
from serve_apps.domain.site import Site
from serve_apps.http_body import CallerGoneError, read_body, read_timeout_s
from serve_apps.oip import encode_error
from serve_apps.oip_binary import HEADER_LENGTH, OipHttp
from serve_apps.request_path import KEY_HEADER

logger = logging.getLogger(__name__)


REQUEST_ID_HEADER: Final = "x-request-id"
PREDICTION_ID_HEADER: Final = "x-prediction-id"
_ROUTES: Final = re.compile(
    r"/v2(?:/health/(live|ready)|/models/([^/]+)(?:/versions/([^/]+))?(?:/(ready|infer))?)?/?"
)
_ROUTE_HELP: Final = (
    "Routes: /v2, /v2/health/live, /v2/health/ready, /v2/models/NAME[/versions/N] with nothing, "
    "/ready or /infer behind it; /docs lists the typed ones."
)


@dataclass(slots=True)
class Response:
    """What goes back: status, body, and headers beside the length; JSON unless they say else."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Gateway:
    """ASGI 3 application.

    Args:
        plane: The handlers.
        on_shutdown: Awaited when the server shuts the app down.
        site: Typed routes, OpenAPI document and docs page; without it there are none.
        desk: Who may ask, and what is noted; health is answered to everybody.
        echo_request_id: Whether answers carry `X-Request-ID`; off where the server adds it, as
            Ray Serve does.
        new_id: Makes the id of a request that brings none.
    """

    def __init__(
        self,
        plane: DataPlane,
        *,
        on_shutdown: Callable[[], Awaitable[None]] | None = None,
        site: Site | None = None,
        desk: Desk | None = None,
        echo_request_id: bool = True,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._plane = plane
        self._on_shutdown = on_shutdown
        self._site = site
        self._desk = desk or Desk()
        self._echo_request_id = echo_request_id
        self._new_id = new_id

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection event, as the ASGI server asks."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send, echo_request_id=self._echo_request_id)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def answer_ahead(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve a request that did not come through Serve, so that nobody else adds its id."""
        await self._serve(scope, receive, send, echo_request_id=True)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._on_shutdown is not None:
                    await self._on_shutdown()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(
        self, scope: Mapping[str, Any], receive: Receive, send: Send, *, echo_request_id: bool
    ) -> None:
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        request_id = headers.get(REQUEST_ID_HEADER, "")[:128] or self._new_id()
        visit = self._open_visit(scope, headers, request_id)
        reason = ""
        try:
            response = await self._route(scope, headers, receive, visit)
        except CallerGoneError:
            return
        except NovacronError as error:
            reason = type(error).__name__
            response = _refuse(error, request_id)
        except Exception:
            # The boundary: whatever is not ours leaves as a 500 that names its line in the log.
            logger.exception("request %s failed", request_id)
            unexpected = NovacronError(
                "The server failed to answer this request.",
                remedy=f"Look for {request_id} in the replica's log.",
            )
            reason = "Exception"
            response = _refuse(unexpected, request_id)
        self._desk.note(visit, response.status, reason)
        if echo_request_id:
            response.headers[REQUEST_ID_HEADER] = request_id
        await _send(send, response, with_body=scope["method"] != "HEAD")

    def _open_visit(
        self, scope: Mapping[str, Any], headers: Mapping[str, str], request_id: str
    ) -> Visit:
        peer, _ = scope.get("client") or ("", 0)
        address = self._desk.guard.address_of(
            peer, headers.get("x-forwarded-for"), headers.get("origin")
        )
        return Visit(address, f"{scope['method']} {scope['path']}", request_id=request_id)

    async def _route(
        self,
        scope: Mapping[str, Any],
        headers: Mapping[str, str],
        receive: Receive,
        visit: Visit,
    ) -> Response:
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        if self._site is not None and (methods := self._site.methods(path)):
            _check_method(scope, *methods)
            self._desk.admit(visit, headers.get("authorization"), role=self._site.role(path))
            return await self._ask_site(self._site, path, headers, receive, visit)
        route = _ROUTES.fullmatch(path)
        if route is None:
            raise NotFoundError(f"No route {path[:100]!r}.", remedy=_ROUTE_HELP)
        health, name, version, action = route.groups()
        if health is None:
            self._desk.admit(visit, headers.get("authorization"))
        if action == "infer":
            _check_method(scope, "POST")
            visit.model, visit.version = name, version or ""
            return await self._infer(headers, receive, visit)
        _check_method(scope, "GET", "HEAD")
        if health is not None:
            return self._health(health)
        if name is None:
            return _json(self._plane.server_metadata())
        if action == "ready":
            return _json({"name": name, "ready": self._plane.model_ready(name, version)})
        return _json(self._plane.model_metadata(name, version))

    async def _ask_site(
        self,
        site: Site,
        path: str,
        headers: Mapping[str, str],
        receive: Receive,
        visit: Visit,
    ) -> Response:
        if "POST" not in site.methods(path):
            page = site.read(path)
        else:
            timeout_s = read_timeout_s(headers)
            visit.changes = site.changes(path)
            body = await self._read(headers, receive, visit)
            page = await site.ask(path, body, timeout_s=timeout_s, new_id=self._new_id)
        answer_headers = {"content-type": page.content_type}
        if page.timing:
            answer_headers["server-timing"] = page.timing
        return Response(page.status, page.body, answer_headers)

    def _health(self, kind: str) -> Response:
        if kind == "live":
            return _json({"live": self._plane.live()})
        if not self._plane.ready():
            raise NotReadyError(
                "Not every model is loaded, or a shutdown has begun.", remedy="Retry shortly."
            )
        told = {} if self._site is None else self._site.health()
        return _json({"ready": True, **told})

    def _codec_for(self, headers: Mapping[str, str]) -> OipHttp | ArrowStream:
        if headers.get("content-type", "").partition(";")[0].strip().lower() == ARROW:
            return ArrowStream(self._plane.limits.max_body_bytes)
        return oip_codec(headers)

    async def _read(self, headers: Mapping[str, str], receive: Receive, visit: Visit) -> bytes:
        if visit.caller is None or visit.caller.max_body_bytes is None:
            return await read_body(self._plane, headers, receive)
        return await read_body(
            self._plane, headers, receive, lambda size: self._desk.check_size(visit, size)
        )

    async def _infer(self, headers: Mapping[str, str], receive: Receive, visit: Visit) -> Response:
        name, version = visit.model, visit.version or None
        try:
            codec = self._codec_for(headers)
            timeout_s = read_timeout_s(headers)
            body = await self._read(headers, receive, visit)
        except InvalidInputError as error:
            self._plane.count_refusal(name, version, error)
            raise
        reply = await self._plane.infer(
            name, version, body, codec, timeout_s=timeout_s, key=headers.get(KEY_HEADER)
        )
        visit.version = reply.model_version
        answer_headers = codec.answer_headers | reply.notes()
        if reply.prediction_id:
            answer_headers[PREDICTION_ID_HEADER] = reply.prediction_id
        return Response(200, reply.body, answer_headers)


def oip_codec(headers: Mapping[str, str]) -> OipHttp:
    """Make the protocol's own codec of one request from its headers.

    Raises:
        UnreadableInputError: The header of the binary tensor extension is no length.
    """
    given = headers.get(HEADER_LENGTH)
    if given is None:
        return OipHttp()
    if not (given.isascii() and given.isdecimal()):
        raise UnreadableInputError(
            field="Inference-Header-Content-Length",
            got=given,
            expected="the length of the JSON in bytes",
        )
    return OipHttp(int(given[:18]))


def _refuse(error: NovacronError, request_id: str) -> Response:
    headers = {}
    if isinstance(error, OverloadedError | CircuitOpenError):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, UnauthorizedError | ForbiddenError) and (
        error.challenge or error.http_status == UnauthorizedError.http_status
    ):
        headers["www-authenticate"] = error.challenge or "Bearer"
    if isinstance(error, MethodNotAllowedError):
        headers["allow"] = ", ".join(error.allowed)
    return Response(error.http_status, encode_error(error, request_id=request_id), headers)


def _check_method(scope: Mapping[str, Any], *allowed: str) -> None:
    if scope["method"] not in allowed:
        raise MethodNotAllowedError(
            f"{scope['path'][:100]!r} does not take {scope['method'][:20]}.", allowed=allowed
        )


def _json(document: Mapping[str, Any]) -> Response:
    return Response(200, orjson.dumps(document))


async def _send(send: Send, response: Response, *, with_body: bool) -> None:
    headers = {
        "content-type": "application/json",
        "content-length": str(len(response.body)),
    } | response.headers
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [(key.encode(), value.encode("latin-1")) for key, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": response.body if with_body else b""})
