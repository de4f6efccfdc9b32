"""Settings of the guard, and the limits an operator may set for one decision."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from novacron.errors import ConfigError, OutOfRangeError


class Constraints(BaseModel):
    """What a setting must stay below; see `AutoOptimizer.optimize`.

    Shares are 0..1. The defaults are those of NovaCron's operations manual.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_cpu_ratio: float = Field(0.85, gt=0, le=1)
    """Busy share of the host's cores that a setting is expected to lead to."""
    max_memory_ratio: float = Field(0.80, gt=0, le=1)
    """Used share of the host's memory."""
    max_cost_increase_ratio: float = Field(0.10, ge=0, le=10)
    """Increase of the cost of a gigabyte against the shipped defaults."""
    host_memory_mib: float | None = Field(None, gt=0)
    """Memory of the host. Not given, no setting may hold more memory than the defaults do."""
    memory_used_ratio: float = Field(0.5, ge=0, le=1)
    """Share of that memory in use now, the knobs in force included."""


class GuardConfig(BaseModel):
    """When a proposed setting is applied, tried, held back or taken back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slew_octaves: float = Field(4.0, gt=0)
    """Furthest a whole-number knob on a log scale moves in one decision."""
    slew_share: float = Field(0.75, gt=0, le=1)
    """Furthest any other number moves in one decision, as a share of its range."""
    min_gain_nats: float = Field(0.02, ge=0)
    """Gain over the defaults that must be expected before a setting is tried at all."""
    sure_gain_nats: float = Field(0.1)
    """Lower end of the expected gain, with the path's account added, from which a setting goes
    without a trial."""
    account_cap_nats: float = Field(0.3, ge=0)
    """Most that gains measured on a path in the past count for."""
    canary_margin_nats: float = Field(0.15, ge=0)
    """Gain over the defaults that a canary must measure."""
    canary_share: float = Field(0.05, gt=0, lt=1)
    """Share of the traffic that a canary gets, and later a control group on the defaults."""
    canary_s: float = Field(1.0, gt=0)
    """Length of a canary; never less than three round trips."""
    trip_loss_nats: float = Field(0.05, gt=0)
    """Loss against the defaults, measured over an interval, that takes a setting back."""
    early_trip_loss_nats: float = Field(0.15, gt=0)
    """The same measured over the length of a canary only, at the start of an interval."""
    early_trip_cost_over_limit: float = Field(0.1, ge=0)
    """Cost increase above the operator's limit, measured at the start of an interval, that does: a
    second tells a cost with an error of some percent."""
    trip_retransmit_over_default: float = Field(0.05, gt=0, le=1)
    """Retransmitted share above that seen under the defaults that takes a setting back."""
    trip_srtt_over_min: float = Field(2.5, gt=1)
    """Smoothed over least round trip that takes a setting back, unless the defaults have more."""
    trip_cpu_ratio: float = Field(0.95, gt=0, le=1)
    """Busy share of the cores that takes a setting back."""
    cool_down_decisions: int = Field(3, ge=0)
    """Decisions without trials after a setting was taken back or a canary failed."""


MIN_ROUND_TRIPS: Final = 3
"""Least round trips of a canary: shorter, and it sees the start of connections only."""


def canary_length_s(config: GuardConfig, rtt_ms: float) -> float:
    """Return the length of a canary on a path, in seconds."""
    return max(config.canary_s, MIN_ROUND_TRIPS * rtt_ms * 1e-3)


def check_constraints(given: Constraints | Mapping[str, Any] | None) -> Constraints:
    """Return checked limits.

    Raises:
        ConfigError: A limit is unknown.
        OutOfRangeError: A limit is not possible.
    """
    if given is None:
        return Constraints()
    if isinstance(given, Constraints):
        return given
    try:
        return Constraints.model_validate(dict(given))
    except ValidationError as cause:
        fault = cause.errors()[0]
        name = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            raise ConfigError(
                field=f"constraints.{name}", got=fault["input"],
                expected="one of " + ", ".join(Constraints.model_fields),
            ) from cause  # fmt: skip
        raise OutOfRangeError(
            field=f"constraints.{name}", got=fault["input"], expected=fault["msg"]
        ) from cause
