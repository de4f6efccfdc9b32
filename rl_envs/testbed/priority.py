"""Real-time priority for the link and its ends, so that other load does not disturb a run."""

import os
from typing import Final

EMULATOR_PRIORITY: Final = 30
ENDPOINT_PRIORITY: Final = 20
"""Ends give way to links: a late packet falsifies a run, a late read does not."""


def take_priority(level: int) -> str:
    """Run this process before ordinary ones; returns what the system granted.

    Real time where it may, the best nice value else, and `ordinary` where neither is allowed.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(level))
    except OSError:
        try:
            os.nice(-20)
        except OSError:
            return "ordinary"
        return "nice -20"
    return f"real time {level}"
