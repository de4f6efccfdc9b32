"""The gRPC skin over the data plane: `inference.GRPCInferenceService` behind Serve's gRPC ingress.

Messages come and go as bytes, see `serve_apps.grpc_ingress`; this side runs in the replicas.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast
from urllib.parse import unquote

import grpc

from novacron.errors import (
    CircuitOpenError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    NovacronError,
    OverloadedError,
)
from serve_apps.access.desk import Desk, Visit
from serve_apps.access.guard import is_here
from serve_apps.dataplane import DataPlane
from serve_apps.grpc_messages import new_message
from serve_apps.oip import encode_error
from serve_apps.oip_grpc import OipGrpc, parse_message
from serve_apps.request_path import KEY_HEADER

logger = logging.getLogger(__name__)

MAX_DETAILS_CHARS: Final = 1024
_OPEN: Final = ("ServerLive", "ServerReady")
ERROR_KEY: Final = "novacron-error-bin"
"""Trailing metadata of a refused call: the JSON object that HTTP would have answered."""


class CallContext(Protocol):
    """What a call tells and takes beside its messages; Serve's `RayServegRPCContext` has it."""

    def peer(self) -> str:
        """Return the caller's address as gRPC writes it, for example `ipv4:10.0.0.7:5123`."""
        ...

    def invocation_metadata(self) -> Any:
        """Return the pairs that the caller sent."""
        ...

    def trailing_metadata(self) -> Any:
        """Return the pairs set so far, among them the request's id."""
        ...

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status."""
        ...

    def set_details(self, details: str) -> None:
        """Set the sentence beside the status."""
        ...

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Set the pairs that follow the answer."""
        ...


@dataclass(frozen=True, slots=True)
class Serialized:
    """An answer that is bytes already, with the one method that Serve calls on messages."""

    data: bytes

    def SerializeToString(self) -> bytes:  # noqa: N802  protobuf's name
        """Return the bytes."""
        return self.data


Handler = Callable[[bytes, CallContext], Awaitable[bytes]]


class InferenceService:
    """Answers the calls of the service.

    Args:
        plane: The handlers.
        allow_remote: Whether callers on other machines are answered. Serve 2.60 has no setting
            for the address that its gRPC servers listen on and takes all of them, so that who may
            ask is decided here.
        desk: Who is let in, by the token in the metadata `authorization`, and what is noted.
        more: Handlers of further methods, of other services.
    """

    def __init__(
        self,
        plane: DataPlane,
        *,
        allow_remote: bool,
        desk: Desk | None = None,
        more: Mapping[str, Handler] | None = None,
    ) -> None:
        self._plane = plane
        self._allow_remote = allow_remote
        self._desk = desk or Desk()
        self._handlers: dict[str, Handler] = {
            "ModelInfer": self._infer,
            "ModelMetadata": self._model_metadata,
            "ModelReady": self._model_ready,
            "ServerLive": self._server_live,
            "ServerMetadata": self._server_metadata,
            "ServerReady": self._server_ready,
        } | dict(more or {})

    async def call(self, method: str, body: bytes, context: CallContext) -> Serialized:
        """Answer one call of a method of the service; a refusal sets the status on the context.

        The refusal is not raised, because Serve logs what is raised with its stack, and callers
        could fill the disk with their mistakes.
        """
        forwarded = _metadata(context, "x-forwarded-for")
        address = self._desk.guard.address_of(address_of(context.peer()), forwarded)
        visit = Visit(address, method, request_id=_request_id(context))
        status, reason = 200, ""
        try:
            if not self._allow_remote and not is_here(address):
                raise ForbiddenError(
                    "gRPC calls are answered on this machine only.",
                    remedy="Set grpc.allow_remote if the network in between is trusted.",
                )
            if method not in _OPEN:
                self._desk.admit(visit, _metadata(context, "authorization"))
                self._desk.check_size(visit, len(body))
            return Serialized(await self._handlers[method](body, context))
        except NovacronError as error:
            status, reason = error.http_status, type(error).__name__
            refuse(error, context)
        except Exception:
            # The boundary, as in the gateway.
            logger.exception("gRPC %s failed", method)
            unexpected = NovacronError(
                "The server failed to answer this request.", remedy="Look into the replica's log."
            )
            status, reason = unexpected.http_status, "Exception"
            refuse(unexpected, context)
        finally:
            self._desk.note(visit, status, reason)
        return Serialized(b"")

    def ahead_for(self, application: str) -> Callable[[str, bytes, CallContext], Awaitable[bytes]]:
        """Return what answers calls that do not come through Serve.

        It does what Serve would: it sends the call's id back, and refuses a call that is meant for
        another application.
        """

        async def call(method: str, body: bytes, context: CallContext) -> bytes:
            told = dict(context.invocation_metadata() or ())
            request_id = told.get("request_id") or uuid.uuid4().hex
            context.set_trailing_metadata([("request_id", request_id)])
            wanted = told.get("application") or application
            if wanted != application:
                refuse(NotFoundError(f"No application {wanted[:100]!r} is served here."), context)
                return b""
            return (await self.call(method, body, context)).data

        return call

    async def _infer(self, body: bytes, context: CallContext) -> bytes:
        began_s = self._plane.now_s()
        codec = OipGrpc()
        try:
            self._plane.check_size(len(body))
            name, version = codec.open(body)
        except InvalidInputError as error:
            self._plane.count_refusal("", None, error)
            raise
        key = _metadata(context, KEY_HEADER)
        reply = await self._plane.infer(
            name, version, body, codec, began_s=began_s, timeout_s=_time_left_s(context), key=key
        )
        _add_trailing(context, *reply.notes().items())
        return reply.body

    async def _server_live(self, body: bytes, _context: CallContext) -> bytes:
        parse_message("ServerLiveRequest", body)
        return _write("ServerLiveResponse", live=self._plane.live())

    async def _server_ready(self, body: bytes, _context: CallContext) -> bytes:
        parse_message("ServerReadyRequest", body)
        return _write("ServerReadyResponse", ready=self._plane.ready())

    async def _model_ready(self, body: bytes, _context: CallContext) -> bytes:
        request = parse_message("ModelReadyRequest", body)
        ready = self._plane.model_ready(request.name, request.version or None)
        return _write("ModelReadyResponse", ready=ready)

    async def _server_metadata(self, body: bytes, _context: CallContext) -> bytes:
        parse_message("ServerMetadataRequest", body)
        return _write("ServerMetadataResponse", **self._plane.server_metadata())

    async def _model_metadata(self, body: bytes, _context: CallContext) -> bytes:
        request = parse_message("ModelMetadataRequest", body)
        metadata = self._plane.model_metadata(request.name, request.version or None)
        tensors = {
            side: [
                {key: one[key] for key in ("name", "datatype", "shape")} for one in metadata[side]
            ]
            for side in ("inputs", "outputs")
        }
        return _write(
            "ModelMetadataResponse",
            name=metadata["name"],
            versions=metadata["versions"],
            platform=metadata["platform"],
            **tensors,
        )


def _time_left_s(context: CallContext) -> float | None:
    """Return how long the caller will wait, where the call says so: Serve's contexts do not."""
    tell = getattr(context, "time_remaining", None)
    return cast(float | None, tell()) if tell is not None else None


def _metadata(context: CallContext, name: str) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return None


def _request_id(context: CallContext) -> str:
    return next((str(value) for key, value in context.trailing_metadata() or ()
                 if key == "request_id"), "")  # fmt: skip


def address_of(peer: str) -> str:
    """Return the address of a peer as gRPC writes it; empty for a local socket."""
    kind, _, address = unquote(peer).partition(":")
    return "" if kind == "unix" else address.rpartition(":")[0].strip("[]") or "unknown"


def is_local(peer: str) -> bool:
    """Tell whether a peer, as gRPC writes it, is on this machine."""
    return is_here(address_of(peer))


def refuse(error: NovacronError, context: CallContext) -> None:
    """Set the status of an error on a call, its sentence, and the JSON object for programs."""
    context.set_code(grpc.StatusCode[error.grpc_status])
    context.set_details(str(error)[:MAX_DETAILS_CHARS])
    pairs: list[tuple[str, str | bytes]] = [(ERROR_KEY, encode_error(error))]
    if isinstance(error, OverloadedError | CircuitOpenError):
        pairs.append(("retry-after", f"{error.retry_after_s:.3f}"))
    _add_trailing(context, *pairs)


def _add_trailing(context: CallContext, *pairs: tuple[str, str | bytes]) -> None:
    context.set_trailing_metadata([*(context.trailing_metadata() or ()), *pairs])


def _write(name: str, /, **fields: Any) -> bytes:
    return bytes(new_message(name, **fields).SerializeToString())
