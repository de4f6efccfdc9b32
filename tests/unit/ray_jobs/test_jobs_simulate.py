import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

import ray_jobs.simulation as simulation
import rl_envs
from novacron.telemetry.traces import Trace
from ray_jobs.cli import app

PNG = b"\x89PNG\r\n\x1a\n"


def invoke(*arguments):
    return CliRunner().invoke(app, ["simulate", *(str(argument) for argument in arguments)])


def answer_of(*arguments):
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1
    return json.loads(result.stdout)


def steady_trace(trace_id="steady", seconds=400, mbps=7.0):
    return Trace(
        trace_id=trace_id,
        path_class="x",
        t_s=np.arange(float(seconds)),
        bandwidth_mbps=np.full(seconds, mbps),
    )


@pytest.fixture
def trace_sets(monkeypatch, tmp_path):
    """Lets the command find these traces under any set's name."""
    sets = {}
    monkeypatch.setenv("NOVACRON_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(simulation, "load_traces", lambda folder, name: sets[name])
    return sets


@pytest.mark.parametrize("target", rl_envs.ENVIRONMENTS)
def test_every_target_is_played_and_answers_in_one_object(target):
    answer = answer_of("--target", target, "--steps", 3, "--policy", "random")

    assert [row["step"] for row in answer["decisions"]] == [1, 2, 3]
    assert answer["decisions"][-1]["t_s"] == answer["duration_s"]
    for name, total in answer["totals"].items():
        assert total["min"] <= total["mean"] <= total["max"], name
    assert answer["gain_nats"] == sum(row["reward"] for row in answer["decisions"])


def test_table_shows_knobs_series_and_totals():
    result = invoke("--policy", '{"streams": 3}', "--steps", 40, "--seed", 5)

    assert result.exit_code == 0
    for text in ("streams", "throughput", "latency", "loss", "cost", "11 of 40", "harm_ratio"):
        assert text in result.stdout, text


def test_policy_of_shipped_settings_gains_nothing_on_paths_of_either_mode():
    gains = [
        answer_of("--scenario", scenario, "--seed", seed, "--steps", 4)["gain_nats"]
        for scenario in ("lan", "wan")
        for seed in range(3)
    ]

    assert gains == [0.0] * 6


def test_same_seed_gives_the_same_bytes_and_another_seed_another_path():
    first, again, other = (
        invoke("--steps", 3, "--policy", "random", "--seed", seed, "--json").stdout
        for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_picture_is_a_png_in_a_folder_made_for_it(tmp_path):
    path = tmp_path / "new" / "run.png"

    answer = answer_of("--steps", 3, "--plot", path)

    assert answer["plot"] == str(path)
    assert path.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--scenario", "moon"), "UnknownNameError"),
        (("--target", "routing"), "UnknownNameError"),
        (("--split", "holdout"), "UnknownNameError"),
        (("--scenario", "out_of_distribution"), "OutOfRangeError"),
        (("--policy", '{"pace": 1}'), "UnknownNameError"),
        (("--policy", '{"streams": 513}'), "OutOfRangeError"),
        (("--policy", '{"streams": NaN}'), "OutOfRangeError"),
        (("--policy", '{"pacing_ratio": NaN}'), "OutOfRangeError"),
        (("--policy", '{"pacing_ratio": Infinity}'), "OutOfRangeError"),
        (("--policy", '{"streams": 1' + "0" * 400 + "}"), "OutOfRangeError"),
        (("--policy", '{"streams": "many"}'), "OutOfRangeError"),
        (("--policy", '{"congestion_algorithm": ["bbr"]}'), "OutOfRangeError"),
        (("--policy", '{"streams": 8'), "UnreadableInputError"),
        (("--policy", "best"), "UnreadableInputError"),
        (("--policy", "[" * 100_000), "UnreadableInputError"),
        (("--policy", "[8]"), "SchemaError"),
        (("--steps", 0), "OutOfRangeError"),
        (("--steps", 10**9), "OutOfRangeError"),
        (("--plot", "run.svg"), "ConfigError"),
        (("--plot", "/dev/null/run.png"), "ConfigError"),
    ],
)
def test_bad_request_is_a_typed_error_with_exit_code_2(arguments, code):
    result = invoke(*arguments, "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["code"] == code


def test_error_for_people_goes_to_stderr_in_one_line():
    result = invoke("--scenario", "wna")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Did you mean 'wan'?" in result.stderr


def test_negative_seed_is_a_usage_error():
    assert invoke("--seed", -1).exit_code == 2


def test_traces_replace_the_capacity_of_the_path(trace_sets):
    trace_sets["lte"] = (steady_trace(), steady_trace("short", seconds=20))

    answer = answer_of("--traces", "lte", "--scenario", "cellular", "--steps", 5)

    assert answer["traces"] == {"usable": 1, "refused": 1}
    assert 0.0 < answer["totals"]["throughput_mbps"]["max"] <= 7.0


def test_set_without_a_trace_long_enough_is_refused_with_the_reason(trace_sets):
    trace_sets["lte"] = (steady_trace("short", seconds=20),)

    result = invoke("--traces", "lte", "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["code"] == "SchemaError"
    assert "short.t_s" in result.stdout


def test_traces_need_a_data_folder_and_a_known_set(monkeypatch, tmp_path):
    monkeypatch.delenv("NOVACRON_DATA_DIR", raising=False)
    nowhere = invoke("--traces", "lte", "--json")
    monkeypatch.setenv("NOVACRON_DATA_DIR", str(tmp_path))
    unknown = invoke("--traces", "ltee", "--json")

    for result in (nowhere, unknown):
        assert result.exit_code == 2
        assert json.loads(result.stdout)["code"] == "DatasetNotFoundError"


def test_json_has_no_number_that_json_lacks():
    answer = answer_of("--target", "pba_prediction", "--steps", 2)

    numbers = [value for total in answer["totals"].values() for value in total.values()]
    assert all(math.isfinite(value) for value in numbers)
