"""Settings of a replica's part in rollouts."""

from pathlib import Path
from typing import Final

from pydantic import Field

from serve_apps.settings.base import Settings

KILL_VARIABLE: Final = "NOVACRON_KILL"
"""Environment variable whose models start with their kill switch on: `name` or `name:stop`, with
commas between them."""


class RolloutConfig(Settings):
    """Rollouts: where their state is kept, and how often a replica looks."""

    directory: Path | None = None
    """Folder of states, counts and kill switches; by default `rollouts` in the registry's folder.
    Replicas on several nodes, and the command line, need a folder that all of them see."""
    look_s: float = Field(default=0.5, gt=0, le=60)
    """How often a replica looks at the folder and reports: how long a decision or the kill switch
    takes to be followed everywhere."""
    max_comparisons: int = Field(default=16, ge=1, le=1_024)
    """Unheard requests to the other version that may wait at once; more are dropped and counted."""
