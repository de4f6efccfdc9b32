"""What a rollout is to do and what it may not do: settings with bounds."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

Share = Annotated[FiniteFloat, Field(gt=0, le=1)]


def _rising(stages: tuple[float, ...]) -> tuple[float, ...]:
    if list(stages) != sorted(set(stages)):
        raise ValueError("each stage must be larger than the one before")
    return stages


class RolloutPlan(BaseModel):
    """Stages, windows and limits of one rollout."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["canary", "shadow", "ab"] = "canary"
    """`canary` sends growing shares and promotes; `shadow` answers nobody and reports; `ab` keeps
    the shares of `weights` and names a winner."""
    stages: Annotated[tuple[Share, ...], AfterValidator(_rising)] = (0.1, 0.5, 1.0)
    """Shares of a canary, in this order."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Version to share of an A/B test; they sum to 1."""
    window_s: float = Field(default=60.0, gt=0)
    """Shortest time between two decisions to go on. To go back takes no window: the tests may be
    looked at at any time."""
    windows: int = Field(default=1, ge=1)
    """Good windows that a stage takes."""
    min_requests: int = Field(default=200, ge=1)
    """Requests that the tried version must have answered in a stage before it goes on."""
    max_windows: int = Field(default=30, ge=1)
    """Windows with enough traffic after which a stage that cannot be shown good is given up."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance that a version as good as the stable one is sent back, over the whole rollout."""
    error_rate_limit: float = Field(default=0.005, gt=0, lt=1)
    """Share of requests that the version may fail, unless the stable one fails as many."""
    p95_ratio_limit: float = Field(default=1.2, ge=1.02, le=100)
    """How many times the stable version's 95th percentile of latency is still fine; to 2.3 %, the
    width of a bin."""
    fallback_limit: float = Field(default=0.05, gt=0, lt=1)
    """Share of rows that its own fallbacks may answer, unless the stable one's answer as many."""
    compare_share: float = Field(default=0.1, ge=0, le=1)
    """Share of requests that the other version is asked too, unheard, to compare the answers; 0: the
    answers are not compared."""
    min_compared: int = Field(default=30, ge=1)
    tolerance_ratio: float = Field(default=0.1, ge=0)
    """How far an answer may be from the stable version's, as a share of the larger of the two."""
    tolerance_abs: float = Field(default=1e-9, ge=0)
    difference_limit: float = Field(default=0.05, gt=0, lt=1)
    """Share of compared answers that may be farther apart. A model that is meant to answer
    differently needs wider limits here: no test can tell better from worse without outcomes."""
    outcome_ratio_limit: float = Field(default=1.1, ge=1)
    """How many times the stable version's mean loss is still fine, where outcomes are fed back."""
    measure: Literal["outcome", "latency", "error"] = "outcome"
    """What an A/B test compares; lower is better."""
    effect_ratio: float = Field(default=0.05, gt=0, le=10)
    """Differences that an A/B test is laid out for, as a share of the stable version's mean."""
    max_requests: int = Field(default=1_000_000, ge=100)
    """Requests of an A/B test after which it ends without a winner."""
    promote: bool = True
    """Whether a canary that passed becomes the champion; else it waits for `promote`."""

    @model_validator(mode="after")
    def _fits_the_mode(self) -> Self:
        if self.mode != "ab" and self.weights:
            raise ValueError("weights: only an A/B test (mode ab) takes them")
        return self
