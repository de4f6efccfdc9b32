"""What may be searched of the pattern recogniser, below `fit` of its training file."""

from typing import Final

from novacron.models.search_space import (
    FloatParameter,
    IntParameter,
    SearchSpace,
)

SPACE: Final = SearchSpace(
    model="patterns",
    block="fit",
    parameters=(
        IntParameter(
            name="trees",
            default=150,
            low=25,
            high=400,
            log=True,
            why="trees of the forest; more are steadier, larger and slower",
        ),
        IntParameter(
            name="leaf_windows",
            default=2,
            low=1,
            high=20,
            log=True,
            why="fewest windows in a leaf; more smooth the probabilities",
        ),
        FloatParameter(
            name="feature_ratio",
            default=0.3,
            low=0.05,
            high=1.0,
            why="share of the evidence a split may choose from",
        ),
        IntParameter(
            name="train_each",
            default=300,
            low=100,
            high=600,
            log=True,
            why="generated windows of each type to learn from",
        ),
    ),
)
