import json

import numpy as np
import pytest

from benchmarks import performance
from benchmarks.performance_stages import hindsight
from novacron.models.performance.scores import ScoredRows


@pytest.mark.learn
@pytest.mark.slow
def test_the_quick_benchmark_reports_every_figure_beside_its_baseline(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.delenv("NOVACRON_DATA_DIR", raising=False)

    performance.main(["--quick", "--out", str(tmp_path)])

    result = json.loads((tmp_path / "performance.json").read_text())
    found = {(m["name"], m["set"]): m for m in result["metrics"]}
    for name in ("wape_ratio_to_ewma", "degradation_brier_skill", "coverage_80"):
        metric = found[name, performance.KNOWN]
        assert metric["lo"] <= metric["value"] <= metric["hi"]
    for count in (0, 1, 2, 5, 10):
        assert (f"wape_mean_after_{count}", performance.UNSEEN) in found
        assert (f"wape_mean_after_{count}_own_or_peers", performance.UNSEEN) in found
    assert ("wape_ratio_to_ewma_lstm", performance.KNOWN) in found
    assert ("wape_ratio_to_ewma_lstm_1", performance.KNOWN) in found
    assert result["data_sha256"].startswith("generated:")
    for picture in ("reliability", "fans", "own_samples"):
        assert (tmp_path / f"performance_{picture}.png").stat().st_size < 200_000
    assert "reached" in (tmp_path / "performance.html").read_text()
    assert "| coverage_80 |" in capsys.readouterr().out


def test_no_flat_forecast_beats_the_median_known_afterwards():
    rng = np.random.default_rng(0)
    actual = rng.exponential(1, 200)
    scored = ScoredRows(
        actual_N=actual,
        cell_N=np.repeat([0, 1], 100),
        vm_N=np.repeat([0, 1], 100),
        value={"flat": np.full(200, 0.5)},
    )

    told = hindsight(scored)

    assert told.errors("hindsight").sum() <= told.errors("flat").sum()


def test_long_names_of_benchmarks_become_short_ones():
    name = (
        "Flexible_IO_Tester|Type:_Random_Read_-_IO_Engine:_Sync_-_Buffered:_Yes_-_Direct:_No_-_"
        "Block_Size:_8KB_-_Local_Disk"
    )

    assert performance.short_name(name) == "fio Random Read Sync 8KB Local Disk"
