"""`/api/v1/samples`: where clients send raw samples, and what is held of them."""

from collections.abc import Callable
from typing import Any, Final

from serve_apps.domain.extension import Operation
from serve_apps.oip import parse_json
from serve_apps.streaming.intake import SampleIntake, table_fields

PATH: Final = "/api/v1/samples"
STATUS_PATH: Final = "/api/v1/samples/status"


class SampleRoutes:
    """Implements `Extension` over an intake.

    Args:
        intake: The queue in front of the store.
    """

    def __init__(self, intake: SampleIntake) -> None:
        self._intake = intake

    @property
    def operations(self) -> dict[str, Operation]:
        """What is offered, by path."""
        tables = table_fields()
        taken = list(self._intake.store.config.metrics)
        body: dict[str, Any] = {
            "type": "object",
            "required": ["table", "samples"],
            "additionalProperties": False,
            "properties": {
                "table": {"enum": taken, "description": "which telemetry table"},
                "samples": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"anyOf": [tables[table] for table in taken]},
                    "description": "samples in order of arrival; `ts` in ISO 8601 with offset",
                },
            },
        }
        counts = ("received", "accepted", "rejected", "rejections_not_told")
        answer: dict[str, Any] = {
            "type": "object",
            "required": ["table", *counts, "reasons", "rejections"],
            "properties": {
                "table": {"type": "string"},
                **{name: {"type": "integer"} for name in counts},
                "reasons": {"type": "object", "description": "reason to rows"},
                "rejections": {
                    "type": "array",
                    "items": {"type": "object"},
                    "description": "row (from 0), reason, column, got, expected, hint",
                },
            },
        }
        return {
            PATH: Operation(
                method="POST",
                summary="Send samples of links or nodes; predictions by name alone follow them",
                note="Bad samples come back with their reason, the good ones are kept. Only where "
                "every sample is bad, and none a repeat, is the request refused.",
                body=body,
                answer=answer,
            ),
            STATUS_PATH: Operation(
                method="GET", summary="What is held of live samples, and what was lost"
            ),
        }

    def health(self) -> dict[str, str]:
        """Tell whether the last batch could be written."""
        return {"samples": "ok" if self._intake.is_healthy else "failing"}

    def read(self, path: str) -> dict[str, Any]:  # noqa: ARG002  there is one
        """Return what is held."""
        return self._intake.store.status()

    async def ask(self, path: str, body: bytes, new_id: Callable[[], str]) -> dict[str, Any]:  # noqa: ARG002
        """Take samples; raises as `SampleIntake.take`."""
        return await self._intake.take(parse_json(body))
