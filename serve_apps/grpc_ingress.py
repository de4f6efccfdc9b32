"""Tells Serve's gRPC servers which methods our services have.

Named under `grpc_options.grpc_servicer_functions`. Proxies import it, so it imports no model code.
Messages cross Serve as bytes, in both directions: nothing pickles them, no generated code is needed.
"""

from typing import Any, Final

import grpc

from serve_apps.short_path import pass_through

SERVICE: Final = "inference.GRPCInferenceService"
METHODS: Final = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
)


AI_SERVICE: Final = "novacron.ai.AIService"
AI_METHODS: Final = ("PredictBandwidth", "OptimizePlacement", "DetectAnomaly")


def add_inference_service(servicer: Any, server: Any) -> None:
    """Register the service's methods on a gRPC server, in place of generated code.

    Serve calls it in each of its gRPC servers and puts its own routing behind every method.
    """
    _add(servicer, server, SERVICE, METHODS)


def add_ai_service(servicer: Any, server: Any) -> None:
    """Register `novacron.ai.AIService`, see `serve_apps.ai_service`; as above."""
    _add(servicer, server, AI_SERVICE, AI_METHODS)


def _add(servicer: Any, server: Any, service: str, methods: tuple[str, ...]) -> None:
    if pass_through(server, service, methods):
        return
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method), request_deserializer=None, response_serializer=None
        )
        for method in methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
