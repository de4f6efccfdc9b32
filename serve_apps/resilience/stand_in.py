"""Finds who answers for a version that cannot: the named baseline of its family."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from novacron.models.base import ServableModel
from novacron.models.stand_ins import load_stand_in
from novacron.models.tensor_checks import CheckedTensors

INLINE_ROWS: Final = 16
"""Rows that are answered on the event loop; more go to a thread."""


class StandIn(Protocol):
    """The baseline of one version."""

    @property
    def name(self) -> str:
        """What the answers call it."""
        ...

    async def answer(self, tensors: CheckedTensors) -> dict[str, NDArray[np.generic]]:
        """Answer checked tensors with every output of the model."""
        ...


@runtime_checkable
class BringsStandIn(Protocol):
    """A model that runs elsewhere and reaches its baseline there."""

    stand_in: StandIn | None


@dataclass(frozen=True, slots=True)
class _Local:
    """A baseline of this process."""

    name: str
    model: Any
    module: Any

    async def answer(self, tensors: CheckedTensors) -> dict[str, NDArray[np.generic]]:
        if tensors.n_rows <= INLINE_ROWS:
            return dict(self.module.answer(self.model, tensors))
        return dict(await asyncio.to_thread(self.module.answer, self.model, tensors))


def find_stand_in(model: ServableModel) -> StandIn | None:
    """Return the baseline of a model's family, or None where there is no honest one."""
    if isinstance(model, BringsStandIn):
        return model.stand_in
    module = load_stand_in(model.kind)
    return None if module is None else _Local(module.NAME, model, module)
