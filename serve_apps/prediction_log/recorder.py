"""Hands answers to the prediction log from the event loop, in about a microsecond each."""

import logging
import time
from collections.abc import Callable

from novacron.monitoring.predictions.entry import Entry, weigh
from novacron.monitoring.predictions.writer import PredictionWriter
from serve_apps.host import ServedModel
from serve_apps.messages import InferAnswer, InferRequest
from serve_apps.metrics import Timing
from serve_apps.recording import CHAMPION, Recorder

logger = logging.getLogger(__name__)

ENTITY_PARAMETER = "entity_id"
"""Parameter of a request by which a client of the protocol says what all its rows are about."""
_MAX_ENTITY_CHARS = 256


class LogRecorder(Recorder):
    """Implements `Recorder` over the log of this process.

    Args:
        writer: The log.
        clock_us: Microseconds since 1970.
    """

    def __init__(
        self,
        writer: PredictionWriter,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.writer = writer
        self._clock_us = clock_us

    def new_id(self) -> str:
        """Return the id of the next answer."""
        return self.writer.new_id()

    def record(
        self,
        served: ServedModel,
        request: InferRequest,
        answer: InferAnswer,
        timing: Timing,
        *,
        role: str = CHAMPION,
    ) -> None:
        """Take note of an answer; whatever goes wrong is logged and harms no answer."""
        try:
            inputs, outputs = request.tensors, answer.tensors
            n_rows = len(next(iter(outputs.values())))
            named = request.entities
            if not named and request.parameters:
                named = _entity_of(request) * n_rows
            self.writer.record(
                Entry(
                    answer.prediction_id,
                    n_rows,
                    served.name,
                    served.version,
                    served.model.kind,
                    role,
                    self._clock_us(),
                    inputs,
                    outputs,
                    named,
                    request.steps_s,
                    answer.baseline,
                    (timing.decode_s, timing.queue_s, timing.predict_s, timing.encode_s),
                    weigh(inputs, outputs),
                )
            )
        except Exception:
            logger.exception("an answer of %s could not be logged", served.name)


def _entity_of(request: InferRequest) -> tuple[str, ...]:
    named = request.parameters.get(ENTITY_PARAMETER)
    return (named[:_MAX_ENTITY_CHARS],) if isinstance(named, str) else ()
