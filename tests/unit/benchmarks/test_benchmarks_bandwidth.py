import json

import numpy as np
import pytest

from benchmarks import bandwidth
from benchmarks.bandwidth_scores import fit_baselines, has_skill
from benchmarks.bandwidth_sets import generated_sets, white_noise_set
from benchmarks.results_format import Metric


@pytest.mark.learn
@pytest.mark.slow
def test_the_quick_benchmark_reports_every_figure_and_no_skill_on_noise(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.delenv("NOVACRON_DATA_DIR", raising=False)

    bandwidth.main(["--quick", "--out", str(tmp_path)])

    result = json.loads((tmp_path / "bandwidth.json").read_text())
    found = {(m["set"], m["name"]): m for m in result["metrics"]}
    for name in ("wape_ratio_to_ewma", "wql_ratio_to_ewma_band", "coverage_80"):
        for member in ("", "_lstm", "_lightgbm"):
            metric = found["synthetic", name + member]
            assert metric["lo"] <= metric["value"] <= metric["hi"]
    assert found["white_noise", "wape_ratio_to_best_baseline"]["hi"] >= 1
    assert any("no skill" in note for note in result["notes"])
    assert any("generated" in note for note in result["notes"])
    assert result["data_sha256"].startswith("generated:")
    assert (tmp_path / "bandwidth.png").stat().st_size < 100_000
    assert "| coverage_80 | synthetic |" in capsys.readouterr().out


def metric(hi):
    return Metric(
        name="wape_ratio_to_best_baseline",
        set="s",
        value=0.9,
        lo=0.8,
        hi=hi,
        n=9,
        baseline="EWMA",
    )


def test_skill_needs_an_interval_below_one():
    assert has_skill([metric(0.99)], "s")
    assert not has_skill([metric(1.001)], "s")


def test_held_back_traces_are_not_trained_on():
    for chosen in (*generated_sets(3, links=10, hours=0.2), white_noise_set(3, samples=50)):
        for path_class, train in chosen.train.items():
            known = {trace.trace_id for trace in train}
            assert not known & {trace.trace_id for trace in chosen.test[path_class]}


def test_the_mean_so_far_wins_on_white_noise():
    noise = white_noise_set(5, traces=10)
    fitted = fit_baselines(noise.train["white_noise"], 5)
    x = np.asarray(noise.test["white_noise"][0].bandwidth_mbps)

    errors = {
        name: np.abs(x[60:-5] - f.forecast(x)[59:-6, 0, 1]).sum()
        for name, f in fitted.items()
        if name in ("last", "harmonic", "mean_so_far")
    }

    assert min(errors, key=errors.__getitem__) == "mean_so_far"
