"""The detector on disk: one JSON file, checked when it is read.

Forests are not in it: they are grown from the history of the very series they judge.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from novacron.errors import ArtifactError, ConfigError, FeatureMismatchError
from novacron.models.anomaly.budget import AlertBudget, AlertCurve
from novacron.models.anomaly.config import AnomalyConfig
from novacron.models.anomaly.reference import MetricReference
from novacron.models.anomaly.signals import features_hash
from novacron.models.anomaly.stream import Provenance

KIND: Final = "anomaly"
MANIFEST: Final = "bundle.json"
FORMAT: Final = 3
_REMEDY: Final = "Fit and save the detector again."


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedDetector:
    """What a bundle holds."""

    config: AnomalyConfig
    curve: AlertCurve
    budget: dict[str, float]
    references: dict[str, MetricReference]
    provenance: Provenance


def write_bundle(
    directory: Path,
    config: AnomalyConfig,
    budget: AlertBudget,
    references: Mapping[str, MetricReference],
    provenance: Provenance,
) -> None:
    """Write the bundle."""
    content: dict[str, Any] = {
        "kind": KIND,
        "format": FORMAT,
        "features_hash": features_hash(),
        "config": config.model_dump(mode="json"),
        "curve": asdict(budget.curve),
        "budget": budget.state(),
        "references": {name: one.content() for name, one in references.items()},
        "provenance": asdict(provenance),
    }
    content["sha256"] = _digest(content)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_bundle(directory: Path) -> SavedDetector:
    """Read a bundle and check it.

    Raises:
        ArtifactError: It is missing, changed or unreadable.
        FeatureMismatchError: It was fitted on other features than this code computes.
    """
    try:
        content = json.loads((directory / MANIFEST).read_text())
        if content["kind"] != KIND or content["format"] != FORMAT:
            raise ArtifactError("This is no anomaly bundle of this format.", remedy=_REMEDY)
        if content["sha256"] != _digest(content):
            raise ArtifactError(f"{MANIFEST} was changed.", remedy=_REMEDY)
        curve = content["curve"]
        saved = SavedDetector(
            config=AnomalyConfig.model_validate(content["config"]),
            curve=AlertCurve(
                thresholds=tuple(curve["thresholds"]),
                episodes_per_series_day=tuple(curve["episodes_per_series_day"]),
                source=curve["source"],
                step_s=float(curve["step_s"]),
            ),
            budget=dict(content["budget"]),
            references={
                name: MetricReference.from_content(one)
                for name, one in content["references"].items()
            },
            provenance=Provenance(**content["provenance"]),
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError, ConfigError) as cause:
        raise ArtifactError(
            f"The bundle in {directory.name} is missing or unreadable: {cause}.", remedy=_REMEDY
        ) from cause
    if content["features_hash"] != features_hash():
        raise FeatureMismatchError(
            "The detector was fitted on other features than this code computes.", remedy=_REMEDY
        )
    return saved


def _digest(content: dict[str, Any]) -> str:
    signed = {name: part for name, part in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(signed, sort_keys=True).encode()).hexdigest()
