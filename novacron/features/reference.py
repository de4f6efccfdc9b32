"""Says what each feature means, and renders the presets as the page `docs/features.md`."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from novacron.features.spec import (
    BANDWIDTH,
    CALENDAR_NAMES,
    CHANNEL_FAMILIES,
    CHANNEL_UNITS,
    LINK_FULL,
    FeatureSpec,
)


class FeatureDoc(NamedTuple):
    """A feature's name, its unit and its meaning in words."""

    name: str
    unit: str
    meaning: str


_CHANNEL: Final = "the channel's"

# Pattern of what follows `<channel>__`, unit, meaning; {0} and {1} stand for what it captured.
_MEANINGS: Final = (
    (r"lag_(\d+)", _CHANNEL, "sample {0} step(s) ago"),
    (r"diff_(\d+)", _CHANNEL, "newest sample minus the one {0} step(s) ago"),
    (r"change_ratio_(\d+)", "ratio", "newest sample over the one {0} step(s) ago, minus 1"),
    (r"(mean|min|max)_(\d+)", _CHANNEL, "{0} of the last {1} steps"),
    (r"std_(\d+)", _CHANNEL, "standard deviation (population) of the last {0} steps"),
    (r"skewness_(\d+)", "1", "skewness (population) of the last {0} steps"),
    (r"kurtosis_(\d+)", "1", "excess kurtosis (population) of the last {0} steps"),
    (r"q([\d.]+)_(\d+)", _CHANNEL, "{0} % quantile of the last {1} steps"),
    (r"ewma_([\d.]+)", _CHANNEL, "exponentially weighted mean, half-life {0} step(s)"),
    (r"steps_since_spike", "steps", "age of the newest sample above mean + 2 std of the window"),
    (r"spike_count", "samples", "number of samples above mean + 2 std of the window"),
    (r"dominant_cycles_per_step", "1/step", "strongest frequency of the detrended window"),
    (r"dominant_power_share", "0..1", "power at that frequency over all power"),
    (r"spectral_entropy", "0..1", "1 for white noise, near 0 for a pure wave"),
    (r"present_count", "samples", "samples present in the window"),
    (r"steps_since_present", "steps", "age of the newest present sample"),
    (r"log_level", "log", "logarithm of the EWMA level"),
    (r"log_ratio_lag_(\d+)", "log", "log of the sample {0} step(s) ago over the level"),
    (r"log_ratio_ewma_([\d.]+)", "log", "log of the EWMA of half-life {0} step(s) over the level"),
    (r"log_ratio_(mean|min|max|std)_(\d+)", "log", "{0} of the log ratios of the last {1} steps"),
    (
        r"log_ratio_volatility_(\d+)",
        "log",
        "root mean square change of the log ratio from step to step, last {0} steps",
    ),
)

_CALENDAR_MEANINGS: Final = dict(
    zip(
        CALENDAR_NAMES,
        (
            ("hours", "hour of the day, 0..23 UTC"),
            ("1", "sine of the time of day"),
            ("1", "cosine of the time of day"),
            ("days", "weekday, 0 (Monday)..6"),
            ("1", "sine of the time of week"),
            ("1", "cosine of the time of week"),
            ("0 or 1", "1 on Saturday and Sunday"),
        ),
        strict=True,
    )
)

_HEADER = """# Features

Written by `make proto` from `novacron/features/spec.py`. A feature is a function of the last samples
of one entity, up to its own time; training, streams and requests compute it by the same function.
Statistics are over present samples; a feature without the samples it needs is missing (NaN).
"""


def describe_feature(name: str) -> FeatureDoc:
    """Return unit and meaning of a feature of any spec.

    Raises:
        KeyError: No spec makes a feature of that name.
    """
    if name in _CALENDAR_MEANINGS:
        return FeatureDoc(name, *_CALENDAR_MEANINGS[name])
    channel, _, suffix = name.partition("__")
    for pattern, unit, meaning in _MEANINGS:
        found = re.fullmatch(pattern, suffix)
        if found and channel in CHANNEL_UNITS:
            shown = CHANNEL_UNITS[channel] if unit is _CHANNEL else unit
            return FeatureDoc(name, shown, meaning.format(*found.groups()))
    raise KeyError(name)


def render_page(presets: dict[str, FeatureSpec]) -> str:
    """Return the Markdown page: a section per preset, a row per feature of its first channel."""
    parts = [_HEADER]
    for title, spec in presets.items():
        parts.append(
            f"\n## {title}\n\n{len(spec.names)} features of {', '.join(spec.channels)} over "
            f"{spec.history} steps.\n"
        )
        each = [suffix for family in CHANNEL_FAMILIES for suffix in spec.suffixes(family)]
        parts.append(_table("each channel", spec.channels[0], each))
        parts += [_table(name, name, spec.suffixes("relative")) for name in spec.relative]
        if spec.calendar:
            parts.append(_table("the time", "", CALENDAR_NAMES))
    return "".join(parts)


def _table(owner: str, channel: str, suffixes: list[str] | tuple[str, ...]) -> str:
    lines = [f"\n| of {owner} | unit | meaning |\n|---|---|---|\n"]
    for suffix in suffixes:
        doc = describe_feature(f"{channel}__{suffix}" if channel else suffix)
        same = doc.unit == CHANNEL_UNITS.get(channel) and owner != channel
        unit = "of the channel" if same else doc.unit
        lines.append(f"| `{suffix}` | {unit} | {doc.meaning} |\n")
    return "".join(lines)


def main() -> None:
    """Write the page into the `docs/` beside this package."""
    page = Path(__file__).parents[2] / "docs" / "features.md"
    page.write_text(render_page({"LINK_FULL": LINK_FULL, "BANDWIDTH": BANDWIDTH}))


if __name__ == "__main__":
    main()
