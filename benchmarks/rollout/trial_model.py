"""A model whose answers, errors and delays are known beforehand, to count what callers see of them.

Registered, loaded, checked and served as any other kind; replicas of the benchmark's own cluster learn
of the kind when Python starts in them.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import NovacronError
from novacron.models.base import Tensors, TensorSpec
from novacron.registry.card import CardMetric, ModelCard

KIND: Final = "trial"
NAME: Final = "trial"
FEATURES: Final = "c0ffee00c0ffee00"
FIRST_ID: Final = 1_000_000
"""Requests of the benchmark carry ids from here on; nothing else, such as a probe, ever fails."""
BASELINE: Final = "plain_mean"


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a version does."""

    factor: float = 2.0
    """It answers so many times the value asked about."""
    delay_s: float = 0.002
    """Of every model call, whatever its rows."""
    failing_ratio: float = 0.0
    """Share of the requests, by their id, at which the model breaks."""
    ballast_mib: float = 0.0
    """Memory that it holds."""
    stands_in: bool = False
    """Whether a named baseline, which answers the value itself, stands in where it breaks."""


class _Baseline:
    name = BASELINE

    async def answer(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        value = tensors["x"][:, 1]
        return {"y": value, "fallback": np.full(len(value), BASELINE, dtype=object)}


@dataclass
class TrialModel:
    """Rows are [id, value]; the answer is the value times the version's factor."""

    behaviour: Behaviour
    kind: str = KIND
    features_hash: str = FEATURES
    stand_in: _Baseline | None = None
    ballast: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, dtype=np.uint8))
    inputs = (TensorSpec(name="x", datatype="FP64", shape=(-1, 2), unit="", doc="id and value"),)
    outputs = (
        TensorSpec(name="y", datatype="FP64", shape=(-1,), unit="", doc="factor times the value"),
        TensorSpec(name="fallback", datatype="BYTES", shape=(-1,), unit="name", doc="baseline"),
    )

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Take the rows as they are."""
        return {"x": np.asarray(tensors["x"], dtype=np.float64)}

    def predict(self, rows: Tensors) -> dict[str, NDArray[Any]]:
        """Answer, late or not at all where the behaviour says so."""
        time.sleep(self.behaviour.delay_s)
        x = np.asarray(rows["x"], dtype=np.float64)
        ids = x[:, 0]
        fails = (ids >= FIRST_ID) & (ids % 1_000 < 1_000 * self.behaviour.failing_ratio)
        if fails.any():
            raise NovacronError("The trial model breaks at this request.")
        value = x[:, 1] * self.behaviour.factor
        return {"y": value, "fallback": np.full(len(value), "", dtype=object)}

    def save(self, directory: Path) -> None:
        """Write the behaviour."""
        directory.mkdir(parents=True, exist_ok=True)
        manifest = {"kind": KIND, "features_hash": FEATURES}
        (directory / "bundle.json").write_text(json.dumps(manifest))
        (directory / "behaviour.json").write_text(json.dumps(asdict(self.behaviour)))


def load(directory: Path) -> TrialModel:
    """Read it back."""
    behaviour = Behaviour(**json.loads((directory / "behaviour.json").read_text()))
    return TrialModel(
        behaviour=behaviour,
        stand_in=_Baseline() if behaviour.stands_in else None,
        ballast=np.ones(int(behaviour.ballast_mib * 2**20), dtype=np.uint8),
    )


def card() -> ModelCard:
    """Return a card that says what it is."""
    return ModelCard(
        name=NAME,
        kind=KIND,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        data_sha256="generated:0",
        data_source="none: its behaviour is written down",
        code_version="0" * 40,
        config={},
        seeds=(0,),
        metrics=(CardMetric(name="error", set="none", value=0.0, n=1, baseline="none"),),
        features_hash=FEATURES,
        versions={"numpy": np.__version__},
        intended_use="Benchmarks of rollouts.",
        limits=("It models nothing.",),
    )
