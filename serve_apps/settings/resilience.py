"""Settings of breaker, stand-ins and answer cache: `args.resilience` in the YAML file."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from serve_apps.settings.base import Settings


def _split_list(value: object) -> object:
    """Take `a,b` from a command line as a list."""
    return tuple(part for part in value.split(",") if part) if isinstance(value, str) else value


class BreakerConfig(Settings):
    """When a version that fails is left alone, and for how long."""

    failures: int = Field(default=5, ge=1)
    """Failures in a row that open the circuit: what the model raised, an answer that is no number,
    and calls that took longer than `timeout_s`. A caller's own mistake never counts."""
    open_s: float = Field(default=60.0, gt=0)
    """Seconds without a call; then one request is let through as a probe."""
    timeout_s: float = Field(default=10.0, gt=0)
    """A model call that runs longer has failed, and those that wait for it are told so. Set it
    above the time of one full batch."""


class CacheConfig(Settings):
    """Answers that are kept and given again to the very same question of the same version."""

    max_bytes: int = Field(default=0, ge=0)
    """Bytes of all answers kept in a replica; the least recently used go first. 0: none is."""
    ttl_s: float = Field(default=60.0, gt=0)
    """Seconds an answer may be given again."""
    models: Annotated[tuple[str, ...], BeforeValidator(_split_list)] = ()
    """Names of models whose answers depend on nothing but the request although they do not declare
    it, as those logged to MLflow cannot. One that declares otherwise is not kept all the same."""


class ResilienceConfig(Settings):
    """What happens when a version does not answer."""

    breaker: BreakerConfig = BreakerConfig()
    slow_breaker: BreakerConfig = BreakerConfig(timeout_s=120.0)
    """The same for the models of the slow deployment."""
    stand_ins: bool = True
    """Whether the named baseline of a model's family answers where the version cannot; the answer
    says so. Without it, or without such a baseline, the caller gets the error or a 503."""
    cache: CacheConfig = CacheConfig()
