"""Asks one version of one model: what stands between the choice of a version and its answer.

The data plane chooses a version, asks it here, and writes the answer down; `PlainAsking` is the
shortest way to an answer, `serve_apps.resilience` puts cache, breaker and fallbacks around it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from novacron.errors import NovacronError, PayloadTooLargeError, SchemaError
from novacron.models.base import Tensors
from novacron.models.tensor_checks import CheckedTensors
from serve_apps.config import LimitsConfig
from serve_apps.host import ServedModel
from serve_apps.messages import Codec, InferRequest

CacheState = Literal["", "hit", "miss", "joined"]
"""What the answer cache did; empty where it was not asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One version's answer: the outputs asked for, and how they came to be."""

    tensors: Mapping[str, NDArray[np.generic]]
    """The outputs that the request names, in its order; finite where they are numbers."""
    n_rows: int
    prepared_s: float
    """When checks and preparation ended, by the asking's clock."""
    queue_s: float = 0.0
    predict_s: float = 0.0
    fallbacks: Mapping[str, int] | None = None
    """Rows answered by a named fallback of the model itself, by its name."""
    cache: CacheState = ""
    baseline: str = ""
    """The named baseline that answered because the version could not; empty: the version did."""
    failure: NovacronError | None = None
    """Why the version could not answer, where a baseline did."""


class Asking(Protocol):
    """How the data plane asks a version."""

    async def ask(
        self,
        served: ServedModel,
        request: InferRequest,
        deadline_s: float,
        *,
        cached: bool = True,
        fallback: bool = True,
    ) -> Asked:
        """Answer a decoded request by one version.

        Args:
            served: The version chosen.
            request: Decoded, not checked.
            deadline_s: By the clock of the data plane; nobody reads an answer after it.
            cached: Whether a kept answer will do; off for a shadow, which wants the model's own.
            fallback: Whether a baseline may answer for a version that cannot.

        Raises:
            InvalidInputError: The request is not usable, or too large.
            OverloadedError: The queue is full, or too long for the caller's deadline.
            DeadlineExceededError: The deadline passed.
            NotReadyError: The version is shutting down, or its circuit is open.
            NovacronError: The model failed for this request.
            Exception: Whatever the model raised.
        """
        ...

    def read(self, served: ServedModel, codec: Codec, body: bytes) -> InferRequest:
        """Read a body that was sent to a version.

        Raises:
            InvalidInputError: It is no request.
        """
        ...

    def describe(self, served: ServedModel) -> dict[str, Any]:
        """Return what metadata says of a version's state, by parameter name."""
        ...

    def answers(self, served: ServedModel) -> bool:
        """Tell whether a request to this version would be answered at all, if usable."""
        ...


class PlainAsking:
    """Check, prepare, batch, select; no cache, no breaker.

    Args:
        limits: Sizes above which a request is refused.
        clock: Seconds, that of the data plane.
    """

    def __init__(self, limits: LimitsConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock

    async def ask(
        self,
        served: ServedModel,
        request: InferRequest,
        deadline_s: float,
        *,
        cached: bool = True,  # noqa: ARG002  nothing is kept here
        fallback: bool = True,  # noqa: ARG002  nobody stands in
    ) -> Asked:
        """See `Asking.ask`."""
        tensors = check_request(served, request, self._limits)
        rows = served.model.prepare(tensors)
        return await ask_model(served, request, rows, tensors.n_rows, (self._clock(), deadline_s))

    def read(self, served: ServedModel, codec: Codec, body: bytes) -> InferRequest:  # noqa: ARG002
        """See `Asking.read`; nothing is remembered."""
        return codec.decode(body)

    def describe(self, served: ServedModel) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing: there is no state."""
        return {}

    def answers(self, served: ServedModel) -> bool:  # noqa: ARG002
        """Return True: every request reaches the model."""
        return True


async def ask_model(
    served: ServedModel,
    request: InferRequest,
    rows: Tensors,
    n_rows: int,
    times_s: tuple[float, float],
) -> Asked:
    """Hand prepared rows to the version's batcher and pick the outputs asked for.

    Args:
        served: The version.
        request: For its outputs.
        rows: As the model's `prepare` made them.
        n_rows: Their number.
        times_s: When they were prepared, and the deadline.
    """
    prepared_s, deadline_s = times_s
    batched = await served.batcher.submit(rows, n_rows, deadline_s)
    return Asked(
        tensors=select(served, request, batched.tensors),
        n_rows=n_rows,
        prepared_s=prepared_s,
        queue_s=batched.queue_s,
        predict_s=batched.predict_s,
        fallbacks=count_fallbacks(batched.tensors),
    )


def check_request(
    served: ServedModel, request: InferRequest, limits: LimitsConfig
) -> CheckedTensors:
    """Check a request against the version's tensors and the limits.

    Raises:
        SchemaError: An output or input is unknown, missing or of another datatype or shape.
        OutOfRangeError: An element is outside its range.
        PayloadTooLargeError: More rows than the limit.
    """
    if request.outputs:
        known = [spec.name for spec in served.model.outputs]
        for output in request.outputs:
            if output not in known:
                raise SchemaError(
                    field="outputs", got=output[:100], expected="one of " + ", ".join(known)
                )
    # `prepare` sees that they are checked.
    tensors = CheckedTensors(request.tensors, served.model.inputs)
    if tensors.n_rows > limits.max_request_rows:
        raise PayloadTooLargeError(
            field="shape",
            got=f"{tensors.n_rows} rows",
            expected=f"at most {limits.max_request_rows} rows",
            remedy="Send them in several requests.",
        )
    return tensors


def select(
    served: ServedModel, request: InferRequest, answered: Tensors
) -> dict[str, NDArray[np.generic]]:
    """Pick the outputs asked for, and hold back an answer that is no number.

    Raises:
        NovacronError: A value is not finite.
    """
    names = request.outputs or tuple(spec.name for spec in served.model.outputs)
    tensors = {name: answered[name] for name in names}
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NovacronError(
                f"Model {served.name!r} version {served.version} answered {name!r} with a value "
                "that is not finite.",
                remedy="Report the request to the model's owner; other requests are not affected.",
            )
    return tensors


def count_fallbacks(tensors: Tensors) -> dict[str, int]:
    """Count the rows answered by a named fallback; models say so in an output `fallback`."""
    named = tensors.get("fallback")
    if named is None:
        return {}
    found: dict[str, int] = {}
    for name in named.ravel().tolist():
        if name:
            found[str(name)] = found.get(str(name), 0) + 1
    return found
