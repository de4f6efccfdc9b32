"""What may be searched of a policy's training, by RLlib or by the own loop, below `ppo`."""

from typing import Final

from novacron.models.search_space import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    SearchSpace,
)

SPACE: Final = SearchSpace(
    model="policy",
    block="ppo",
    parameters=(
        FloatParameter(
            name="learning_rate",
            default=1e-3,
            low=3e-4,
            high=2e-2,
            log=True,
            why="step of network and value function; falls linearly to zero",
        ),
        FloatParameter(
            name="gamma",
            default=0.0,
            low=0.0,
            high=0.99,
            why="weight of later intervals; 0 judges a setting by its own",
        ),
        FloatParameter(
            name="gae_lambda",
            default=0.95,
            low=0.8,
            high=1.0,
            why="how far advantages look beyond the value function",
        ),
        FloatParameter(
            name="clip",
            default=0.2,
            low=0.05,
            high=0.5,
            why="furthest the policy moves in one update",
        ),
        FloatParameter(
            name="entropy_weight", default=0.0, low=0.0, high=0.02, why="reward for exploring"
        ),
        FloatParameter(
            name="log_std_start",
            default=-0.5,
            low=-2.5,
            high=0.0,
            why="spread of the first actions; 0 explores the corners of the cube",
        ),
        FloatParameter(
            name="grad_clip",
            default=0.5,
            low=0.1,
            high=5.0,
            log=True,
            why="longest step of an update",
        ),
        IntParameter(name="epochs", default=4, low=1, high=8, why="passes over each batch"),
        IntParameter(
            name="batch_steps",
            default=4096,
            low=1024,
            high=8192,
            step=1024,
            why="interactions between two updates; more are steadier and fewer",
        ),
        IntParameter(
            name="minibatch_steps",
            default=1024,
            low=256,
            high=2048,
            step=128,
            why="rows of a gradient step",
        ),
        CategoricalParameter(
            name="hidden",
            default=(128, 128),
            choices=((32, 32), (64, 64), (128, 128), (128,)),
            why="units of the tanh layers",
        ),
        IntParameter(
            name="frames",
            default=4,
            low=1,
            high=4,
            why="latest frames of the observation that the policy reads",
        ),
    ),
)
