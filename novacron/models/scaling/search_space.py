"""What may be searched of the scaling model, below `fit.model` of its training file."""

from typing import Final

from novacron.models.search_space import (
    FloatParameter,
    IntParameter,
    SearchSpace,
)

SPACE: Final = SearchSpace(
    model="scaling",
    block="fit.model",
    parameters=(
        IntParameter(
            name="forecast.rounds",
            default=90,
            low=20,
            high=300,
            log=True,
            why="rounds of the density, a tree a bin each",
        ),
        IntParameter(
            name="forecast.leaves",
            default=10,
            low=4,
            high=48,
            log=True,
            why="leaves of a tree of the density",
        ),
        FloatParameter(
            name="forecast.learning_rate",
            default=0.08,
            low=0.01,
            high=0.3,
            log=True,
            why="step of the density",
        ),
        FloatParameter(
            name="forecast.feature_share",
            default=0.3,
            low=0.1,
            high=1.0,
            why="share of the features a tree may use",
        ),
        FloatParameter(
            name="forecast.row_share",
            default=0.7,
            low=0.3,
            high=1.0,
            why="share of the rows a tree sees",
        ),
        IntParameter(
            name="forecast.min_rows_per_leaf",
            default=40,
            low=5,
            high=400,
            log=True,
            why="fewest rows in a leaf",
        ),
        FloatParameter(
            name="forecast.l2",
            default=5.0,
            low=0.1,
            high=100.0,
            log=True,
            why="shrinks leaves",
        ),
        IntParameter(
            name="forecast.member_rounds",
            default=80,
            low=20,
            high=300,
            log=True,
            why="trees of the forest and of the boosted mean",
        ),
        FloatParameter(
            name="risk_days",
            default=10.0,
            low=2.0,
            high=28.0,
            log=True,
            why="past over which the margin is calibrated; less follows change sooner",
        ),
        FloatParameter(
            name="time_of_day_weight",
            default=0.5,
            low=0.0,
            high=1.0,
            why="weight of the same time of day in that calibration",
        ),
        FloatParameter(
            name="time_of_day_h",
            default=2.0,
            low=0.5,
            high=6.0,
            log=True,
            why="half width of what counts as the same time of day",
        ),
    ),
)
