"""Settings of the endpoint: what `args` in `configs/serve/*.yaml` may say, with bounds."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from novacron.registry.config import RegistryConfig
from serve_apps.settings.access import AccessConfig
from serve_apps.settings.predictions import PredictionsConfig
from serve_apps.settings.resilience import ResilienceConfig
from serve_apps.settings.rollout import RolloutConfig
from serve_apps.settings.streaming import StreamingConfig

DEFAULT_ALIAS: Final = "champion"
RUNS_DIR_VARIABLE: Final = "NOVACRON_RUNS_DIR"
_MODEL_REF: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}(@[A-Za-z0-9][A-Za-z0-9_-]{0,62})?")


def split_ref(ref: str) -> tuple[str, str]:
    """Split `name@alias` or `name@version`; a bare name means the champion."""
    name, _, alias = ref.partition("@")
    return name, alias or DEFAULT_ALIAS


def _split_list(value: object) -> object:
    """Take `a,b` from a command line as a list."""
    return tuple(part for part in value.split(",") if part) if isinstance(value, str) else value


def _check_ref(ref: str) -> str:
    if not _MODEL_REF.fullmatch(ref):
        raise ValueError(f"{ref!r} is not `name`, `name@alias` or `name@version`")
    return ref


ModelRef = Annotated[str, AfterValidator(_check_ref)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BatchingConfig(_Settings):
    """Limits of one model's batch and queue."""

    max_batch_rows: int = Field(default=256, ge=1, le=65_536)
    """Rows of one model call. Larger requests are split, smaller ones joined."""
    max_batch_bytes: int = Field(default=32 * 2**20, ge=1024)
    """Bytes of the prepared rows of one model call; a single row may be larger. It keeps a call
    over long histories from growing with `max_batch_rows`."""
    max_queued_rows: int = Field(default=16_384, ge=1)
    """Rows that may wait; beyond it a request gets 429."""
    max_queued_bytes: int = Field(default=512 * 2**20, ge=1024)
    """Bytes of prepared rows that may wait; beyond it a request gets 429."""
    max_wait_s: float = Field(default=5.0, gt=0)
    """Predicted wait above which a request gets 429; set it above the time of one full call."""
    max_delay_s: float = Field(default=0.0, ge=0, le=1.0)
    """How long an idle model waits for more rows. 0: never; a lone request is answered at once."""
    inline_below_s: float = Field(default=0.001, ge=0, le=0.01)
    """A call that is expected to take less is made on the event loop, a longer one in a thread of
    the model: handing over and back costs about 0.1 ms of CPU. 0: always in the thread."""
    min_retry_after_s: float = Field(default=0.1, gt=0)
    """Smallest delay told to a refused caller."""


class LimitsConfig(_Settings):
    """Sizes above which a request gets 413."""

    max_body_bytes: int = Field(default=16 * 2**20, ge=1024)
    """Bytes of a request body, after decompression."""
    max_request_rows: int = Field(default=8_192, ge=1)
    """Rows of one request."""


class ScalingConfig(_Settings):
    """When Serve adds and removes replicas."""

    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=4, ge=1)
    target_ongoing_requests: float = Field(default=32.0, gt=0)
    """Requests in flight per replica that Serve steers for. Ray's default of 2 would add replicas
    before a batch is even half full."""
    upscale_delay_s: float = Field(default=10.0, ge=0)
    downscale_delay_s: float = Field(default=120.0, ge=0)
    """Longer than the upscale delay, so that a gap in traffic does not throw a warm replica away."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas is below min_replicas")
        return self


class ReplicaConfig(_Settings):
    """One replica process."""

    num_cpus: float = Field(default=1.0, gt=0)
    """CPUs that Ray reserves for it, and, rounded down but at least 1, the threads that the
    numeric libraries inside it use."""
    max_ongoing_requests: int = Field(default=1_024, ge=512)
    """Requests that Serve hands to a replica at once. Ray's default of 5 starves the batcher."""
    graceful_shutdown_timeout_s: float = Field(default=30.0, ge=0)
    """Time to answer what is in flight before a replica is killed."""
    health_check_period_s: float = Field(default=5.0, gt=0)
    health_check_timeout_s: float = Field(default=10.0, gt=0)
    max_call_s: float = Field(default=60.0, gt=0)
    """A model call that takes longer marks the replica unhealthy, and Serve replaces it."""
    registry_poll_s: float = Field(default=10.0, ge=0)
    """How often a replica asks where the aliases point; a moved alias is swapped in without a
    restart. 0: never."""
    short_path: bool = True
    """Whether inference is answered ahead of Serve's machinery for each request, where HAProxy
    sends callers straight to the replicas, which is cheaper for light models. Serve's own counters
    of requests miss those; the platform's do not. See `serve_apps.short_path`."""


class SlowConfig(_Settings):
    """Models that take long, in a deployment of their own; none: no such deployment."""

    models: Annotated[tuple[ModelRef, ...], BeforeValidator(_split_list)] = ()
    """As `models` of the application, and none of those."""
    scaling: ScalingConfig = ScalingConfig(target_ongoing_requests=2.0, downscale_delay_s=300.0)
    """Two requests in flight for a replica: its model answers one call at a time."""
    num_cpus: float = Field(default=1.0, gt=0)
    """CPUs that Ray reserves for a replica."""
    max_ongoing_requests: int = Field(default=64, ge=1)
    """Requests that Serve hands to a replica at once; more wait where they can be refused."""
    batching: BatchingConfig = BatchingConfig(max_batch_rows=64, max_wait_s=30.0)
    """Smaller calls, so that a request is not held up by a batch of minutes."""


class GrpcConfig(_Settings):
    """Who may call over gRPC, where `grpc_options` of the file turn it on."""

    allow_remote: bool = False
    """Whether callers on other machines are answered, with a token under `access`. Serve's gRPC
    servers listen on every address of the machine. On a cluster of several nodes, HAProxy calls
    replicas of other nodes from its own, which is remote too."""


class AppConfig(_Settings):
    """Everything under `args` of the application."""

    models: Annotated[tuple[ModelRef, ...], BeforeValidator(_split_list)] = Field(min_length=1)
    """`name`, `name@alias` or `name@version` of each model to serve; a bare name means the
    champion. Of several refs of one name the first answers requests that name no version."""
    registry: RegistryConfig = RegistryConfig()
    """Where models come from. What is not given here is read from the environment variables that
    `novacron.registry.config` lists."""
    batching: BatchingConfig = BatchingConfig()
    limits: LimitsConfig = LimitsConfig()
    scaling: ScalingConfig = ScalingConfig()
    replica: ReplicaConfig = ReplicaConfig()
    grpc: GrpcConfig = GrpcConfig()
    slow: SlowConfig = SlowConfig()
    access: AccessConfig = AccessConfig()
    resilience: ResilienceConfig = ResilienceConfig()
    streaming: StreamingConfig = StreamingConfig()
    predictions: PredictionsConfig = PredictionsConfig()
    rollout: RolloutConfig = RolloutConfig()
    feedback_dir: Path | None = None
    """Where operators' verdicts on alerts are kept; by default `feedback` in the registry's
    folder. Replicas on several nodes need a folder that all of them see."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(set(self.models)) != len(self.models):
            raise ValueError("models: one is listed twice")
        light = {split_ref(ref)[0] for ref in self.models}
        both = light & {split_ref(ref)[0] for ref in self.slow.models}
        if both:
            raise ValueError(f"slow.models: {', '.join(sorted(both))} is under models too")
        if self.limits.max_request_rows > self.batching.max_queued_rows:
            raise ValueError("limits.max_request_rows exceeds batching.max_queued_rows")
        if self.grpc.allow_remote and self.access.is_open:
            raise ValueError("grpc.allow_remote needs a token: set access.tokens or access.jwt")
        return self


def resolve_registry(given: RegistryConfig, environment: Mapping[str, str]) -> RegistryConfig:
    """Fill a registry's settings from the environment and make its folder absolute.

    Replicas work in other folders than the command that deployed them, so a relative folder
    would lead each to a registry of its own.

    Raises:
        ConfigError: A variable holds a setting that is not allowed.
    """
    explicit = {name: getattr(given, name) for name in given.model_fields_set}
    settings = RegistryConfig.from_mapping(environment, **explicit)
    root = settings.root
    if "root" not in settings.model_fields_set and environment.get(RUNS_DIR_VARIABLE):
        root = Path(environment[RUNS_DIR_VARIABLE]) / "registry"
    return settings.model_copy(update={"root": root.resolve()})
