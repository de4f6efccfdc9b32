"""Asks an endpoint of the Open Inference Protocol, and measures what the way through it costs."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray

from novacron.errors import NotReadyError
from novacron.models.base import ServableModel

_WARM_UP: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Latency of one size of request, beside the same model called in this process."""

    rows: int
    """Rows of each request."""
    requests: int
    p50_ms: float
    p95_ms: float
    in_process_p50_ms: float

    @property
    def ratio(self) -> float:
        """Median through the endpoint / median in process."""
        return self.p50_ms / self.in_process_p50_ms


def infer(
    client: httpx.Client, model: str, tensors: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """Ask for one inference and return the answer as it came.

    Raises:
        NotReadyError: The endpoint refused or does not answer.
    """
    inputs = [
        {
            "name": name,
            "datatype": "FP64",
            "shape": list(values.shape),
            "data": values.reshape(-1).tolist(),
        }
        for name, values in tensors.items()
    ]
    try:
        answer = client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
    except httpx.HTTPError as cause:
        raise NotReadyError(f"The endpoint does not answer: {cause}") from cause
    if answer.status_code != httpx.codes.OK:
        raise NotReadyError(f"The endpoint answered {answer.status_code}: {answer.text[:300]}")
    found: dict[str, Any] = answer.json()
    return found


def outputs_of(answer: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the output tensors of an answer by name."""
    return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer["outputs"]}


def measure(
    client: httpx.Client,
    name: str,
    model: ServableModel,
    tensors: Mapping[str, NDArray[np.float64]],
    *,
    requests: int,
) -> Latency:
    """Time requests through the endpoint and calls in this process, taking turns.

    Taking turns, both sides see the same load of the machine, so that their ratio says more than
    either figure.
    """
    through: list[float] = []
    direct: list[float] = []
    for number in range(-_WARM_UP, requests):
        endpoint_ms = _timed_ms(lambda: infer(client, name, tensors))
        process_ms = _timed_ms(lambda: model.predict(model.prepare(tensors)))
        if number >= 0:
            through.append(endpoint_ms)
            direct.append(process_ms)
    return Latency(
        rows=len(next(iter(tensors.values()))),
        requests=requests,
        p50_ms=statistics.median(through),
        p95_ms=statistics.quantiles(through, n=20)[-1],
        in_process_p50_ms=statistics.median(direct),
    )


def _timed_ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3
