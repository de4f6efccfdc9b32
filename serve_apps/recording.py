"""Who keeps each answer after it was made: the prediction log is such a recorder."""

from typing import Final, Protocol

from serve_apps.host import ServedModel
from serve_apps.messages import InferAnswer, InferRequest
from serve_apps.metrics import Timing

CHAMPION: Final = "champion"
"""Role of the version that answers by default; others are `canary` and `shadow`."""


class Recorder(Protocol):
    """Is called on the event loop, so it neither blocks nor raises."""

    def new_id(self) -> str:
        """Return an id for the next answer; no other answer of any process has it."""
        ...

    def record(
        self,
        served: ServedModel,
        request: InferRequest,
        answer: InferAnswer,
        timing: Timing,
        *,
        role: str = CHAMPION,
    ) -> None:
        """Take note of an answer.

        Args:
            served: The version that gave it.
            request: What was asked. Nothing in it is changed after this call, by either side.
            answer: What was answered, with its `prediction_id`.
            timing: Where its time went.
            role: What the version was to this request.
        """
        ...
