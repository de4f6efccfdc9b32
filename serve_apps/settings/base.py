"""The base of the endpoint's settings: frozen, and unknown keys are refused."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """One block of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")
