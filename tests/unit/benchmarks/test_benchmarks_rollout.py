import json

import pytest

from benchmarks.rollout.__main__ import main
from benchmarks.rollout.callers import Load, Seen
from benchmarks.rollout.parts import Bench, PartResult, measure_part


@pytest.mark.timeout(300)
@pytest.mark.timeout(180)
def test_the_quick_form_writes_the_rates_beside_what_is_stated(tmp_path):
    main(["--quick", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)])

    result = json.loads((tmp_path / "rollout.json").read_text())
    by = {(one["name"], one["set"]): one for one in result["metrics"]}
    assert by["false_rollback_ratio", "same_version"]["value"] <= 0.1
    assert by["simulated_rolled_back_ratio", "answers_wrong"]["value"] == 1.0
    assert by["simulated_within_2_windows_ratio", "latency_3x"]["value"] == 1.0
    assert by["simulated_exposed_ratio", "answers_wrong"]["hi"] <= 0.1
    assert by["false_winner_ratio", "ab_same_version"]["n"] == 10
    for model in ("model raises", "model hangs"):
        where = f"breaker, {model}"
        assert by["calls_while_open", where]["value"] == 0
        assert by["probes_until_closed", where]["value"] == 1
        assert by["wrong_answers_of_trips", where]["value"] == 0
    swaps = {name: one for (name, where), one in by.items() if "version changes" in where}
    assert swaps["stale_answers"]["value"] == 0
    assert swaps["wrong_answers_across_changes"]["value"] == 0
    assert swaps["failed_requests_across_changes"]["value"] == 0
    hit = "hit_times_cheaper"
    assert by[hit, "LightGBM, 300 trees x 24 features, 1 in flight"]["n"] == 7
    assert (tmp_path / "rollout.md").exists()


def failing(bench):
    raise AssertionError("a finished part is not measured again")


def test_a_finished_part_is_kept_and_not_measured_again(tmp_path):
    bench = Bench(work=tmp_path / "work", quick=True, say=lambda text: None)
    kept = tmp_path / "kept"
    kept.mkdir()
    done = PartResult(metrics=(), notes=("kept",))
    (kept / "one.json").write_text(done.model_dump_json())

    assert measure_part("one", bench, kept, catalogue={"one": f"{__name__}:failing"}) == done
    with pytest.raises(AssertionError):
        measure_part("two", bench, kept, catalogue={"two": f"{__name__}:failing"})


def test_an_unknown_part_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--only", "nothing", "--runs", str(tmp_path)])
    assert "no part nothing" in capsys.readouterr().err


def test_a_gap_is_the_longest_time_without_a_right_answer_inside_the_part_that_is_looked_at():
    seen = [Seen(done_s=at, latency_s=0.1, status=200, version="1") for at in (1.0, 5.0, 5.5, 8.0)]
    seen.append(Seen(done_s=6.5, latency_s=0.1, status=200, version="1", wrong=True))
    load = Load(sorted(seen, key=lambda one: one.done_s), seconds=9.0)

    assert load.longest_gap_s() == 4.0
    assert load.between(5.0, 8.5).longest_gap_s() == 2.5
    assert (load.wrong, len(load.failed), load.share_of("1")) == (1, 1, 1.0)
