"""Renders the search spaces as the page `docs/tuning-spaces.md`: `python -m tuning.reference`."""

from pathlib import Path
from typing import Final

from novacron.models.search_space import SearchSpace
from tuning.spaces import SPACES, space_of

PAGE: Final = Path(__file__).parents[1] / "docs" / "tuning-spaces.md"

_HEADER: Final = """# Search spaces

Written by `python -m tuning.reference` from the `search_space.py` beside each model's config. A search
starts from the defaults, which are those of the config; names are paths below the given block of the
training file. A parameter with a condition counts only where it holds.
"""


def render_page(spaces: list[SearchSpace]) -> str:
    """Return the Markdown page: a section per space, a row per parameter."""
    parts = [_HEADER]
    for space in spaces:
        parts.append(
            f"\n## {space.model}\n\n{len(space)} parameters below `{space.block}`.\n\n"
            "| parameter | range | scale | default | counts if | what it does |\n"
            "|---|---|---|---|---|---|\n"
        )
        parts += [
            f"| `{name}` | {shown} | {scale} | {default} | {when} | {why} |\n"
            for name, shown, scale, default, when, why in space.table()
        ]
    return "".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.write_text(render_page([space_of(model) for model in SPACES]))


if __name__ == "__main__":
    main()
