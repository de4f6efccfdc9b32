import json

import rl_envs
from benchmarks import environment


def test_quick_form_writes_speed_and_headroom_of_every_target(tmp_path):
    code = environment.main(["--quick", "--output", str(tmp_path)])

    result = json.loads((tmp_path / "simulator.json").read_text())
    names = {metric["name"] for metric in result["metrics"]}
    assert code == 0
    assert {"env_steps_per_cpu_s", "oracle_over_best_static_ratio"} <= names
    for target in rl_envs.ENVIRONMENTS:
        assert sum(metric["set"].startswith(target) for metric in result["metrics"]) == 6
    assert (tmp_path / "simulator.md").exists()


def test_oracle_is_never_worse_than_the_point_it_started_from():
    env = environment.make_batch("amst_transport", 16)
    env.reset(seed=1)
    start = environment.candidates(4, 16)

    reward, interior = environment.search_oracle(env, start)

    assert (reward >= env.peek_rewards(start[None])[0]).all()
    assert ((interior >= 0) & (interior <= 1)).all()
