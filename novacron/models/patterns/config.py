"""Settings of the training of the pattern model."""

from pydantic import BaseModel, ConfigDict, Field


class PatternsConfig(BaseModel):
    """How many windows are generated and how the forest is grown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0, le=1_000_000_000)
    """Decides every generated window and the forest; other seeds share no window."""
    train_each: int = Field(default=300, ge=10, le=100_000)
    """Windows of each type that the forest is grown on."""
    validation_each: int = Field(default=120, ge=10, le=100_000)
    """Windows of each type that temperature and period intervals are set on."""
    trees: int = Field(default=150, ge=5, le=2000)
    """Trees of the forest."""
    leaf_windows: int = Field(default=2, ge=1, le=1000)
    """Fewest windows in a leaf."""
    feature_ratio: float = Field(default=0.3, gt=0, le=1)
    """Share of the evidence that each split may choose from."""
    coverage: float = Field(default=0.9, gt=0.5, lt=1)
    """Share of true periods that the period interval is to hold."""

    def seed_of(self, part: str) -> int:
        """Return the generator's seed of a part: `train`, `validation` or `test`."""
        return 3 * self.seed + ("train", "validation", "test").index(part)
