"""`/api/v1/actuals`: what came true, by the id of the prediction; and the state of the log."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from novacron.errors import NotFoundError, NovacronError, PayloadTooLargeError, SchemaError
from novacron.monitoring.metric_names import (
    ACTUALS,
    PREDICTION_LOG_HEALTHY,
    PREDICTIONS_LOGGED,
)
from novacron.monitoring.predictions.actuals import (
    Actual,
    ActualsLog,
    read_actual,
    unknown_prediction,
)
from novacron.monitoring.predictions.writer import PredictionWriter
from serve_apps.domain.extension import Operation
from serve_apps.messages import unexpected
from serve_apps.metrics import MetricsLibrary
from serve_apps.oip import parse_json
from serve_apps.settings.predictions import PredictionsConfig

PATH: Final = "/api/v1/actuals"
STATUS_PATH: Final = "/api/v1/predictions/status"
_STATES: Final = {
    "recorded": "rows_recorded",
    "written": "rows_written",
    "waiting": "rows_waiting",
    "refused": "rows_refused",
    "failed": "rows_failed",
    "lost": "rows_lost_by_dead_processes",
}


class ActualsRoutes:
    """Implements `Extension` over the log.

    Args:
        writer: The log of this process.
        config: Sizes.
        library: Where metrics go.
    """

    def __init__(
        self, writer: PredictionWriter, config: PredictionsConfig, library: MetricsLibrary
    ) -> None:
        self._writer = writer
        self._config = config
        self._actuals = ActualsLog(writer.directory, waiting=writer.waiting)
        self._counted = ACTUALS.create(library)
        self._rows = PREDICTIONS_LOGGED.create(library)
        self._healthy = PREDICTION_LOG_HEALTHY.create(library)

    @property
    def operations(self) -> dict[str, Operation]:
        """What is offered, by path."""
        one: dict[str, Any] = {
            "type": "object",
            "required": ["prediction_id", "value"],
            "additionalProperties": False,
            "properties": {
                "prediction_id": {
                    "type": "string",
                    "description": "of the record; of one row of a tensor answer with `.N` behind "
                    "its id, N from 0",
                },
                "value": {
                    "type": ["number", "boolean", "array"],
                    "description": "what was observed, in the unit of the prediction; a list for "
                    "its steps, with null where nothing was measured",
                },
                "observed_at": {"type": "string", "format": "date-time"},
            },
        }
        many: dict[str, Any] = {
            "type": "object",
            "required": ["actuals"],
            "properties": {"actuals": {"type": "array", "minItems": 1, "items": one}},
        }
        answer: dict[str, Any] = {
            "type": "object",
            "required": ["kept", "refused", "errors"],
            "properties": {
                "kept": {"type": "integer"},
                "refused": {"type": "integer"},
                "errors": {
                    "type": "array",
                    "items": {"type": "object"},
                    "description": "an error with `row` for each outcome that was refused",
                },
            },
        }
        return {
            PATH: Operation(
                method="POST",
                summary="Tell what came true, so that predictions are judged by it",
                note="An outcome whose prediction is unknown is refused by itself.",
                body={"anyOf": [one, many]},
                answer=answer,
            ),
            STATUS_PATH: Operation(
                method="GET", summary="State of the prediction log: rows written, waiting, lost"
            ),
        }

    def health(self) -> dict[str, str]:
        """Tell whether blocks can be written."""
        return {"prediction_log": "ok" if self._writer.is_healthy else "failing"}

    def read(self, path: str) -> dict[str, Any]:  # noqa: ARG002  there is one
        """Return the state of the log of this process, and what dead ones lost."""
        return self._writer.status()

    async def ask(self, path: str, body: bytes, new_id: Callable[[], str]) -> dict[str, Any]:  # noqa: ARG002
        """Keep outcomes.

        Raises:
            SchemaError: The body is no such document.
            PayloadTooLargeError: More outcomes than the limit.
            NovacronError: No outcome could be kept: the refusal of the first.
        """
        documents = self._documents(parse_json(body))
        kept, errors = await asyncio.to_thread(self._keep, documents)
        if kept:
            self._counted.inc(kept, tags={"outcome": "kept"})
        unknown = sum(isinstance(error, NotFoundError) for error in errors.values())
        if unknown:
            self._counted.inc(unknown, tags={"outcome": "unknown"})
        if not kept:
            raise next(iter(errors.values()))
        told = [{"row": place} | error.to_dict() for place, error in errors.items()]
        return {"kept": kept, "refused": len(errors), "errors": told}

    def show(self) -> None:
        """Bring the metrics up to date."""
        status = self._writer.status()
        for state, name in _STATES.items():
            self._rows.set(status[name], tags={"state": state})
        self._healthy.set(float(status["healthy"]))

    def _documents(self, document: Any) -> list[Any]:
        if not isinstance(document, Mapping):
            raise unexpected("body", document, "a JSON object")
        if "actuals" not in document:
            return [document]
        if len(document) > 1:
            raise SchemaError(
                field="body", got=", ".join(document)[:100], expected="`actuals` alone"
            )
        given = document["actuals"]
        if not isinstance(given, list) or not given:
            raise unexpected("actuals", given, "a list with at least one outcome")
        if len(given) > self._config.max_actuals:
            raise PayloadTooLargeError(
                field="actuals",
                got=f"{len(given)} outcomes",
                expected=f"at most {self._config.max_actuals} outcomes",
                remedy="Send them in several requests.",
            )
        return given

    def _keep(self, documents: list[Any]) -> tuple[int, dict[int, NovacronError]]:
        good: list[Actual] = []
        errors: dict[int, NovacronError] = {}
        read: dict[int, Actual] = {}
        for place, document in enumerate(documents):
            try:
                read[place] = read_actual(document)
            except NovacronError as error:
                errors[place] = error
        known = self._actuals.find(tuple(read.values()))
        for place, actual in read.items():
            if actual.prediction_id in known:
                good.append(actual)
            else:
                errors[place] = unknown_prediction(actual.prediction_id)
        if good:
            self._actuals.append(good)
        return len(good), dict(sorted(errors.items()))
