"""Settings of the prediction log."""

from pydantic import BaseModel, ConfigDict, Field


class PredictionLogConfig(BaseModel):
    """How much is buffered, how often it is written, and how long it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block_rows: int = Field(default=5_000, ge=1)
    """Rows after which a block is written."""
    block_interval_s: float = Field(default=5.0, gt=0)
    """A row waits at most about so long for its block."""
    max_buffer_rows: int = Field(default=50_000, ge=1)
    """Rows that may wait, written or not; further ones are dropped and counted."""
    max_buffer_bytes: int = Field(default=128 * 2**20, ge=2**16)
    """Bytes of tensors that may wait; further rows are dropped and counted."""
    inputs_ratio: float = Field(default=0.01, ge=0, le=1)
    """Share of the requests whose inputs are kept too; of all others their digest is."""
    max_text_chars: int = Field(default=65_536, ge=0)
    """Longer texts among inputs and outputs are left out: null in the file."""
    max_age_days: int = Field(default=30, ge=1)
    """Days that are kept, today among them."""
    max_bytes: int = Field(default=10 * 2**30, ge=2**20)
    """Bytes of all files; beyond it the oldest go."""
    fsync: bool = True
    """Whether the disk is waited for before a block counts as written. Blocks survive a killed
    process in any case."""
