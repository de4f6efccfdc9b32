"""The report of a search in a real browser: it opens from disk, and its pictures are drawn."""

import json
import shutil
import subprocess
from pathlib import Path

import matplotlib.image
import pytest
from search_document import document, planted

from tuning.report import write_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]


def test_the_report_opens_from_disk_with_text_and_pictures(tmp_path: Path):
    (tmp_path / "results.json").write_text(json.dumps(document(planted())))
    page = write_report(tmp_path)
    shot = tmp_path / "shot.png"

    subprocess.run(
        [
            "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,2600",
            f"--screenshot={shot}", page.as_uri(),
        ],
        check=True, capture_output=True, timeout=100,
    )  # fmt: skip

    seen = matplotlib.image.imread(shot)[..., :3]
    # The blue of the points and the red of the best so far are only in the pictures.
    blue = (abs(seen - [0.122, 0.435, 0.698]).max(axis=2) < 0.03).sum()
    red = (abs(seen - [0.702, 0.149, 0.118]).max(axis=2) < 0.03).sum()
    assert blue > 200
    assert red > 200
