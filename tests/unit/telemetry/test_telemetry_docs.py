from pathlib import Path

from novacron.telemetry.quarantine import REASONS

PAGE = Path(__file__).parents[3] / "docs" / "telemetry.md"


def test_the_page_lists_every_reason_with_its_meaning():
    lines = PAGE.read_text().splitlines()

    listed = [line for line in lines if line.startswith("| `") and line.count("|") == 3]

    expected = [f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items()]
    assert [line for line in listed if line in expected] == expected
