"""Renders the telemetry tables as the page `docs/telemetry-tables.md`, so that it cannot drift."""

from collections.abc import Iterable
from pathlib import Path

from novacron.contracts.fields import FieldSpec, SampleSchema
from novacron.contracts.telemetry import SCHEMAS

_HEADER = """# Telemetry tables

Written by `make proto` from `novacron/contracts/telemetry.py`; decoding, validation, features and the
protobuf schema read the same tables. Units are in the names, ratios lie in 0..1, times are UTC.
"""


def render_tables(schemas: Iterable[SampleSchema]) -> str:
    """Return the Markdown page: one table per schema, one row per column in order."""
    parts = [_HEADER]
    for schema in schemas:
        parts += [
            f"\n## {schema.name}\n",
            f"\nOne row per measurement of one `{schema.entity}`.\n",
            "\n| column | unit | accepted | required | on the grid | meaning |\n",
            "|---|---|---|---|---|---|\n",
        ]
        parts += [_row(field) for field in schema]
    return "".join(parts)


def _row(field: FieldSpec) -> str:
    required = "yes" if field.required else ""
    return (
        f"| `{field.name}` | {field.unit} | {field.expected} | {required} "
        f"| {field.aggregate} | {field.doc} |\n"
    )


def main() -> None:
    """Write the page into the `docs/` beside this package."""
    page = Path(__file__).parents[2] / "docs" / "telemetry-tables.md"
    page.write_text(render_tables(SCHEMAS.values()))


if __name__ == "__main__":
    main()
