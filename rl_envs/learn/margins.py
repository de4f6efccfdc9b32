"""Chooses a guard's margins for one part, on validation paths: the most gain within a bound of harm.

In the manner of conformal risk control (Angelopoulos et al. 2022): the share of harmed worlds is
bounded with the one world more that was not seen.
"""

from itertools import product
from typing import Final

import numpy as np

from novacron.models.policy.config import GuardConfig
from novacron.models.policy.part import TargetPart
from rl_envs.evaluate import WORSE_BY_2_PERCENT, Worlds, play
from rl_envs.guarded import REPLAYED, GuardedController

SURE_GAINS_NATS: Final = (-0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
CANARY_MARGINS_NATS: Final = (0.1, 0.2)
REPLAY_SURE_GAINS_NATS: Final = (0.05, 0.1, 0.12, 0.15, 0.17, 0.2, 0.25, 0.3, 0.5)
REPLAY_TRIP_NATS: Final = 0.5
"""Where no canary runs, chance moves the gain of an interval further than a setting does."""
MAX_HARMED_RATIO: Final = 0.004
"""Share of validation worlds that may fare worse than the defaults by over 2 %."""
MAX_HARM: Final = 0.04
"""Worst validation world's change of the objective; the published limits are 0.5 % and 5 %."""
REPLAY_MAX_HARM: Final = 0.05
WORST_OF: Final = 512
"""Where no canary runs, the worst of so many worlds: chance alone takes some further."""
REPLAY_WORLDS: Final = 3
"""Times as many worlds where no canary runs: playing them is cheap, and gains are small."""
VALIDATION_SEED: Final = 40_511


def choose_margins(part: TargetPart, worlds: int, *, decisions: int = 6) -> GuardConfig:
    """Return the margins with the highest guarded gain whose harm stays within the bounds.

    Where none does, those that harm least.
    """
    replays = part.card.target in REPLAYED
    worlds = worlds * REPLAY_WORLDS if replays else worlds
    most = REPLAY_MAX_HARM if replays else MAX_HARM
    validation = Worlds(
        target=part.card.target, worlds=worlds, decisions=decisions, split="validation",
        seed=VALIDATION_SEED,
    )  # fmt: skip
    best: tuple[tuple[bool, float], GuardConfig] | None = None
    for config in candidates(part.card.target):
        episode_N = play(GuardedController(part, config), validation).reward_KN.mean(axis=0)
        harmed = (np.sum(episode_N < WORSE_BY_2_PERCENT) + 1.0) / (worlds + 1.0)
        tail = np.quantile(episode_N, 1.0 / WORST_OF if replays else 0.0, method="lower")
        worst = float(-np.expm1(min(tail, 0.0)))
        fits = bool(harmed <= MAX_HARMED_RATIO and worst <= most)
        rank = (fits, float(episode_N.mean()) if fits else -max(harmed, worst))
        if best is None or rank > best[0]:
            best = rank, config
    if best is None:
        raise AssertionError("there are margins to choose from")
    return best[1]


def candidates(target: str) -> list[GuardConfig]:
    """Return the margins that are tried for a target."""
    if target in REPLAYED:
        return [
            GuardConfig(sure_gain_nats=sure, trip_loss_nats=REPLAY_TRIP_NATS)
            for sure in REPLAY_SURE_GAINS_NATS
        ]
    return [
        GuardConfig(sure_gain_nats=sure, canary_margin_nats=canary)
        for sure, canary in product(SURE_GAINS_NATS, CANARY_MARGINS_NATS)
    ]
