"""The optimizer benchmark, in its quick form."""

import json

import numpy as np
import pytest

from benchmarks.optimizer import main
from benchmarks.optimizer_peers import part_of
from benchmarks.results_format import BenchmarkResult
from novacron.params.observations import observation_spec
from rl_envs.worlds import make_worlds

pytestmark = [pytest.mark.learn, pytest.mark.timeout(300)]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_quick_run_judges_a_policy_beside_all_baselines(tmp_path):
    assert main(["--quick", "--output", str(tmp_path)]) == 0

    result = BenchmarkResult.model_validate(json.loads((tmp_path / "optimizer.json").read_text()))
    found = {each.name: each for each in result.metrics if each.set == "acp_consensus"}
    control = found["control_default_against_itself"]
    assert (control.value, control.lo, control.hi) == (0.0, 0.0, 0.0)
    assert found["onnx_parity_max_difference"].value <= 1e-5
    assert found["guarded_worst_world_change"].value > -0.2
    for name in ("policy", "best_static", "best_per_class", "q_regression", "guarded"):
        assert f"{name}_oracle_share_decision_1" in found
    for name in ("hill_climb_20", "tpe_20"):
        assert f"policy_ahead_of_{name}_nats_final" in found
    assert (tmp_path / "optimizer.png").is_file()


def test_separate_policies_see_their_own_channels_of_a_joint_observation():
    joint, own = observation_spec("joint"), observation_spec("hde_compression")
    observation, _ = make_worlds("joint", 5, seed=1).reset(seed=1)

    mine = part_of(joint, own, observation)

    last, whole = mine[:, -own.frame_size :], observation[:, -joint.frame_size :]
    for name in ("dirty_mb_s", "min_rtt_ms", "param_codec"):
        assert np.array_equal(last[:, own.names.index(name)], whole[:, joint.names.index(name)])
    assert not last[:, own.names.index("backlog_mb")].any()
    assert last[:, -1] == pytest.approx(2.0 / len(own.channels) - 1.0)
