"""The quick form of what a replica remembers, measured: every row is there, and what must hold holds."""

from benchmarks.rollout.memory import measure_predictions, measure_samples
from benchmarks.rollout.parts import Bench


def test_the_quick_benchmark_measures_every_row_and_the_musts_hold(tmp_path):
    bench = Bench(work=tmp_path, quick=True, say=lambda _: None)
    found = [*measure_samples(bench).metrics, *measure_predictions(bench).metrics]
    rows = {(row.name, row.set): row.value for row in found}

    for where in (
        "replica_open_all_along",
        "replica_in_another_process",
        "restart_after_sigkill",
    ):
        assert rows["stream_features_max_abs_difference", where] <= 1e-9
    assert rows["stream_acknowledged_rows_lost", "sigkill"] == 0
    assert rows["log_rows_lost_told_wrong", "largest"] <= 1
    for case in ("disk_stalls", "disk_refuses", "buffer_is_full"):
        assert rows["log_answers_blocked", case] == 0
    assert rows["stream_bytes_per_entity", "arrays"] < 5200
    assert rows["log_us_per_answer", "the_call_alone"] > 0
    assert rows["stream_ingest_rows_per_cpu_s", "batches_of_1000"] > 0
