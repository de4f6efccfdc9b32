"""What each type of pattern means, what is derived from it, and what cannot be defined."""

from typing import Final

TYPES: Final[dict[str, str]] = {
    "steady_state": "One level plus noise that forgets itself within about two samples.",
    "periodic": "One waveform repeats with one fixed period, at least three times, in heights "
    "that may vary, on a level that may drift.",
    "cyclic": "It swings up and down with a typical length but no fixed period: the phase is lost "
    "within about two swings.",
    "bursty": "It leaves a floor upwards at least four times, at random moments, each time for at "
    "most 4 % of the window.",
    "spike": "It leaves its level upwards once, for at most 1 % of the window.",
    "valley": "It falls below its level once, for 5 to 40 % of the window, and comes back.",
    "plateau": "It rises above its level once, holds 8 to 45 % of the window, and comes back.",
    "level_shift": "It moves once to another level, up or down, within 2 % of the window, and "
    "stays.",
    "linear_growth": "The mean is a rising straight line.",
    "linear_decline": "The mean is a falling straight line.",
    "exponential_growth": "The mean grows like exp(r t) above a floor, 12-fold or more over the "
    "window.",
    "exponential_decay": "The mean falls like exp(-r t) to a floor, 12-fold or more over the "
    "window.",
    "irregular": "The level itself moves without direction: it wanders or jumps and forgets itself "
    "within 1 to 6 % of the window, or walks at random.",
}
"""The types that are told apart. Each describes the process, so a generator can make it."""

NAMES: Final = tuple(TYPES)

TREND_DIRECTION: Final[dict[str, str]] = {
    "linear_growth": "up",
    "exponential_growth": "up",
    "linear_decline": "down",
    "exponential_decay": "down",
}
"""`trending` is any of these; it needs no type of its own."""

CALENDAR_S: Final[dict[str, float]] = {"hourly": 3600.0, "daily": 86_400.0, "weekly": 604_800.0}
"""`seasonal` is periodic with a period of the calendar; the clock tells, not the shape."""

CALENDAR_TOLERANCE_RATIO: Final = 0.02

NOT_DEFINED: Final[dict[str, str]] = {
    "batch_processing": "Says who waits for the work, which usage does not show.",
    "real_time": "Says which deadline holds, which usage does not show.",
    "interactive": "Says who waits for the work, which usage does not show.",
    "background": "Says how urgent the work is, which usage does not show.",
    "unknown": "Not a pattern: a low confidence, or an error, says that nothing was recognised.",
}
"""Documented types that no window of usage can decide, and why."""


def season_of(period_s: float) -> str:
    """Return the calendar period that `period_s` is, within 2 %, or an empty string."""
    for name, length_s in CALENDAR_S.items():
        if abs(period_s / length_s - 1) <= CALENDAR_TOLERANCE_RATIO:
            return name
    return ""
