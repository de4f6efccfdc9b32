"""Settings of PPO, the same for RLlib and for the loop of this room."""

from pydantic import BaseModel, ConfigDict, Field


class PpoConfig(BaseModel):
    """Proximal policy optimisation (Schulman et al. 2017) of a Gaussian policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env_steps: int = Field(1_000_000, ge=1)
    """Interactions to learn from; rounded up to whole batches."""
    num_envs: int = Field(256, ge=1)
    peers: int = Field(1, ge=1)
    """Environments that learn in the same world on the same random numbers, each from its gain over
    the others': what chance does to all is not learnt from. A divisor of `num_envs`."""
    batch_steps: int = Field(4096, ge=1)
    """Interactions between two updates, over all environments."""
    minibatch_steps: int = Field(1024, ge=1)
    epochs: int = Field(4, ge=1)
    hidden: tuple[int, ...] = (128, 128)
    """Units of the tanh layers, of policy and value function alike."""
    whitening_floor: float | None = Field(None, gt=0)
    """Standard deviation in the [-1, 1] of observations below which differences stay small to the
    first layer, which else sees its inputs whitened; none: it sees them as they are."""
    symmetric: bool = False
    """Whether the network answers alike however the paths are numbered: targets with paths only."""
    learning_rate: float = Field(1e-3, gt=0)
    """Falls linearly to zero."""
    gamma: float = Field(0.0, ge=0, lt=1)
    """0 judges a setting by the interval it was set for."""
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip: float = Field(0.2, gt=0)
    entropy_weight: float = Field(0.0, ge=0)
    log_std_start: float = Field(-0.5, ge=-5, le=1)
    """Log standard deviation of the first actions, in the unit cube: 0 explores its corners."""
    grad_clip: float = Field(0.5, gt=0)
    frames: int = Field(4, ge=1, le=4)
    """Latest frames of the observation that the policy reads; the others are masked out."""
    max_cost_increase_ratio: float | None = Field(0.10, ge=0)
    """Limit of the cost increase over the shipped defaults that rewards keep to; none: no limit."""
    seed: int = Field(0, ge=0)
