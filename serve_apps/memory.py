"""What a replica remembers: the samples it was sent, the answers it gave, what came true."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from novacron.errors import ConfigError, NotReadyError
from novacron.monitoring.predictions.writer import PredictionWriter
from novacron.telemetry.live.store import SampleStore
from serve_apps.config import AppConfig
from serve_apps.domain.extension import Extension, Operation
from serve_apps.metrics import MetricsLibrary
from serve_apps.prediction_log.recorder import LogRecorder
from serve_apps.prediction_log.routes import ActualsRoutes
from serve_apps.settings.predictions import PredictionsConfig
from serve_apps.settings.streaming import StreamingConfig
from serve_apps.streaming.histories import LiveHistories
from serve_apps.streaming.intake import SampleIntake
from serve_apps.streaming.metrics import StreamingMetrics
from serve_apps.streaming.routes import PATH, SampleRoutes

logger = logging.getLogger(__name__)

TICK_S: Final = 1.0


class Memory:
    """Opens what the settings ask for; a part that is off is None.

    Args:
        streaming: Settings of live samples.
        predictions: Settings of the prediction log.
        root: The folder below which their own are, where the settings name none.
        library: Where metrics go.
    """

    def __init__(
        self,
        streaming: StreamingConfig,
        predictions: PredictionsConfig,
        root: Path,
        library: MetricsLibrary,
    ) -> None:
        self.extensions: list[Extension] = []
        self.intake: SampleIntake | None = None
        self.histories: LiveHistories | None = None
        self.recorder: LogRecorder | None = None
        self.actuals: ActualsRoutes | None = None
        self._ticker: asyncio.Task[None] | None = None
        if predictions.is_enabled:
            writer = PredictionWriter(
                predictions.directory or root / "predictions", predictions.log
            )
            self.recorder = LogRecorder(writer)
            self.actuals = ActualsRoutes(writer, predictions, library)
            self.extensions.append(self.actuals)
        if streaming.is_enabled:
            self._open_samples(streaming, streaming.directory or root / "samples", library)

    def start(self) -> None:
        """Begin to flush and to show metrics, on the running loop."""
        self._ticker = asyncio.create_task(self._tick())

    async def close(self) -> None:
        """Write what waits; call it when no request is answered any more."""
        if self._ticker is not None:
            self._ticker.cancel()
        if self.intake is not None:
            await self.intake.close()
        if self.recorder is not None:
            await asyncio.to_thread(self.recorder.writer.close)

    def _open_samples(
        self, config: StreamingConfig, directory: Path, library: MetricsLibrary
    ) -> None:
        try:
            store = SampleStore(directory, config.store)
        except ConfigError as error:
            # Whoever brings a history is answered all the same.
            logger.error("no samples are taken: %s", error)
            self.extensions.append(_Unavailable(error))
            return
        self.intake = SampleIntake(store, config, StreamingMetrics(library))
        self.histories = LiveHistories(store, config.max_history_age_s)
        self.extensions.append(SampleRoutes(self.intake))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                if self.intake is not None:
                    await self.intake.tick()
                if self.actuals is not None:
                    await asyncio.to_thread(self.actuals.show)
            except Exception:
                logger.exception("a flush of samples or metrics failed")


async def open_memory(config: AppConfig, library: MetricsLibrary) -> Memory:
    """Open samples and prediction log of an endpoint, and keep them flushed."""
    memory = await asyncio.to_thread(
        Memory, config.streaming, config.predictions, config.registry.root, library
    )
    memory.start()
    return memory


class _Unavailable:
    """Refuses samples while their folder cannot be written."""

    def __init__(self, error: ConfigError) -> None:
        self._error = error

    @property
    def operations(self) -> dict[str, Operation]:
        return {PATH: Operation(method="POST", summary="Send samples of links or nodes")}

    def health(self) -> dict[str, str]:
        return {"samples": "failing"}

    def read(self, path: str) -> dict[str, Any]:
        raise self._refusal(path)

    async def ask(self, path: str, body: bytes, new_id: Callable[[], str]) -> dict[str, Any]:  # noqa: ARG002
        raise self._refusal(path)

    def _refusal(self, path: str) -> NotReadyError:
        return NotReadyError(
            f"{path} takes no samples: {self._error.message}", remedy=self._error.remedy
        )
