"""The Ray Serve application: one ingress for all models. `build` is what Serve is told to import.

`serve run serve_apps.app:build models=bandwidth`, or `serve deploy configs/serve/local.yaml`.
"""

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import Any, Final, cast

from ray import serve
from ray.serve import Application
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle
from ray.util import metrics as ray_metrics

from novacron.errors import NotReadyError
from novacron.monitoring.metric_names import ACCESS_REFUSALS, AUDIT_LOST
from novacron.registry.store import ModelStore
from serve_apps.access.audit import AuditLog
from serve_apps.access.desk import Desk
from serve_apps.access.exposure import check_exposure, check_tls
from serve_apps.access.guard import Guard
from serve_apps.ai_service import AIService
from serve_apps.autoscale import IN_FLIGHT, by_requests_in_flight
from serve_apps.config import AppConfig, ScalingConfig, resolve_registry, split_ref
from serve_apps.dataplane import DataPlane
from serve_apps.domain.site import Site
from serve_apps.gateway import Gateway
from serve_apps.grpc_service import CallContext, InferenceService, Serialized, refuse
from serve_apps.host import ModelHost, RegistryStore
from serve_apps.memory import Memory, open_memory
from serve_apps.metrics import ServingMetrics
from serve_apps.resilience.guarded import GuardedAsking
from serve_apps.resilience.metrics import ResilienceMetrics
from serve_apps.rollout.wiring import Rollouts, build_follower, build_rollouts
from serve_apps.settings.access import AccessConfig
from serve_apps.short_path import CALLBACK, CALLBACK_VARIABLE, DOOR
from serve_apps.slow_models import ComposedHost, Description, Outcome, SlowHost

DEPLOYMENT: Final = "Endpoint"
METRICS_FLUSH_S: Final = 0.5
"""Well below the seconds at which Ray exports what it was told."""
SLOW_DEPLOYMENT: Final = "SlowModels"
HA_PROXY_VARIABLE: Final = "RAY_SERVE_ENABLE_HA_PROXY"
_SLOW_CALL_S: Final = 600.0
"""A call of a slow model that takes longer marks its replica unhealthy."""


class Endpoint:
    """One replica: every model, in one process, behind one ASGI app.

    Args:
        config: Its settings, with the registry's folder absolute.
        slow: The deployment of the slow models, where there is one.
    """

    def __init__(self, config: AppConfig, slow: DeploymentHandle[Any] | None = None) -> None:
        _log_with_serve()
        self._config = config
        self._slow = slow
        self._metrics = ServingMetrics(ray_metrics, METRICS_FLUSH_S)
        self._host: ModelHost | ComposedHost | None = None
        self._poller: asyncio.Task[None] | None = None
        self._grpc: InferenceService | None = None
        self._site: Site | None = None
        self._memory: Memory | None = None
        self._rollouts: Rollouts | None = None
        self._desk: Desk | None = None

    async def __serve_build_asgi_app__(self) -> Gateway:
        """Load every model and return the app; without all of them no replica gets a request."""
        config = self._config
        await asyncio.to_thread(_check_reach, config.access)
        store = await asyncio.to_thread(ModelStore.connect, config.registry)
        registry = RegistryStore(store)
        host: ModelHost | ComposedHost = ModelHost(
            registry, config.models, config.batching, self._metrics.observe_batch
        )
        if self._slow is not None and isinstance(host, ModelHost):
            host = ComposedHost(host, _HandleLink(self._slow), config.slow.models)
        await host.load()
        self._host = host
        if config.replica.registry_poll_s:
            self._poller = asyncio.create_task(self._poll(host))
        asking = GuardedAsking(
            config.resilience,
            config.limits,
            ResilienceMetrics(self._metrics),
            slow_names=tuple(split_ref(ref)[0] for ref in config.slow.models),
        )
        memory = self._memory = await open_memory(config, ray_metrics)
        rollouts = await self._follow_rollouts(host, asking, registry, memory)
        plane = self._build_plane(host, asking, memory, rollouts)
        self._site = Site(
            plane,
            config.feedback_dir or config.registry.root / "feedback",
            histories=memory.histories,
            extensions=[*memory.extensions, rollouts.routes()],
        )
        loop = asyncio.get_running_loop()
        self._desk = await asyncio.to_thread(_make_desk, config.access, self._metrics, loop)
        self._grpc = InferenceService(
            plane,
            allow_remote=config.grpc.allow_remote,
            desk=self._desk,
            more=AIService(self._site.routes).handlers(),
        )
        self._site.refresh()
        # Serve adds X-Request-ID itself.
        gateway = Gateway(
            plane,
            on_shutdown=self._drain,
            site=self._site,
            desk=self._desk,
            echo_request_id=False,
        )
        if config.replica.short_path:
            application = serve.get_replica_context().app_name
            DOOR.open(gateway.answer_ahead, self._grpc.ahead_for(application))
        return gateway

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

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Serve of the requests in flight that it does not see."""
        return {IN_FLIGHT: float(DOOR.in_flight)}

    async def check_health(self) -> None:
        """Raise when Serve should replace this replica."""
        if self._host is None:
            raise NotReadyError("The models are still loading.")
        self._host.check_health(self._config.replica.max_call_s)

    def _build_plane(
        self,
        host: ModelHost | ComposedHost,
        asking: GuardedAsking,
        memory: Memory,
        rollouts: Rollouts,
    ) -> DataPlane:
        return DataPlane(
            host,
            self._config.limits,
            self._metrics,
            asking=asking,
            recorder=memory.recorder,
            chooser=rollouts.traffic,
            observers=[rollouts.observe],
        )

    async def _follow_rollouts(
        self,
        host: ModelHost | ComposedHost,
        asking: GuardedAsking,
        registry: RegistryStore,
        memory: Memory,
    ) -> Rollouts:
        """Split, count and compare requests as the rollouts say that the registry's folder holds."""
        config = self._config
        made = build_rollouts(
            config.rollout,
            config.registry.root,
            host,
            asking,
            registry,
            ray_metrics,
            memory.recorder,
        )
        await made.start(config.rollout.look_s)
        self._rollouts = made
        return made

    async def _call(self, method: str, body: bytes, context: CallContext) -> Serialized:
        if self._grpc is None:
            refuse(NotReadyError("The models are still loading."), context)
            return Serialized(b"")
        return await self._grpc.call(method, body, context)

    async def _poll(self, host: ModelHost | ComposedHost) -> None:
        while True:
            await asyncio.sleep(self._config.replica.registry_poll_s)
            await host.refresh()
            if self._site is not None:
                self._site.refresh()

    async def _drain(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
        if self._rollouts is not None:
            await self._rollouts.stop()
        if self._host is not None:
            await self._host.drain()
        if self._memory is not None:
            await self._memory.close()
        if self._desk is not None:
            await asyncio.to_thread(self._desk.audit.close)
        self._metrics.flush()


class SlowModels:
    """One replica of the models that take long.

    Args:
        config: The application's settings, with the registry's folder absolute.
    """

    async def __init__(self, config: AppConfig) -> None:  # type: ignore[misc]  # Serve awaits it
        _log_with_serve()
        self._config = config
        store = await asyncio.to_thread(ModelStore.connect, config.registry)
        observe = ServingMetrics(ray_metrics).observe_batch
        self._host = ModelHost(
            RegistryStore(store), config.slow.models, config.slow.batching, observe
        )
        await self._host.load()
        self._slow = SlowHost(self._host)
        follower = build_follower(config.rollout, config.registry.root, self._host)
        self._follower = asyncio.create_task(follower.run(config.rollout.look_s))
        self._poller = asyncio.create_task(self._poll())

    async def describe(self) -> tuple[Description, ...]:
        """Return what is loaded here."""
        return self._slow.describe()

    async def ask(
        self, name: str, version: str, tensors: Any, n_rows: int, timeout_s: float
    ) -> Outcome:
        """Answer checked tensors."""
        return await self._slow.ask(name, version, tensors, n_rows, timeout_s)

    async def stand_in(self, name: str, version: str, tensors: Any) -> Outcome:
        """Answer checked tensors by the baseline of the model's family."""
        return await self._slow.stand_in(name, version, tensors)

    async def check_health(self) -> None:
        """Raise when Serve should replace this replica."""
        self._host.check_health(_SLOW_CALL_S)

    async def _poll(self) -> None:
        period_s = self._config.replica.registry_poll_s
        while period_s:
            await asyncio.sleep(period_s)
            await self._host.refresh()


@dataclass(frozen=True, slots=True)
class _HandleLink:
    """A Serve handle as the ingress uses it."""

    handle: DeploymentHandle[Any]

    async def describe(self) -> tuple[Description, ...]:
        return cast(tuple[Description, ...], await self.handle.describe.remote())

    async def ask(
        self, name: str, version: str, tensors: Any, n_rows: int, timeout_s: float
    ) -> Outcome:
        asked = self.handle.ask.remote(name, version, tensors, n_rows, timeout_s)
        return cast(Outcome, await asked)

    async def stand_in(self, name: str, version: str, tensors: Any) -> Outcome:
        return cast(Outcome, await self.handle.stand_in.remote(name, version, tensors))


def _check_reach(access: AccessConfig) -> None:
    """Check what Serve's HTTP listens on; the controller that started this replica knows."""
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return
    check_exposure(access, client.http_config.host)
    ha_proxy = os.environ.get(HA_PROXY_VARIABLE, "0") == "1"
    check_tls(client.http_config.ssl_certfile, ha_proxy=ha_proxy)


def _make_desk(
    access: AccessConfig, metrics: ServingMetrics, loop: asyncio.AbstractEventLoop
) -> Desk:
    count_refusal = metrics.counter(ACCESS_REFUSALS)
    count_lost = metrics.counter(AUDIT_LOST)
    guard = Guard(access, on_refusal=lambda caller, why: count_refusal(1, (caller, why)))

    def lost(count: int) -> None:
        # The log's own thread tells it.
        loop.call_soon_threadsafe(count_lost, count, ())

    return Desk(guard, AuditLog(access.audit, on_lost=lost))


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
    endpoint = serve.deployment(name=DEPLOYMENT, **deployment_options(config))(ingress)
    if not config.slow.models:
        alone: Application = endpoint.bind(config)
        return alone
    slow = serve.deployment(name=SLOW_DEPLOYMENT, **slow_options(config))(SlowModels)
    composed: Application = endpoint.bind(config, slow.bind(config))
    return composed


def slow_options(config: AppConfig) -> dict[str, Any]:
    """Return what Serve is told about the deployment of the slow models."""
    slow = config.slow
    # Its queue is refused by the batcher, which knows the wait; Serve's own holds for the rest.
    return deployment_options(config) | {
        "autoscaling_config": _autoscaling(slow.scaling),
        "ray_actor_options": {"num_cpus": slow.num_cpus},
        "max_ongoing_requests": slow.max_ongoing_requests,
        "max_queued_requests": slow.max_ongoing_requests * slow.scaling.max_replicas,
    }


def _autoscaling(scaling: ScalingConfig) -> dict[str, Any]:
    return {
        "min_replicas": scaling.min_replicas,
        "max_replicas": scaling.max_replicas,
        "target_ongoing_requests": scaling.target_ongoing_requests,
        "upscale_delay_s": scaling.upscale_delay_s,
        "downscale_delay_s": scaling.downscale_delay_s,
    }


def deployment_options(config: AppConfig) -> dict[str, Any]:
    """Return what Serve is told about the deployment, where its defaults would hurt."""
    scaling, replica = config.scaling, config.replica
    actor: dict[str, Any] = {"num_cpus": replica.num_cpus}
    if replica.short_path:
        actor["runtime_env"] = {"env_vars": {CALLBACK_VARIABLE: CALLBACK}}
    policy = {"policy_function": f"{by_requests_in_flight.__module__}:by_requests_in_flight"}
    return {
        "autoscaling_config": _autoscaling(scaling) | {"policy": policy},
        "ray_actor_options": actor,
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
