"""The report of a search: what it shows, of finished and unfinished searches, from the results alone."""

import json
import re

import pytest
from search_document import document, planted, trial

from tuning.importance import importances
from tuning.report import main, report_files, write_report


def test_the_planted_parameter_is_the_most_important_one():
    ranked = importances(document(planted(60)))

    assert ranked[0].name == "rate"
    assert ranked[0].fanova > 0.9
    assert max(ranked, key=lambda one: one.ped_anova).name == "rate"
    assert sum(one.fanova for one in ranked) == pytest.approx(1.0)


def test_nothing_is_said_of_few_or_equal_trials():
    assert importances(document(planted(4))) == ()
    alike = [one | {"metrics": {"loss": 1.0, "size": 1.0}} for one in planted()]
    assert importances(document(alike)) == ()


def test_the_page_is_whole_loads_nothing_and_escapes_what_it_shows():
    trials = [*planted(), trial(24, {"rate": 0.5, "width": 3}, None, state="failed")]
    decision = {
        "number": 3, "is_gain": True, "reason": "Setting 3 holds & stays.", "winner": 3,
        "level": 0.95, "difference": {"loss": {"value": -0.1, "lo": -0.2, "hi": -0.05, "n": 9}},
        "winner_scores": {"loss": 0.4}, "default_scores": {"loss": 0.5},
    }  # fmt: skip

    files = report_files(document(trials, decision=decision))
    page = files["index.html"].decode()

    assert set(files) == {
        "index.html", "history.png", "coordinates.png", "slices.png", "importance.png"
    }  # fmt: skip
    assert all(data.startswith(b"\x89PNG") for name, data in files.items() if name != "index.html")
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r"(?:src|href)=['\"]https?:|<script|<link", page)
    assert "Setting 3 holds &amp; stays." in page
    assert "boom &lt;b&gt;" in page
    assert "-0.1 (-0.2 .. -0.05)" in page


def test_a_second_metric_brings_the_pareto_front():
    files = report_files(document(planted(), metrics=("loss", "size")))

    assert "pareto.png" in files


def test_a_search_without_a_finished_setting_still_has_a_report():
    one = trial(0, {"rate": 0.1, "width": 3, "kind": "a"}, 0.5, state="unfinished", step=1)

    for trials in ([], [one]):
        files = report_files(document(trials))
        assert "No choice was made yet" in files["index.html"].decode()


def test_a_folder_gets_its_report_and_one_without_results_is_refused(tmp_path, capsys):
    (tmp_path / "results.json").write_text(json.dumps(document(planted(8))))

    page = write_report(tmp_path)

    assert page == tmp_path / "report" / "index.html"
    assert (page.parent / "history.png").exists()
    assert main([str(tmp_path / "nothing")]) == 2
    assert "results.json" in capsys.readouterr().err
