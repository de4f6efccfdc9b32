"""The optimizer as it is served: telemetry in, settings out, one learned part for each target.

Legend: N rows, K frames, C channels, O numbers of an observation, D knobs.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import numpy as np
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, UnknownNameError
from novacron.models.base import Dependence, Tensors
from novacron.models.policy.config import Constraints, GuardConfig
from novacron.models.policy.decide import Settled, settle
from novacron.models.policy.frames import frames_of, shipped_numbers
from novacron.models.policy.part import TargetPart, policy_fingerprint
from novacron.models.tensor_checks import check_tensors
from novacron.models.tensor_specs import flag, number, text
from novacron.params.observations import OBSERVATIONS, observation_spec
from novacron.telemetry.digest import file_sha256

MANIFEST: Final = "bundle.json"
FORMAT: Final = 1
TARGETS: Final = tuple(OBSERVATIONS)
MAX_CHANNELS: Final = max(len(spec.channels) for spec in OBSERVATIONS.values())
MAX_KNOBS: Final = max(len(spec.group) for spec in OBSERVATIONS.values())
_MAX_OBSERVATION: Final = max(spec.size for spec in OBSERVATIONS.values())

INPUTS: Final = (
    text("target", "group of knobs: " + ", ".join(TARGETS)),
    number(
        "telemetry", "see docs",
        "channels of the target in the order of its observation, frames oldest first, up to 4; "
        "zeros beyond the target's own channels", -1, -1,
    ),
    flag("is_present", "false where a channel was not measured", -1, -1, required=False),
    number(
        "parameters", "see docs",
        "knobs in force, an enum as its place; by default those that ship", -1, required=False,
    ),
    text("mode", "internet (default) or datacenter: which defaults ship", required=False),
)  # fmt: skip

OUTPUTS: Final = (
    number("parameters", "see docs", "advised knobs, an enum as its place", MAX_KNOBS),
    number("default_parameters", "see docs", "shipped knobs", MAX_KNOBS),
    number("improvement_ratio", "0..1", "expected improvement of the objective: 1 - exp(-gain)"),
    number("improvement_lower_ratio", "0..1", "lower end of its 90 % interval"),
    number("improvement_upper_ratio", "0..1", "upper end of its 90 % interval"),
    text("fallback", "why the defaults are advised instead of the policy's setting, or empty"),
    text("reason", "why this is advised"),
    text("evidence", "simulated, or none"),
    text("policy_version", "training run of the policy, or empty"),
)


def combined_fingerprint(fingerprints: Mapping[str, str]) -> str:
    """Return one text for the fingerprints of several targets."""
    return ",".join(f"{target}:{fingerprints[target]}" for target in sorted(fingerprints))


class OptimizerModel:
    """Policies of one or more targets; implements `ServableModel`.

    Args:
        parts: Learned part of each target that has one.
        stale: Targets whose parameter table or observation has changed since training, with the
            fingerprint they were trained on: they answer with the defaults.
        guard: Margins instead of those that each part brings.
    """

    kind: str = "policy"
    depends_on: ClassVar[Dependence] = "request"

    def __init__(
        self,
        parts: Mapping[str, TargetPart],
        *,
        stale: Mapping[str, str] | None = None,
        guard: GuardConfig | None = None,
    ) -> None:
        self.parts = dict(parts)
        self.stale = dict(stale or {})
        self.guard = guard
        trained = {target: part.card.fingerprint for target, part in self.parts.items()}
        self.features_hash = combined_fingerprint(trained | self.stale)
        self.inputs = INPUTS
        self.outputs = OUTPUTS

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Check one request and encode its telemetry; see `ServableModel.prepare`.

        Raises:
            SchemaError: Wrong tensors, too many frames, or too few channels for a target.
            OutOfRangeError: A channel is negative or far outside its range, or an unknown target.
        """
        rows = check_tensors(tensors, self.inputs)
        observation = np.zeros((rows, _MAX_OBSERVATION), dtype=np.float32)
        shipped = np.zeros((rows, MAX_KNOBS))
        target_N = np.zeros(rows, dtype=np.int64)
        incomplete_N = np.zeros(rows, dtype=bool)
        for row in range(rows):
            name = str(tensors["target"][row])
            if name not in TARGETS:
                raise OutOfRangeError(
                    field=f"target[{row}]", got=name, expected="one of " + ", ".join(TARGETS)
                )
            spec = observation_spec(name)
            target_N[row] = TARGETS.index(name)
            mode = str(tensors["mode"][row]) if "mode" in tensors else "internet"
            shipped[row, : len(spec.group)] = shipped_numbers(spec.group, mode)
            given = frames_of(spec, tensors, row, shipped[row, : len(spec.group)])
            observation[row, : spec.size] = given.observation_O
            incomplete_N[row] = given.is_incomplete
        return {
            "target": target_N,
            "observation": observation,
            "shipped": shipped,
            "is_incomplete": incomplete_N,
        }

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Answer prepared rows; see `ServableModel.predict`."""
        count = len(rows["target"])
        settled: list[Settled | None] = [None] * count
        for number_ in np.unique(rows["target"]):
            name = TARGETS[int(cast(Any, number_))]
            spec = observation_spec(name)
            chosen = np.flatnonzero(rows["target"] == number_)
            answers = settle(
                name,
                self.parts.get(name),
                cast(Any, rows["observation"])[chosen, : spec.size],
                cast(Any, rows["shipped"])[chosen, : len(spec.group)],
                constraints=Constraints(),
                guard=self.guard,
                is_incomplete_N=cast(Any, rows["is_incomplete"])[chosen],
                is_stale=name in self.stale,
            )
            for row, answer in zip(chosen, answers, strict=True):
                settled[int(row)] = answer
        return tensors_of([each for each in settled if each is not None])

    def save(self, directory: Path) -> None:
        """Write `bundle.json` and a folder for each target into an empty or missing directory."""
        directory.mkdir(parents=True, exist_ok=True)
        files: dict[str, str] = {}
        for target, part in self.parts.items():
            (directory / target).mkdir(exist_ok=True)
            for name, content in part.files.items():
                path = directory / target / name
                path.write_bytes(content)
                files[f"{target}/{name}"] = file_sha256(path)
        manifest = {
            "kind": self.kind,
            "format": FORMAT,
            "features_hash": self.features_hash,
            "parts": {
                target: part.card.model_dump(mode="json") for target, part in self.parts.items()
            },
            "guard": None if self.guard is None else self.guard.model_dump(mode="json"),
            "files": files,
        }
        (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def tensors_of(settled: list[Settled]) -> dict[str, NDArray[np.generic]]:
    """Return decisions under the names of the outputs."""

    def padded(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        whole = np.zeros((len(rows), MAX_KNOBS))
        for row, values in enumerate(rows):
            whole[row, : len(values)] = values
        return whole

    def words(name: str) -> NDArray[np.generic]:
        return np.array([getattr(each, name) for each in settled], dtype=object)

    return {
        "parameters": padded([each.values_D for each in settled]),
        "default_parameters": padded([each.shipped_D for each in settled]),
        "improvement_ratio": np.array([each.improvement_ratio for each in settled]),
        "improvement_lower_ratio": np.array([each.improvement_lower_ratio for each in settled]),
        "improvement_upper_ratio": np.array([each.improvement_upper_ratio for each in settled]),
        "fallback": words("fallback"),
        "reason": words("reason"),
        "evidence": words("evidence"),
        "policy_version": words("policy_version"),
    }


def fingerprint_now(target: str) -> str:
    """Return the fingerprint of this code, or an empty text for a target it does not know."""
    try:
        return policy_fingerprint(target)
    except UnknownNameError:
        return ""
