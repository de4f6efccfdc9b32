"""The HTML page of a benchmark: what it shows, what it refuses, and that it loads nothing."""

import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from benchmarks.report_page import (
    Goal,
    Picture,
    Section,
    plain_sections,
    render_report,
    write_report,
)
from benchmarks.results_format import BenchmarkResult, Metric

METRICS = (
    Metric(name="wape", set="fcc", value=0.91, lo=0.88, hi=0.94, n=1200, baseline="EWMA"),
    Metric(name="wape", set="lte", value=0.98, lo=0.95, hi=1.01, n=7, baseline="EWMA"),
    Metric(name="rows_per_s", set="a <b>", value=612_345.0, n=3, baseline="pandas & co"),
)
RESULT = BenchmarkResult(
    theme="sample", command="make bench-sample", seeds=(0,), data_sha256="generated:0",
    machine={"cores": 2}, versions={"numpy": "2"}, metrics=METRICS, notes=("Lost on `lte`.",),
)  # fmt: skip


def cells(page: str) -> list[list[str]]:
    """Return the text of each table row, as a browser would split it."""

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[list[str]] = []

        def handle_starttag(self, tag, attrs):
            if tag == "tr":
                self.rows.append([])
            elif tag in {"td", "th"}:
                self.rows[-1].append("")

        def handle_data(self, data):
            if self.rows and self.rows[-1]:
                self.rows[-1][-1] += data

    reader = Reader()
    reader.feed(page)
    return reader.rows


def render(*sections: Section, goals=None) -> str:
    return render_report(RESULT, sections, title="Sample", goals=goals or {})


def test_a_row_shows_value_interval_n_baseline_goal_and_whether_it_is_reached():
    page = render(
        Section(title="Skill", metrics=("wape",)),
        goals={"wape": Goal(high=1.0, whole_interval=True)},
    )

    assert cells(page)[1] == [
        "wape", "fcc", "0.91", "0.88 .. 0.94", "1,200", "EWMA", "at most 1, whole interval", "yes",
    ]  # fmt: skip
    assert cells(page)[2][-1].startswith("no")


def test_a_goal_for_one_set_goes_before_the_goal_of_the_metric():
    goals = {"wape": Goal(high=0.5), ("wape", "lte"): Goal(low=0.9, high=0.99)}

    page = render(Section(title="Skill", metrics=("wape",)), goals=goals)

    assert [row[-1][:3] for row in cells(page)[1:3]] == ["no", "yes"]


def test_a_table_without_goals_has_no_empty_columns():
    assert len(cells(render(Section(title="Skill", metrics=("wape",))))[0]) == 6


def test_a_metric_that_was_not_measured_is_refused():
    with pytest.raises(KeyError, match="mase"):
        render(Section(title="Skill", metrics=("mase",)))
    with pytest.raises(KeyError, match="puffer"):
        render(Section(title="Skill", metrics=("wape",), sets=("puffer",)))


def test_names_from_the_data_are_text_and_never_markup():
    page = render(Section(title="<script>", metrics=("rows_per_s",)))

    assert "<script>" not in page
    assert "a &lt;b&gt;" in page
    assert "pandas &amp; co" in page


def test_the_page_is_one_file_that_loads_nothing_and_fits_a_phone(tmp_path):
    picture = tmp_path / "sample_fan.png"
    Figure(figsize=(1, 1)).savefig(picture)

    path = write_report(
        RESULT, plain_sections(RESULT, tmp_path), title="Sample", directory=tmp_path
    )
    page = path.read_text()

    assert path.name == "sample.html"
    assert all(source.startswith("data:") for source in re.findall(r"src='([^']*)", page))
    assert not re.search(r"https?://|<script|<link|@import", page)
    assert "default-src 'none'" in page
    assert "width=device-width" in page
    assert "alt='sample fan'" in page


def test_the_protocol_the_machine_and_the_command_stand_on_every_page():
    page = render()

    assert "<code>make bench-sample</code>" in page
    assert "<li>Lost on <code>lte</code>.</li>" in page
    assert "cores 2" in page


def test_a_missing_picture_is_an_error_and_not_a_hole(tmp_path):
    picture = Picture(path=tmp_path / "gone.png", caption="gone")

    with pytest.raises(FileNotFoundError):
        render(Section(title="Fan", pictures=(picture,)))
