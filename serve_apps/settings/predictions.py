"""Settings of the prediction log at the endpoint."""

from pathlib import Path

from pydantic import Field

from novacron.monitoring.predictions.config import PredictionLogConfig
from serve_apps.settings.base import Settings


class PredictionsConfig(Settings):
    """Whether answers are logged, where, and how much of them."""

    is_enabled: bool = True
    directory: Path | None = None
    """Where the log lies; by default `predictions` in the registry's folder. Replicas on several
    nodes need a folder that all of them see, so that outcomes find their predictions."""
    log: PredictionLogConfig = PredictionLogConfig()
    max_actuals: int = Field(default=5_000, ge=1)
    """Outcomes of one request; more get 413."""
