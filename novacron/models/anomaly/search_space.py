"""What may be searched of the anomaly detector, below `fit.detector` of its training file."""

from typing import Final

from novacron.models.search_space import (
    FloatParameter,
    IntParameter,
    SearchSpace,
)

SPACE: Final = SearchSpace(
    model="anomaly",
    block="fit.detector",
    parameters=(
        IntParameter(
            name="forest.trees",
            default=96,
            low=16,
            high=192,
            log=True,
            why="trees of the value and residual forests; more are steadier and slower",
        ),
        IntParameter(
            name="forest.subspace_trees",
            default=32,
            low=4,
            high=64,
            log=True,
            why="trees of the PCA-residual forest",
        ),
        IntParameter(
            name="forest.samples",
            default=256,
            low=64,
            high=1024,
            log=True,
            why="rows of a tree; fewer see coarser shapes",
        ),
        IntParameter(
            name="forest.refit_samples",
            default=512,
            low=256,
            high=2048,
            step=128,
            why="most samples between two fits; fewer follow change sooner",
        ),
        IntParameter(
            name="forest.history",
            default=4000,
            low=1024,
            high=8192,
            log=True,
            why="newest samples a fit may use; more remember longer",
        ),
        IntParameter(
            name="tail_history",
            default=8000,
            low=1024,
            high=16384,
            log=True,
            why="newest scores that a tail is fitted on",
        ),
        FloatParameter(
            name="episodes.quiet_h",
            default=12.0,
            low=1.0,
            high=24.0,
            log=True,
            why="quiet time that ends an episode; longer joins more into one",
        ),
        IntParameter(
            name="episodes.confirm_samples",
            default=1,
            low=1,
            high=4,
            why="samples in a row before an alert; more are surer and later",
        ),
        FloatParameter(
            name="episodes.escalation_ratio",
            default=2.0,
            low=1.1,
            high=4.0,
            why="rise of the score that alerts again inside an episode",
        ),
        FloatParameter(
            name="episodes.calm_h",
            default=6.0,
            low=1.0,
            high=12.0,
            log=True,
            why="calm time after which a smaller rise alerts again",
        ),
        FloatParameter(
            name="episodes.calm_ratio",
            default=1.25,
            low=1.0,
            high=2.5,
            why="that smaller rise",
        ),
    ),
)
