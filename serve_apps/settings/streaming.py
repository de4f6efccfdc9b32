"""Settings of live samples at the endpoint."""

from pathlib import Path

from pydantic import Field

from novacron.telemetry.live.config import StoreConfig
from serve_apps.settings.base import Settings


class StreamingConfig(Settings):
    """Whether samples are taken, where they lie, and how much of them."""

    is_enabled: bool = True
    directory: Path | None = None
    """Where the log of samples lies; by default `samples` in the registry's folder. Replicas on
    several nodes need a folder that all of them see and that keeps locks."""
    store: StoreConfig = StoreConfig()
    max_batch_rows: int = Field(default=20_000, ge=1)
    """Samples of one request; more get 413."""
    max_waiting_rows: int = Field(default=200_000, ge=1)
    """Samples that may wait while others are written; beyond it a request gets 429."""
    max_history_age_s: float = Field(default=3_600.0, gt=0)
    """A prediction by name alone is refused where the newest sample is older."""
