"""The shape of every forecast that leaves the platform, over the wire or into a file."""

from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

Fallback = Literal["", "last_value", "ewma_band", "pooled_prior", "fleet_level"]


class Forecast(BaseModel):
    """One forecast with its interval and its provenance.

    `fallback` names the baseline that answered instead of the model, or is empty. `value`, `lower`
    and `upper` have one entry per step of the horizon, in the unit that `target` ends with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prediction_id: str
    entity_id: str
    target: str
    """Name of the forecast quantity with its unit, e.g. `bandwidth_mbps`."""
    model_name: str
    model_version: str
    made_at: AwareDatetime
    horizon_s: tuple[float, ...] = Field(min_length=1)
    """Seconds after `made_at` of each step."""
    valid_until: AwareDatetime
    value: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    coverage: float = Field(gt=0, lt=1)
    """Nominal share of actuals inside [lower, upper]."""
    fallback: Fallback = ""
    features_hash: str
    """Fingerprint of the feature spec, see `novacron.features.fingerprint`."""

    @model_validator(mode="after")
    def _steps_agree(self) -> Self:
        lengths = {len(self.horizon_s), len(self.value), len(self.lower), len(self.upper)}
        if len(lengths) != 1:
            raise ValueError(f"horizon_s, value, lower and upper differ in length: {lengths}")
        if any(lo > hi for lo, hi in zip(self.lower, self.upper, strict=True)):
            raise ValueError("lower exceeds upper")
        if self.valid_until < self.made_at:
            raise ValueError("valid_until lies before made_at")
        return self


def answered_by_model(forecast: Forecast) -> bool:
    """Tell whether the model itself answered, not a fallback."""
    return forecast.fallback == ""
