"""The smallest real servable model: multiplies by a stored factor. Used by the registry's tests."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from novacron.errors import SchemaError
from novacron.models.base import TensorSpec
from novacron.registry.card import CardMetric, ModelCard

FEATURES = "f" * 16
CREATED_AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@dataclass
class DoublingModel:
    """Answers `value_mbps` = factor * `bandwidth_mbps`."""

    factor: float = 2.0
    features_hash: str = FEATURES
    kind: str = "doubling"
    inputs = (
        TensorSpec(name="bandwidth_mbps", datatype="FP64", shape=(-1, -1), unit="Mbit/s", doc="x"),
        TensorSpec(
            name="path_class", datatype="BYTES", shape=(-1,), unit="name", doc="c", required=False
        ),
    )
    outputs = (
        TensorSpec(name="value_mbps", datatype="FP64", shape=(-1, -1), unit="Mbit/s", doc="y"),
        TensorSpec(name="fallback", datatype="BYTES", shape=(-1,), unit="name", doc="f"),
    )

    def prepare(self, tensors):
        if "bandwidth_mbps" not in tensors:
            raise SchemaError(field="bandwidth_mbps", got="nothing", expected="a tensor")
        return {"bandwidth_mbps": np.asarray(tensors["bandwidth_mbps"], dtype=np.float64)}

    def predict(self, rows):
        value = rows["bandwidth_mbps"] * self.factor
        return {"value_mbps": value, "fallback": np.array([""] * len(value), dtype=object)}

    def save(self, directory: Path):
        (directory / "weights").mkdir(parents=True)
        manifest = {"kind": self.kind, "features_hash": self.features_hash}
        (directory / "bundle.json").write_text(json.dumps(manifest))
        (directory / "weights" / "factor.json").write_text(json.dumps(self.factor))


def load(directory: Path) -> DoublingModel:
    manifest = json.loads((directory / "bundle.json").read_text())
    factor = json.loads((directory / "weights" / "factor.json").read_text())
    return DoublingModel(factor=factor, features_hash=manifest["features_hash"])


def write_bundle(directory: Path, **settings) -> Path:
    DoublingModel(**settings).save(directory)
    return directory


def metric(name="wape_ratio_to_ewma", set_name="oboe", value=0.8, **changes):
    fields = {
        "name": name,
        "set": set_name,
        "value": value,
        "lo": value - 0.05,
        "hi": value + 0.05,
        "n": 100,
        "baseline": "EWMA",
    }
    return CardMetric(**fields | changes)


def card(**changes) -> ModelCard:
    fields = {
        "name": "bandwidth",
        "kind": "doubling",
        "created_at": CREATED_AT,
        "data_sha256": "d" * 64,
        "data_source": "generator seed 7",
        "code_version": "c" * 40,
        "config": {"hidden": 32, "horizon": [1, 2]},
        "seeds": (1, 2),
        "metrics": (metric(),),
        "features_hash": FEATURES,
        "versions": {"python": "3.11"},
        "intended_use": "Forecasts the next five samples of a link.",
        "limits": ("Not for other paths.",),
    }
    return ModelCard(**fields | changes)
