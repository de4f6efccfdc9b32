import json

import pytest

from benchmarks import bandwidth_paths


@pytest.mark.learn
def test_the_quick_form_measures_every_channel_modes_and_streams(tmp_path, capsys):
    assert bandwidth_paths.main(["--quick", "--out", str(tmp_path)]) == 0

    metrics = json.loads((tmp_path / "bandwidth_paths.json").read_text())["metrics"]
    sets = {metric["set"] for metric in metrics if metric["name"] == "coverage_80"}
    assert {f"synthetic {channel}" for channel in ("rtt_ms", "loss_ratio", "jitter_ms")} < sets
    changes = next(one for one in metrics if one["name"] == "mode_changes_per_h")
    assert changes["value"] < float(changes["baseline"].rsplit(" ", 1)[1])
    streams = [one["value"] for one in metrics if one["name"] == "streams_for_400_mbps"]
    assert streams[0] < streams[-1]
    assert (tmp_path / "bandwidth_paths.html").exists()
