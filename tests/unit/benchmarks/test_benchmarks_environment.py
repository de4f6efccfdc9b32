import json

import numpy as np

import rl_envs
from benchmarks import environment, environment_checks, environment_testbed


def test_quick_form_writes_every_row_and_its_pictures(tmp_path):
    code = environment.main(["--quick", "--output", str(tmp_path)])

    result = json.loads((tmp_path / "simulator.json").read_text())
    names = {metric["name"] for metric in result["metrics"]}
    assert code == 0
    assert {
        "goodput_error_median",
        "choice_regret_median",
        "env_steps_per_cpu_s",
        "oracle_over_best_static_ratio",
        "same_rollout_ratio",
        "probe_r2_capacity_beyond_telemetry",
    } <= names
    for target in rl_envs.ENVIRONMENTS:
        rows = [metric for metric in result["metrics"] if metric["set"].split(",")[0] == target]
        assert sum(not metric["name"].startswith("probe") for metric in rows) == 6
    kept = [m for m in result["metrics"] if m["name"] == "same_rollout_ratio"]
    assert all(metric["value"] == 1.0 for metric in kept)
    assert (tmp_path / "simulator.md").exists()
    for picture in ("fidelity", "streams", "headroom"):
        assert (tmp_path / f"simulator_{picture}.png").stat().st_size > 10_000


def test_oracle_is_never_worse_than_the_point_it_started_from():
    env = environment.make_batch("amst_transport", 16)
    env.reset(seed=1)
    start = environment.candidates(4, 16)

    reward, interior = environment.search_oracle(env, start)

    assert (reward >= env.peek_rewards(start[None])[0]).all()
    assert ((interior >= 0) & (interior <= 1)).all()


def test_probe_finds_what_leaks_and_nothing_where_nothing_does():
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(900, 4)).astype(np.float32)

    leaky = environment_checks.probe_r2(frames, frames[:, 2].astype(np.float64), trees=60)
    clean = environment_checks.probe_r2(frames, rng.normal(size=900), trees=60)

    assert leaky > 0.8
    assert clean < 0.1


def test_rollout_digest_tells_rows_apart_and_repeats_itself():
    first = environment_checks.row_digests("amst_transport", 2, 0, 2)

    assert first == environment_checks.row_digests("amst_transport", 2, 0, 2)
    assert first[0] != first[1]


def test_one_action_that_is_best_everywhere_serves_all_worlds():
    rewards = np.array([[1.0, 2.0], [0.0, 0.0]])

    assert environment.served_ratio(rewards, rewards.max(axis=0)) == 1.0
    assert environment.served_ratio(rewards[::-1], np.array([1.0, 3.0])) == 0.5


def test_choice_by_the_law_beats_always_the_fewest_streams():
    metrics = environment_testbed.choice_metrics(environment_testbed.table_cells())
    median = next(m for m in metrics if (m.name, m.set) == ("choice_regret_p90", "all cells"))

    fewest = float(median.baseline.split("fewest: ")[1].split(" / ")[1].split(";")[0])
    assert median.value < fewest
