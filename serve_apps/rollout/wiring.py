"""Puts the parts of rollouts together for one replica."""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from novacron.errors import ConfigError
from novacron.monitoring.rollouts.folder import KILL_MODES, Kill, RolloutFolder
from serve_apps.asking import Asking
from serve_apps.metrics import MetricsLibrary
from serve_apps.prediction_log.recorder import LogRecorder
from serve_apps.recording import Recorder
from serve_apps.request_path import Finished
from serve_apps.rollout.agent import Holder, RolloutAgent
from serve_apps.rollout.conductor import Conductor, Registrar
from serve_apps.rollout.outcomes import LoggedOutcomes
from serve_apps.rollout.routes import RolloutRoutes
from serve_apps.rollout.shadow import ShadowComparison
from serve_apps.rollout.tally import ReplicaTally
from serve_apps.rollout.traffic import Finder, RolloutTraffic
from serve_apps.settings.rollout import KILL_VARIABLE, RolloutConfig

logger = logging.getLogger(__name__)


class RolloutHost(Holder, Finder, Protocol):
    """Both what loads versions and what finds them."""


@dataclass(slots=True)
class Rollouts:
    """What the data plane and the endpoint need of rollouts."""

    folder: RolloutFolder
    traffic: RolloutTraffic
    tally: ReplicaTally
    shadow: ShadowComparison
    agent: RolloutAgent
    host: RolloutHost
    _task: asyncio.Task[None] | None = None

    def routes(self) -> RolloutRoutes:
        """Return the paths by which rollouts are seen and ended over HTTP."""
        return RolloutRoutes(self.folder, self.agent, lambda: self.host.names)

    def observe(self, finished: Finished) -> None:
        """Count a finished request, and compare it if it is its turn."""
        self.tally.observe(finished)
        self.shadow.observe(finished)

    async def start(self, look_s: float) -> None:
        """Look once, so that the first request already goes where it should; then again and again."""
        try:
            await self.agent.look()
        except Exception:
            logger.exception("the first look at the rollouts failed")
        self._task = asyncio.create_task(self.agent.run(look_s))

    async def stop(self) -> None:
        """Report a last time."""
        if self._task is not None:
            self._task.cancel()
        await self.agent.stop()


def build_rollouts(
    config: RolloutConfig,
    registry_root: Path,
    host: RolloutHost,
    asking: Asking,
    registrar: Registrar,
    library: MetricsLibrary | None = None,
    recorder: Recorder | None = None,
) -> Rollouts:
    """Make the parts of one replica.

    Args:
        config: Settings.
        registry_root: Folder of the registry, where the states lie by default.
        host: The models.
        asking: How a version is asked, for comparisons.
        registrar: The registry, for aliases.
        library: Where metrics go.
        recorder: Keeps what is answered unheard.
    """
    folder = RolloutFolder(folder_of(config, registry_root))
    traffic, tally = RolloutTraffic(host), ReplicaTally()
    agent = RolloutAgent(
        host,
        folder,
        traffic,
        tally,
        Conductor(folder, registrar, outcomes=_outcomes_of(recorder)),
        replica=replica_name(),
        kills=kills_of(os.environ.get(KILL_VARIABLE, "")),
        library=library,
    )
    shadow = ShadowComparison(
        host, asking, tally, max_pending=config.max_comparisons, recorder=recorder
    )
    return Rollouts(
        folder=folder, traffic=traffic, tally=tally, shadow=shadow, agent=agent, host=host
    )


def _outcomes_of(recorder: Recorder | None) -> LoggedOutcomes | None:
    """Return the outcomes that the prediction log is told, where there is such a log."""
    return LoggedOutcomes(recorder.writer.directory) if isinstance(recorder, LogRecorder) else None


def build_follower(config: RolloutConfig, registry_root: Path, host: Holder) -> RolloutAgent:
    """Make what follows rollouts where no requests arrive: it loads and releases versions only."""
    folder = RolloutFolder(folder_of(config, registry_root))
    return RolloutAgent(host, folder, None, None, None, replica=replica_name())


def folder_of(config: RolloutConfig, registry_root: Path) -> Path:
    """Return the folder of the states."""
    return config.directory or registry_root / "rollouts"


def replica_name() -> str:
    """Return a name that no replica had before: counts of one that was killed stay as they are."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def kills_of(given: str) -> Mapping[str, Kill]:
    """Read the kill switches of the environment.

    Raises:
        ConfigError: One is neither `name` nor `name:stable` nor `name:stop`.
    """
    found: dict[str, Kill] = {}
    for part in filter(None, (one.strip() for one in given.split(","))):
        name, _, mode = part.partition(":")
        mode = mode or "stable"
        if mode not in KILL_MODES:
            raise ConfigError(
                field=KILL_VARIABLE, got=part, expected="name, name:stable or name:stop"
            )
        stop = mode == "stop"
        found[name] = Kill(
            mode="stop" if stop else "stable", who="environment", why=KILL_VARIABLE, at_s=0.0
        )
    return found
