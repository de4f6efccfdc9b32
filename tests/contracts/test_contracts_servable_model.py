"""What every servable model promises, whatever it answers. A model joins by one fixture entry."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_performance
import tiny_scaling
from doubling_model import DoublingModel
from tiny_capacity import tiny_capacity
from tiny_placement import node, tiny_models, workload
from tiny_policy import telemetry_of, tiny_model

from novacron.errors import ArtifactError, NovacronError, SchemaError
from novacron.models.base import ServableModel
from novacron.models.bundles import LOADERS, load_bundle
from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.fit import fit_patterns
from novacron.models.placement.model import PlacementModel
from novacron.models.tensor_checks import DTYPES


@dataclass
class Subject:
    """A fitted model and three valid requests of different size."""

    model: ServableModel
    requests: list[dict[str, Any]]


def patterns() -> Subject:
    rng = np.random.default_rng(0)

    def request(rows, steps):
        return {
            "usage": rng.standard_normal((rows, steps)),
            "step_s": np.full(rows, 60.0),
            "is_present": rng.random((rows, steps)) < 0.9,
        }

    model = fit_patterns(PatternsConfig(train_each=10, validation_each=10, trees=8))
    return Subject(model, [request(1, 100), request(3, 200), request(2, 64)])


def scaling() -> Subject:
    values = tiny_scaling.working_days(4, seed=1)

    def request(rows, steps):
        return {
            "usage": np.stack([(row + 1) * values[-steps:] for row in range(rows)]),
            "step_s": np.full(rows, 300.0),
            "capacity": np.full(rows, 12.0),
            "policy": np.array(["hybrid", "reactive", "proactive"][:rows], dtype=object),
        }

    return Subject(tiny_scaling.tiny_model(), [request(1, 400), request(3, 500), request(2, 40)])


def placement() -> Subject:
    def request(rows):
        asked = [
            json.dumps(workload(workload_id=f"w{row}", cpu_cores=row + 1)) for row in range(rows)
        ]
        offered = [json.dumps([node(number) for number in range(row + 2)]) for row in range(rows)]
        return {
            "workload": np.array(asked, dtype=object),
            "nodes": np.array(offered, dtype=object),
        }

    return Subject(PlacementModel(tiny_models()), [request(1), request(3), request(2)])


def capacity() -> Subject:
    rng = np.random.default_rng(0)

    def request(rows, days):
        return {
            "demand": 100 + 10 * rng.random((rows, days)) + np.arange(days) % 7,
            "step_s": np.full(rows, 86_400.0),
            "start_s": np.full(rows, 1.7e9),
            "is_present": rng.random((rows, days)) < 0.9,
            "warning": np.full(rows, 112.0),
        }

    return Subject(
        tiny_capacity("weekday_mean", "boosted"), [request(1, 60), request(2, 90), request(1, 45)]
    )


def doubling() -> Subject:
    sizes = ((1, 2), (3, 2), (2, 2))
    return Subject(DoublingModel(), [{"bandwidth_mbps": np.ones(size)} for size in sizes])


def policy() -> Subject:
    channels = {"hde_compression": 16, "amst_transport": 11}
    model = tiny_model(Path(tempfile.mkdtemp()), "hde_compression", "amst_transport")

    def request(target, rows, frames):
        middle = np.array(list(telemetry_of(target).values()))
        shape = (rows, frames, channels[target])
        return {
            "target": np.array([target] * rows, dtype=object),
            "telemetry": np.broadcast_to(middle, shape).copy(),
        }

    sizes = (("hde_compression", 1, 1), ("amst_transport", 3, 4), ("hde_compression", 2, 2))
    return Subject(model, [request(*size) for size in sizes])


def performance() -> Subject:
    sizes = ((1, 20), (3, 9), (2, 2))
    requests = [tiny_performance.request(rows, samples) for rows, samples in sizes]
    return Subject(tiny_performance.tiny_model(), requests)


SUBJECTS = {
    "capacity": capacity,
    "patterns": patterns,
    "placement": placement,
    "policy": policy,
    "scaling": scaling,
    "performance": performance,
    "doubling": doubling,
}


@pytest.fixture(scope="module", params=sorted(SUBJECTS))
def subject(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOADERS, "doubling", "doubling_model")
        yield SUBJECTS[request.param]()


def answers(model, request):
    return model.predict(model.prepare(request))


def test_it_has_what_the_protocol_asks_for(subject):
    assert isinstance(subject.model, ServableModel)
    assert subject.model.kind in LOADERS


def test_answers_have_the_declared_names_types_and_rows(subject):
    for request in subject.requests:
        rows = len(next(iter(request.values())))
        found = answers(subject.model, request)

        assert set(found) == {spec.name for spec in subject.model.outputs}
        for spec in subject.model.outputs:
            value = found[spec.name]
            assert value.dtype == DTYPES[spec.datatype]
            assert len(value) == rows
            assert value.ndim == len(spec.shape)
            assert value.dtype == object or np.isfinite(value.astype(float)).all()


def test_prepared_rows_of_several_requests_join_and_answer_as_alone(subject):
    prepared = [subject.model.prepare(request) for request in subject.requests]
    joined = {name: np.concatenate([each[name] for each in prepared]) for name in prepared[0]}

    together = subject.model.predict(joined)

    for name, value in together.items():
        alone = np.concatenate([answers(subject.model, each)[name] for each in subject.requests])
        np.testing.assert_array_equal(value, alone)


def test_the_same_request_gets_the_same_answer_twice(subject):
    first, second = (answers(subject.model, subject.requests[0]) for _ in range(2))

    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_request_is_not_changed_by_being_answered(subject):
    before = {name: value.copy() for name, value in subject.requests[1].items()}

    answers(subject.model, subject.requests[1])

    for name, value in subject.requests[1].items():
        np.testing.assert_array_equal(value, before[name])


def test_a_saved_bundle_answers_the_same_and_holds_no_pickle(subject, tmp_path):
    subject.model.save(tmp_path / "bundle")

    loaded = load_bundle(tmp_path / "bundle")

    suffixes = {path.suffix for path in (tmp_path / "bundle").rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".txt", ".onnx", ".skops"}
    assert loaded.features_hash == subject.model.features_hash
    for request in subject.requests:
        expected = answers(subject.model, request)
        for name, value in answers(loaded, request).items():
            np.testing.assert_array_equal(value, expected[name])


def test_a_missing_required_input_is_refused_by_name(subject):
    required = next(spec.name for spec in subject.model.inputs if spec.required)
    request = {k: v for k, v in subject.requests[0].items() if k != required}

    with pytest.raises(SchemaError, match=required):
        subject.model.prepare(request)


def test_a_bundle_without_its_manifest_is_refused(subject, tmp_path):
    subject.model.save(tmp_path)
    (tmp_path / "bundle.json").unlink()

    with pytest.raises(ArtifactError, match="missing"):
        load_bundle(tmp_path)


def test_a_manifest_names_kind_and_features(subject, tmp_path: Path):
    subject.model.save(tmp_path)

    manifest = json.loads((tmp_path / "bundle.json").read_text())

    assert manifest["kind"] == subject.model.kind
    assert manifest["features_hash"] == subject.model.features_hash


def test_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / "bundle.json").write_text('{"kind": "crystal_ball"}')

    with pytest.raises(NovacronError, match="crystal_ball"):
        load_bundle(tmp_path)
