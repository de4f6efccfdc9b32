import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_policy import telemetry_of, tiny_model, tiny_part

import novacron
from novacron.errors import (
    ArtifactError,
    ConfigError,
    OutOfRangeError,
    SchemaError,
    UnknownNameError,
)
from novacron.models.bundles import load_bundle
from novacron.models.policy.bundle import load_part
from novacron.models.policy.canary import CanaryResult
from novacron.models.policy.config import GuardConfig
from novacron.models.policy.model import OptimizerModel
from novacron.models.policy.optimizer import AutoOptimizer
from novacron.params.groups import HDE_COMPRESSION

TARGET = "hde_compression"
TELEMETRY = telemetry_of(TARGET)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("policy"))


def test_gain_comes_with_parameters_defaults_interval_evidence_and_version(model):
    answer = AutoOptimizer(model).optimize(TARGET, TELEMETRY)

    assert answer.is_improvement
    assert answer.default_params == HDE_COMPRESSION.defaults()
    assert HDE_COMPRESSION.check(answer.params) == answer.params
    low, high = answer.improvement_interval
    assert low < answer.expected_improvement < high
    assert answer.expected_improvement == pytest.approx(1 - np.exp(-0.3), rel=1e-4)
    assert (answer.evidence, answer.fallback, answer.policy_version) == (
        "simulated", "", "by-hand-1",
    )  # fmt: skip
    assert answer.expected_effects["cost_change_ratio"] == pytest.approx(
        np.exp(-0.1) - 1, rel=1e-4
    )
    assert json.loads(json.dumps(answer.to_dict()))["target"] == TARGET


@pytest.mark.parametrize(
    ("changes", "fallback"),
    [
        ({"gain_nats": 0.0, "gain_lo_nats": -0.1, "gain_hi_nats": 0.1}, "no_gain"),
        ({"gain_lo_nats": -0.1}, "no_gain"),
        ({"widest": 0.01}, "out_of_distribution"),
        ({"cost_log_ratio": 0.5}, "constraints_impossible"),
        ({"cpu_busy_ratio": 0.9}, "constraints_impossible"),
    ],
)
def test_no_sure_gain_says_so_and_returns_the_defaults(tmp_path, changes, fallback):
    answer = AutoOptimizer(tiny_model(tmp_path, **changes)).optimize(TARGET, TELEMETRY)

    assert not answer.is_improvement
    assert answer.params == answer.default_params
    assert answer.fallback == fallback
    assert answer.reason
    assert (answer.expected_improvement, answer.evidence) == (0.0, "none")


def test_no_telemetry_returns_the_flagged_defaults(model):
    answer = AutoOptimizer(model).optimize(TARGET)

    assert (answer.fallback, answer.params) == ("telemetry_missing", HDE_COMPRESSION.defaults())


def test_missing_channel_returns_the_flagged_defaults_and_names_it(model):
    partial = {name: value for name, value in TELEMETRY.items() if name != "dirty_mb_s"}

    answer = AutoOptimizer(model).optimize(TARGET, partial)

    assert answer.fallback == "telemetry_incomplete"
    assert "dirty_mb_s" in answer.reason


def test_target_without_a_policy_returns_the_flagged_defaults():
    answer = AutoOptimizer(OptimizerModel({})).optimize(TARGET, TELEMETRY)

    assert answer.fallback == "no_policy"


def test_policy_of_another_parameter_table_returns_the_flagged_defaults(tmp_path):
    tiny_model(tmp_path / "parts").save(tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    manifest["parts"][TARGET]["fingerprint"] = "0123456789abcdef"
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(manifest))

    answer = AutoOptimizer.load(tmp_path / "bundle").optimize(TARGET, TELEMETRY)

    assert answer.fallback == "policy_table_changed"
    assert answer.params == answer.default_params


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": "hde_compresion"}, UnknownNameError, "hde_compression"),
        ({"telemetry": TELEMETRY | {"min_rtt_ms": -3.0}}, OutOfRangeError, "min_rtt_ms"),
        ({"telemetry": TELEMETRY | {"min_rtt_ms": float("nan")}}, OutOfRangeError, "min_rtt_ms"),
        ({"telemetry": TELEMETRY | {"min_rtt_ms": "12"}}, OutOfRangeError, "min_rtt_ms"),
        ({"telemetry": TELEMETRY | {"cpu_busy_ratio": 71.0}}, OutOfRangeError, "cpu_busy_ratio"),
        ({"telemetry": TELEMETRY | {"ping": 1.0}}, SchemaError, "ping"),
        ({"telemetry": TELEMETRY | {"workers": 1e9}}, OutOfRangeError, "workers"),
        ({"telemetry": [TELEMETRY] * 5}, SchemaError, "intervals"),
        ({"telemetry": []}, SchemaError, "intervals"),
        ({"constraints": {"max_cpu_ratio": 1.5}}, OutOfRangeError, "max_cpu_ratio"),
        ({"constraints": {"max_cost_increase_ratio": -1}}, OutOfRangeError, "max_cost"),
        ({"constraints": {"max_latency": 3}}, ConfigError, "max_latency"),
        ({"probes": -1}, OutOfRangeError, "probes"),
        ({"probes": 2}, ConfigError, "measure"),
        ({"mode": "moon"}, OutOfRangeError, "mode"),
    ],
)
def test_bad_input_is_refused_by_name(model, arguments, error, message):
    request = {"target": TARGET, "telemetry": TELEMETRY} | arguments

    with pytest.raises(error, match=message):
        AutoOptimizer(model).optimize(**request)


def test_cost_limit_lets_through_what_an_operator_allows(tmp_path):
    optimizer = AutoOptimizer(tiny_model(tmp_path, cost_log_ratio=0.3))

    strict = optimizer.optimize(TARGET, TELEMETRY, key="a")
    loose = optimizer.optimize(TARGET, TELEMETRY, {"max_cost_increase_ratio": 0.5}, key="b")

    assert not strict.is_improvement
    assert loose.is_improvement


def test_setting_holds_no_more_memory_than_the_host_can_spare(tmp_path):
    most = AutoOptimizer(tiny_model(tmp_path, proposal=1.0))
    known = {"host_memory_mib": 10_000.0, "memory_used_ratio": 0.75}

    unknown_host = most.optimize(TARGET, TELEMETRY, key="a").params["baseline_memory_mib"]
    known_host = most.optimize(TARGET, TELEMETRY, known, key="b").params["baseline_memory_mib"]

    assert unknown_host == 2048
    assert 2048 < known_host <= 2048 + 500


def test_probes_are_measured_and_the_answer_says_canary(model):
    calls = []

    def measure(target, candidate, others):
        calls.append((target, candidate, others))
        return 0.4

    answer = AutoOptimizer(model, measure=measure).optimize(TARGET, TELEMETRY, probes=3)

    assert len(calls) == 3
    assert calls[0][2] == answer.default_params
    assert answer.evidence == "canary"
    assert answer.expected_improvement == pytest.approx(1 - np.exp(-0.4))


def test_failed_canary_keeps_the_defaults_and_says_so(model):
    optimizer = AutoOptimizer(model, measure=lambda *_: -0.2)

    answer = optimizer.optimize(TARGET, TELEMETRY, probes=1)

    assert (answer.fallback, answer.params) == ("canary_failed", answer.default_params)


def test_canary_that_costs_too_much_keeps_the_defaults_though_it_gains(model):
    optimizer = AutoOptimizer(
        model, measure=lambda *_: CanaryResult(gain_nats=0.8, cost_increase_ratio=0.3)
    )

    dear = optimizer.optimize(TARGET, TELEMETRY, probes=2, key="a")
    allowed = optimizer.optimize(
        TARGET, TELEMETRY, {"max_cost_increase_ratio": 0.4}, probes=2, key="b"
    )

    assert (dear.fallback, dear.params) == ("canary_failed", dear.default_params)
    assert "cost increase of 0.300" in dear.reason
    assert allowed.evidence == "canary"


def test_measured_cost_above_the_limit_takes_the_setting_back_and_shortens_the_next(model):
    optimizer = AutoOptimizer(model)
    before = optimizer.optimize(TARGET, TELEMETRY)

    decision = optimizer.observe(TARGET, TELEMETRY, gain_nats=0.5, cost_increase_ratio=0.5)
    after = optimizer.optimize(TARGET, TELEMETRY)

    assert before.is_improvement
    assert decision.action == "revert"
    assert "cost increase of 0.500, allowed 0.100" in decision.reason
    assert after.params == after.default_params
    assert after.fallback == "constraints"
    assert "cost increase below 0.1" in after.reason


@pytest.mark.parametrize("ratio", [float("nan"), float("inf"), -1.0, -2.0])
def test_increase_of_a_cost_that_cannot_be_is_refused(model, ratio):
    result = CanaryResult(gain_nats=0.5, cost_increase_ratio=ratio)
    optimizer = AutoOptimizer(model, measure=lambda *_: result)
    with pytest.raises(OutOfRangeError, match="cost_increase_ratio"):
        optimizer.optimize(TARGET, TELEMETRY, probes=1)

    with pytest.raises(OutOfRangeError, match="cost_increase_ratio"):
        optimizer.observe(TARGET, TELEMETRY, cost_increase_ratio=ratio)


def test_canary_of_the_default_against_itself_reports_no_gain(tmp_path):
    rng = np.random.default_rng(0)
    optimizer = AutoOptimizer(
        tiny_model(tmp_path), measure=lambda *_: 0.02 * rng.standard_normal()
    )

    answers = [optimizer.optimize(TARGET, TELEMETRY, probes=2, key=str(i)) for i in range(50)]

    assert not any(answer.is_improvement for answer in answers)


def test_measured_intervals_replace_what_was_expected(model):
    optimizer = AutoOptimizer(model, guard=GuardConfig(slew_octaves=20.0, slew_share=1.0))
    first = optimizer.optimize(TARGET, TELEMETRY)
    for _ in range(3):
        optimizer.observe(TARGET, TELEMETRY, gain_nats=0.2)

    answer = optimizer.optimize(TARGET, TELEMETRY)

    assert (first.evidence, answer.evidence) == ("simulated", "live")
    assert answer.expected_improvement == pytest.approx(1 - np.exp(-0.2))


def test_measured_loss_takes_the_setting_back(model):
    optimizer = AutoOptimizer(model)
    optimizer.optimize(TARGET, TELEMETRY)

    decision = optimizer.observe(TARGET, TELEMETRY, gain_nats=-0.5)
    answer = optimizer.optimize(TARGET, TELEMETRY)

    assert decision.action == "revert"
    assert answer.params == answer.default_params
    assert [each.action for each in optimizer.decisions(TARGET)] == ["apply", "revert", "hold"]


def test_paths_are_watched_apart(model):
    optimizer = AutoOptimizer(model)
    optimizer.optimize(TARGET, TELEMETRY, key="a")

    with pytest.raises(ConfigError, match="optimize"):
        optimizer.observe(TARGET, TELEMETRY, key="b")


def test_gain_of_measured_costs_is_weighed_as_the_objective_does(model):
    optimizer = AutoOptimizer(model)
    costs = {"time": 1.0, "money": 2.0, "guests": 1.0}

    assert optimizer.gain_nats(TARGET, costs, costs) == 0.0
    assert optimizer.gain_nats(TARGET, costs, costs | {"time": 2.0}) == pytest.approx(np.log(2))
    with pytest.raises(OutOfRangeError, match="money"):
        optimizer.gain_nats(TARGET, costs | {"money": 0.0}, costs)


def test_bundle_gives_the_same_answers_after_a_round_trip(model, tmp_path):
    model.save(tmp_path / "bundle")

    before = AutoOptimizer(model).optimize(TARGET, TELEMETRY)
    after = AutoOptimizer.load(tmp_path / "bundle").optimize(TARGET, TELEMETRY)

    assert after == before


@pytest.mark.parametrize("name", ["policy.onnx", "effects.onnx", "familiar.safetensors"])
def test_changed_file_of_a_bundle_is_refused(model, tmp_path, name):
    model.save(tmp_path / "bundle")
    path = tmp_path / "bundle" / TARGET / name
    path.write_bytes(path.read_bytes()[:-8] + b"\0" * 8)

    with pytest.raises(ArtifactError):
        load_bundle(tmp_path / "bundle")


def test_network_of_another_shape_is_refused(tmp_path):
    part = tiny_part(tmp_path / "a", "amst_transport")
    tiny_part(tmp_path / "b", TARGET)
    (tmp_path / "b" / "policy.onnx").write_bytes(part.files["policy.onnx"])

    card = tiny_part(tmp_path / "c", TARGET).card

    with pytest.raises(ArtifactError, match="maps"):
        load_part(tmp_path / "b", card)


def test_optimizer_is_at_the_top_and_needs_neither_ray_nor_the_simulator():
    code = (
        "import sys; from novacron import AutoOptimizer; "
        "AutoOptimizer().optimize('hde_compression'); "
        "assert not {'ray', 'rl_envs', 'torch', 'gymnasium', 'mlflow'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
    assert "AutoOptimizer" in dir(novacron)


def test_policies_of_the_library_are_of_its_own_tables_and_answer():
    optimizer = AutoOptimizer()

    assert optimizer.model.parts
    assert not optimizer.model.stale
    for target in optimizer.model.parts:
        answer = optimizer.optimize(target, telemetry_of(target))
        assert answer.default_params
        assert answer.is_improvement == (not answer.fallback)
