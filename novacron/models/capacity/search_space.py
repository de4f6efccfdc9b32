"""What may be searched of the capacity planner, below `fit` of its training file."""

from typing import Final

from novacron.models.search_space import (
    IntParameter,
    SearchSpace,
)

SPACE: Final = SearchSpace(
    model="capacity",
    block="fit",
    parameters=(
        IntParameter(
            name="rounds",
            default=150,
            low=30,
            high=600,
            log=True,
            why="trees of each booster",
        ),
        IntParameter(
            name="places",
            default=16,
            low=4,
            high=32,
            why="origins per series at which the ensemble is tried; more weigh it better, slower",
        ),
        IntParameter(
            name="trials",
            default=4,
            low=1,
            high=6,
            why="trials before each of those origins; more trust the series itself",
        ),
    ),
)
