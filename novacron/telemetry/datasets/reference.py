"""Renders the catalogue as the page `docs/datasets.md`, so that it cannot drift from the code."""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from novacron.telemetry.datasets.catalogue import DATASETS, DataSet, TableEntry

_HEADER: Final = """# Public data sets

Written by `make proto` from the catalogue in `novacron/telemetry/datasets/`. None of the data ships
with this project: get each set from its publisher, write it to the Parquet files named here with the
columns its adapter reads, and point `NOVACRON_DATA_DIR` at the folder that holds one sub-folder per
set. `novacron data list` shows which sets are there.

Each table is loaded by `dataset(name).load(folder, table)`. Link and node tables have the columns of
[the telemetry tables](telemetry-tables.md); the others have columns of their own with the unit in
each name. `.rejected` holds every native row that was left out, by reason; `.masked` counts cells
that held a sentinel and are now missing. Sources without a clock start at 2001-01-01 UTC.
"""
_KINDS: Final = {"link": "link telemetry", "node": "node telemetry", "own": "own columns"}


def render_datasets(datasets: Iterable[DataSet]) -> str:
    """Return the Markdown page: one section per data set, one entry per table."""
    parts = [_HEADER]
    for entry in datasets:
        parts += [
            f"\n## {entry.name}\n\n",
            f"For {entry.purpose}. Source: {entry.source}. Licence: {entry.licence}.\n\n",
        ]
        parts += [_table(name, table) for name, table in entry.tables.items()]
    return "".join(parts)


def _table(name: str, table: TableEntry) -> str:
    files = ", ".join(f"`{file}`" for file in table.files)
    return f"- `{name}` ({_KINDS[table.schema]}; {files}): {_contract(table)}\n"


def _contract(table: TableEntry) -> str:
    """Return what the adapter's docstring says, up to its sections, on one line."""
    text = inspect.getdoc(getattr(table.adapt, "func", table.adapt)) or ""
    body = re.split(r"\n(?:Args|Returns|Raises):\n", text)[0]
    words = " ".join(body.split()).removeprefix("Return ")
    return words[:1].upper() + words[1:]


def main() -> None:
    """Write the page into the `docs/` beside this package."""
    page = Path(__file__).parents[3] / "docs" / "datasets.md"
    page.write_text(render_datasets(DATASETS.values()))


if __name__ == "__main__":
    main()
