"""The Ray Serve application: one ingress for all models. `build` is what Serve is told to import.

`serve run serve_apps.app:build models=bandwidth`, or `serve deploy configs/serve/local.yaml`.
"""

import asyncio
import logging
import os
from typing import Any, Final

from ray import serve
from ray.serve import Application
from ray.util import metrics as ray_metrics

from novacron.errors import NotReadyError
from novacron.registry.store import ModelStore
from serve_apps.access import TokenGuard
from serve_apps.ai_service import AIService
from serve_apps.config import AppConfig, resolve_registry
from serve_apps.dataplane import DataPlane
from serve_apps.domain.site import Site
from serve_apps.gateway import Gateway
from serve_apps.grpc_service import CallContext, InferenceService, Serialized, refuse
from serve_apps.host import ModelHost, RegistryStore
from serve_apps.metrics import ServingMetrics

DEPLOYMENT: Final = "Endpoint"


class Endpoint:
    """One replica: every model, in one process, behind one ASGI app.

    Args:
        config: Its settings, with the registry's folder absolute.
    """

    def __init__(self, config: AppConfig) -> None:
        _log_with_serve()
        self._config = config
        self._metrics = ServingMetrics(ray_metrics)
        self._host: ModelHost | None = None
        self._poller: asyncio.Task[None] | None = None
        self._grpc: InferenceService | None = None
        self._site: Site | None = None

    async def __serve_build_asgi_app__(self) -> Gateway:
        """Load every model and return the app; without all of them no replica gets a request."""
        config = self._config
        store = await asyncio.to_thread(ModelStore.connect, config.registry)
        self._host = ModelHost(
            RegistryStore(store), config.models, config.batching, self._metrics.observe_batch
        )
        await self._host.load()
        if config.replica.registry_poll_s:
            self._poller = asyncio.create_task(self._poll(self._host))
        plane = DataPlane(self._host, config.limits, self._metrics)
        guard = TokenGuard(config.access.token_sha256)
        self._site = Site(plane, config.feedback_dir or config.registry.root / "feedback")
        self._grpc = InferenceService(
            plane,
            allow_remote=config.grpc.allow_remote,
            guard=guard,
            more=AIService(self._site.routes).handlers(),
        )
        self._site.refresh()
        # Serve adds X-Request-ID itself.
        return Gateway(
            plane,
            on_shutdown=self._drain,
            site=self._site,
            guard=guard,
            echo_request_id=False,
        )

    async def ServerLive(self, body: bytes, grpc_context: CallContext) -> Serialized:  # noqa: N802
        """Answer a gRPC call of this name."""
        return await self._call("ServerLive", body, grpc_context)

    async def ServerReady(self, body: bytes, grpc_context: CallContext) -> Serialized:  # noqa: N802
        """Answer a gRPC call of this name."""
        return await self._call("ServerReady", body, grpc_context)

    async def ModelReady(self, body: bytes, grpc_context: CallContext) -> Serialized:  # noqa: N802
        """Answer a gRPC call of this name."""
        return await self._call("ModelReady", body, grpc_context)

    async def ServerMetadata(self, body: bytes, grpc_context: CallContext) -> Serialized:  # noqa: N802
        """Answer a gRPC call of this name."""
        return await self._call("ServerMetadata", body, grpc_context)

    async def ModelMetadata(self, body: bytes, grpc_context: CallContext) -> Serialized:  # noqa: N802
        """Answer a gRPC call of this name."""
        return await self._call("ModelMetadata", body, grpc_context)

    async def ModelInfer(self, body: bytes, grpc_context: CallContext) -> Serialized:  # noqa: N802
        """Answer a gRPC call of this name."""
        return await self._call("ModelInfer", body, grpc_context)

    async def PredictBandwidth(self, body: bytes, grpc_context: CallContext) -> Serialized:  # noqa: N802
        """Answer a gRPC call of this name."""
        return await self._call("PredictBandwidth", body, grpc_context)

    async def OptimizePlacement(self, body: bytes, grpc_context: CallContext) -> Serialized:  # noqa: N802
        """Answer a gRPC call of this name."""
        return await self._call("OptimizePlacement", body, grpc_context)

    async def DetectAnomaly(self, body: bytes, grpc_context: CallContext) -> Serialized:  # noqa: N802
        """Answer a gRPC call of this name."""
        return await self._call("DetectAnomaly", body, grpc_context)

    async def check_health(self) -> None:
        """Raise when Serve should replace this replica."""
        if self._host is None:
            raise NotReadyError("The models are still loading.")
        self._host.check_health(self._config.replica.max_call_s)

    async def _call(self, method: str, body: bytes, context: CallContext) -> Serialized:
        if self._grpc is None:
            refuse(NotReadyError("The models are still loading."), context)
            return Serialized(b"")
        return await self._grpc.call(method, body, context)

    async def _poll(self, host: ModelHost) -> None:
        while True:
            await asyncio.sleep(self._config.replica.registry_poll_s)
            await host.refresh()
            if self._site is not None:
                self._site.refresh()

    async def _drain(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
        if self._host is not None:
            await self._host.drain()


def _log_with_serve() -> None:
    """Send this package's log lines where Serve's own go, the replica's log file."""
    ours = logging.getLogger("serve_apps")
    ours.handlers = logging.getLogger("ray.serve").handlers
    ours.setLevel(logging.INFO)
    ours.propagate = False


def build(args: AppConfig) -> Application:
    """Build the application from its settings.

    Args:
        args: What `args` in the YAML file or `key=value` on the command line say.
    """
    config = args.model_copy(update={"registry": resolve_registry(args.registry, os.environ)})
    ingress = serve.ingress()(Endpoint)
    app: Application = serve.deployment(name=DEPLOYMENT, **deployment_options(config))(
        ingress
    ).bind(config)
    return app


def deployment_options(config: AppConfig) -> dict[str, Any]:
    """Return what Serve is told about the deployment, where its defaults would hurt."""
    scaling, replica = config.scaling, config.replica
    return {
        "autoscaling_config": {
            "min_replicas": scaling.min_replicas,
            "max_replicas": scaling.max_replicas,
            "target_ongoing_requests": scaling.target_ongoing_requests,
            "upscale_delay_s": scaling.upscale_delay_s,
            "downscale_delay_s": scaling.downscale_delay_s,
        },
        "ray_actor_options": {"num_cpus": replica.num_cpus},
        "max_ongoing_requests": replica.max_ongoing_requests,
        # Beyond what the replicas hold, callers hear at once that they should come back.
        "max_queued_requests": replica.max_ongoing_requests * scaling.max_replicas,
        "backpressure_config": {"status_code": 429, "retry_after_s": 1.0},
        # The default, 0, stops the old replica before the new one is there.
        "max_surge_percent": 100,
        # A model that does not load now will not at the twentieth attempt.
        "max_constructor_retry_count": 3,
        "graceful_shutdown_timeout_s": replica.graceful_shutdown_timeout_s,
        "health_check_period_s": replica.health_check_period_s,
        "health_check_timeout_s": replica.health_check_timeout_s,
        # A line for every request costs more than decoding it; metrics count them anyway.
        "logging_config": {"enable_access_log": False},
    }
