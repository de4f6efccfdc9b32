"""The optimizer as it is served: a request and its nodes as JSON in, ranked candidates out.

Legend: N requests, K candidates of an answer.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import numpy as np
from numpy.typing import NDArray

from novacron.errors import PayloadTooLargeError, SchemaError, UnreadableInputError
from novacron.models.base import Dependence, Tensors, TensorSpec
from novacron.models.placement.answers import PlacementAnswer
from novacron.models.placement.bundle_files import save_models
from novacron.models.placement.fitted import NAME, PlacementModels
from novacron.models.placement.fleet import Fleet
from novacron.models.placement.optimizer import WorkloadOptimizer
from novacron.models.placement.workload import read_workload
from novacron.models.tensor_checks import check_tensors

Texts = NDArray[np.object_]

LONGEST_JSON: Final = 16 * 2**20
"""Characters of one tensor element."""
INPUTS: Final[tuple[TensorSpec, ...]] = (
    TensorSpec(
        name="workload",
        datatype="BYTES",
        shape=(-1,),
        unit="json",
        doc="object with workload_id, cpu_cores, memory_gb, constraints and workload factors",
    ),
    TensorSpec(
        name="nodes",
        datatype="BYTES",
        shape=(-1,),
        unit="json",
        doc="list of objects with node_id, totals, groups, and node and pair factors",
    ),
)
_TIMES: Final = ("made_at", "valid_until")


def output_specs(candidates: int) -> tuple[TensorSpec, ...]:
    """Return the tensors of an answer; places beyond the last candidate are "" and 0.

    Where `fallback` is `best_fit_alone`, nothing but the score is estimated: the others are 0.
    """

    def text(name: str, doc: str, *more: int) -> TensorSpec:
        return TensorSpec(name=name, datatype="BYTES", shape=(-1, *more), unit="name", doc=doc)

    def number(name: str, unit: str, doc: str) -> TensorSpec:
        return TensorSpec(name=name, datatype="FP64", shape=(-1, candidates), unit=unit, doc=doc)

    return (
        text("node_id", "candidates in the order to try them", candidates),
        number("score", "0..1", "weighted score of each candidate"),
        number("throughput", "ratio", "1 is a free reference node"),
        number("latency_ms", "ms", "estimated"),
        number("reliability", "0..1", "probability of no outage in 30 days"),
        number("power_w", "W", "estimated to be added"),
        TensorSpec(
            name="feasible",
            datatype="INT64",
            shape=(-1,),
            unit="nodes",
            doc="nodes that satisfy every constraint",
        ),
        text("none_feasible_because", "why there is no candidate, or empty"),
        text("fallback", "what decided instead of the lifetime model, or empty"),
        text("answer", "the whole answer as JSON: intervals, reasons, constraints, utilisation"),
    )


class PlacementModel:
    """A fitted optimizer; implements `ServableModel`. Every row is a decision of its own."""

    kind: str = NAME
    depends_on: ClassVar[Dependence] = "request"
    inputs: tuple[TensorSpec, ...] = INPUTS

    def __init__(self, models: PlacementModels) -> None:
        self.models = models
        self.optimizer = WorkloadOptimizer(models)
        self.features_hash: str = self.optimizer.features_hash
        self.outputs = output_specs(models.config.candidates)

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Check one request: its JSON, names, units, ranges, contradictions.

        Raises:
            UnreadableInputError: A text is no JSON of the right form.
            InvalidInputError: See `read_workload` and `Fleet.read`.
            UnknownNameError: A field or factor has no such name.
        """
        check_tensors(tensors, self.inputs)
        for workload, nodes in pairs(tensors):
            read_workload(workload)
            Fleet.read(nodes)
        return {name: np.array(tensors[name], dtype=object) for name in ("workload", "nodes")}

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Answer prepared rows; see `ServableModel.predict`."""
        return self.tensors_of(
            [self.optimizer.optimize(workload, nodes) for workload, nodes in pairs(rows)]
        )

    def tensors_of(self, answers: Sequence[PlacementAnswer]) -> dict[str, NDArray[np.generic]]:
        """Return answers under the names of the outputs."""
        most = self.models.config.candidates
        count = len(answers)
        out: dict[str, NDArray[np.generic]] = {
            "node_id": np.full((count, most), "", dtype=object),
            "feasible": np.array([answer.feasible for answer in answers], dtype=np.int64),
            "none_feasible_because": _texts([one.none_feasible_because for one in answers]),
            "fallback": _texts([one.fallback for one in answers]),
            "answer": _texts([_json(one) for one in answers]),
        }
        numbers = {name: np.zeros((count, most)) for name in _NUMBERS}
        for row, answer in enumerate(answers):
            for place, candidate in enumerate(answer.candidates):
                out["node_id"][row, place] = candidate.node_id
                numbers["score"][row, place] = candidate.score.value
                for name, source in _NUMBERS.items():
                    if source in candidate.estimates:
                        numbers[name][row, place] = candidate.estimates[source].value
        return out | numbers

    def save(self, directory: Path) -> None:
        """Write the bundle into an empty or missing directory."""
        save_models(self.models, directory)


_NUMBERS: Final = {
    "score": "",
    "throughput": "throughput",
    "latency_ms": "latency",
    "reliability": "reliability",
    "power_w": "power",
}


def _json(answer: PlacementAnswer) -> str:
    # The endpoint stamps its own times; equal requests get equal bytes.
    found = {name: value for name, value in answer.to_dict().items() if name not in _TIMES}
    return json.dumps(found, sort_keys=True)


def _texts(listed: list[str]) -> Texts:
    out = np.empty(len(listed), dtype=object)
    out[:] = listed
    return out


def pairs(tensors: Tensors) -> list[tuple[dict[str, Any], list[Mapping[str, Any]]]]:
    """Return the workload and the nodes of each row, parsed.

    Raises:
        UnreadableInputError: A text is no JSON.
        SchemaError: It is of another form.
    """
    found = []
    texts = zip(cast(Texts, tensors["workload"]), cast(Texts, tensors["nodes"]), strict=True)
    for row, (workload, nodes) in enumerate(texts):
        asked = _parse(f"workload[{row}]", workload)
        offered = _parse(f"nodes[{row}]", nodes)
        if not isinstance(asked, dict):
            raise SchemaError(field=f"workload[{row}]", got=asked, expected="a JSON object")
        if not isinstance(offered, list) or not all(isinstance(one, dict) for one in offered):
            raise SchemaError(field=f"nodes[{row}]", got=offered, expected="a list of objects")
        found.append((asked, offered))
    return found


def _parse(field: str, text: str) -> Any:
    if len(text) > LONGEST_JSON:
        raise PayloadTooLargeError(
            field=field, got=len(text), expected=f"at most {LONGEST_JSON} characters"
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise UnreadableInputError(field=field, got=text, expected=f"JSON: {cause}") from cause
