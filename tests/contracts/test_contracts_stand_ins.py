"""What answers for a model that cannot: every output, flagged, without anything that was learned."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import tiny_bandwidth
import tiny_scaling
from tiny_placement import node, tiny_models, workload
from tiny_policy import telemetry_of, tiny_model

from novacron.errors import OutOfRangeError
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.model import AnomalyModel
from novacron.models.bandwidth.config import POOLED
from novacron.models.base import dependence_of
from novacron.models.placement.model import PlacementModel
from novacron.models.stand_ins import STAND_INS, load_stand_in
from novacron.models.tensor_checks import DTYPES, CheckedTensors

RNG = np.random.default_rng(0)


@dataclass
class Case:
    """A fitted model, a request of some rows, and what is made to break in the model."""

    model: Any
    request: dict[str, Any]
    breaks: str


def bandwidth():
    history = np.abs(RNG.normal(50, 10, (3, 60)))
    names = np.array(["wave", "big_wave", "unheard of"], dtype=object)
    request = {"bandwidth_mbps": history, "path_class": names}
    broken = "novacron.models.bandwidth.blend.ClassModel.raw_mbps"
    return Case(tiny_bandwidth.tiny_fit().model, request, broken)


def anomaly():
    history = RNG.normal(10, 1, (3, 300))
    history[1, -1] = 40.0
    request = {"value": history, "step_s": np.array([60.0, 60.0, 300.0])}
    broken = "novacron.models.anomaly.detector.AnomalyDetector.open_entity"
    return Case(AnomalyModel(AnomalyDetector()), request, broken)


def policy():
    middle = np.array(list(telemetry_of("hde_compression").values()))
    request = {
        "target": np.array(["hde_compression", "amst_transport"], dtype=object),
        "telemetry": np.zeros((2, 1, 16)) + np.resize(middle, 16),
        "mode": np.array(["internet", "datacenter"], dtype=object),
    }
    broken = "novacron.models.policy.decide.advise"
    return Case(tiny_model(Path(tempfile.mkdtemp())), request, broken)


def scaling():
    values = tiny_scaling.working_days(4, seed=1)
    request = {
        "usage": np.stack([values[-500:], 2 * values[-500:]]),
        "step_s": np.full(2, 300.0),
        "capacity": np.array([12.0, 60.0]),
    }
    return Case(tiny_scaling.tiny_model(), request, "novacron.models.scaling.advice._by_model")


def placement():
    offered = [node(number) for number in range(5)]
    asked = [workload(workload_id="small"), workload(workload_id="vast", cpu_cores=500)]
    request = {
        "workload": np.array([json.dumps(one) for one in asked], dtype=object),
        "nodes": np.array([json.dumps(offered)] * 2, dtype=object),
    }
    broken = "novacron.models.placement.optimizer.WorkloadOptimizer.optimize"
    return Case(PlacementModel(tiny_models()), request, broken)


CASES = {
    "anomaly": anomaly,
    "bandwidth": bandwidth,
    "placement": placement,
    "policy": policy,
    "scaling": scaling,
}


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request):
    return CASES[request.param]()


@pytest.fixture(scope="module")
def answer(case):
    stand_in = load_stand_in(case.model.kind)
    with patch(case.breaks, side_effect=RuntimeError("broken")):
        return stand_in.answer(case.model, CheckedTensors(case.request, case.model.inputs))


def test_every_stand_in_has_a_case_here():
    assert set(STAND_INS) == set(CASES)
    assert load_stand_in("capacity") is None


def test_it_fills_every_output_though_the_model_is_broken(case, answer):
    rows = len(next(iter(case.request.values())))
    assert set(answer) == {spec.name for spec in case.model.outputs}
    for spec in case.model.outputs:
        value = answer[spec.name]
        assert value.dtype == DTYPES[spec.datatype]
        assert value.ndim == len(spec.shape)
        assert len(value) == rows
        assert value.dtype == object or np.isfinite(value.astype(float)).all()


def test_every_row_says_who_answered(case, answer):
    assert set(answer["fallback"]) == {load_stand_in(case.model.kind).NAME}


def test_models_with_a_stand_in_say_what_their_answers_depend_on(case):
    assert dependence_of(case.model) == ("state" if case.model.kind == "anomaly" else "request")


def test_the_bandwidth_band_is_that_of_the_path_class():
    case = bandwidth()
    found = load_stand_in("bandwidth").answer(case.model, case.request)

    for row, name in enumerate(("wave", "big_wave", POOLED)):
        window = case.request["bandwidth_mbps"][row, -case.model.config.features.history :]
        expected = case.model.classes[name].band.forecast(window)[-1]
        np.testing.assert_allclose(found["quantiles_mbps"][row], expected)


def test_the_anomaly_rule_alerts_on_an_outlier_alone():
    case = anomaly()

    found = load_stand_in("anomaly").answer(case.model, case.request)

    assert found["alert"].tolist() == [False, True, False]


def test_the_policys_defaults_promise_nothing():
    case = policy()

    found = load_stand_in("policy").answer(case.model, case.request)

    np.testing.assert_array_equal(found["parameters"], found["default_parameters"])
    assert not found["improvement_upper_ratio"].any()
    assert set(found["evidence"]) == {"none"}
    wrong = case.request | {"target": np.array(["hde_compression", "x"], dtype=object)}
    with pytest.raises(OutOfRangeError, match="target"):
        load_stand_in("policy").answer(case.model, wrong)


def test_the_placement_rule_fills_the_fullest_node_that_fits_and_estimates_nothing():
    case = placement()

    found = load_stand_in("placement").answer(case.model, case.request)

    small, vast = (json.loads(text) for text in found["answer"])
    # Node 0 has the least room of those that fit.
    assert found["node_id"][0][0] == "n0"
    assert [one["rank"] for one in small["candidates"]] == [1, 2, 3, 4, 5][
        : len(small["candidates"])
    ]
    assert small["decided_by"] == "best_fit"
    assert not found["throughput"].any()
    assert (found["score"][0][:2] > 0).all()
    assert vast["candidates"] == []
    assert found["none_feasible_because"][1]


def test_the_scaling_rule_takes_no_capacity_away():
    case = scaling()

    found = load_stand_in("scaling").answer(case.model, case.request)

    assert (found["target_capacity"] >= case.request["capacity"]).all()
