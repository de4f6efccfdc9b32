"""The tensors of a capacity request and of its answer."""

from typing import Final

from novacron.models.base import TensorSpec

SERVED_DAYS: Final = 30
KEPT_DAYS: Final = 1_500
"""Newest days of a history that are used; four years."""
LATEST_S: Final = 4.0e9

INPUTS: Final[tuple[TensorSpec, ...]] = (
    TensorSpec(
        name="demand",
        datatype="FP64",
        shape=(-1, -1),
        unit="any",
        doc="evenly spaced demand of one series, oldest first; any unit, the same in a row",
    ),
    TensorSpec(
        name="step_s",
        datatype="FP64",
        shape=(-1,),
        unit="s",
        doc="time between two samples; finer than a day becomes the busiest hour of each day",
        low=1.0,
        high=86_400.0,
    ),
    TensorSpec(
        name="start_s",
        datatype="FP64",
        shape=(-1,),
        unit="s",
        doc="time of the first sample, seconds since 1970 UTC",
        low=0.0,
        high=LATEST_S,
    ),
    TensorSpec(
        name="is_present",
        datatype="BOOL",
        shape=(-1, -1),
        unit="bool",
        doc="false where a sample is missing and its demand means nothing",
        required=False,
    ),
    TensorSpec(
        name="high",
        datatype="FP64",
        shape=(-1,),
        unit="as demand",
        doc="largest possible value, such as 1 for a ratio; 0: no bound",
        low=0.0,
        required=False,
    ),
    TensorSpec(
        name="warning",
        datatype="FP64",
        shape=(-1,),
        unit="as demand",
        doc="threshold at which to act; 0: none",
        low=0.0,
        required=False,
    ),
    TensorSpec(
        name="critical",
        datatype="FP64",
        shape=(-1,),
        unit="as demand",
        doc="threshold at which service suffers; 0: none",
        low=0.0,
        required=False,
    ),
)


def output_specs(members: tuple[str, ...]) -> tuple[TensorSpec, ...]:
    """Return the tensors of an answer; `members` names the columns of `member_weight`."""

    def days(name: str, doc: str) -> TensorSpec:
        return TensorSpec(
            name=name, datatype="FP64", shape=(-1, SERVED_DAYS), unit="as demand", doc=doc
        )

    def one(name: str, unit: str, doc: str, *more: int) -> TensorSpec:
        return TensorSpec(name=name, datatype="FP64", shape=(-1, *more), unit=unit, doc=doc)

    late = "-1: later than the horizon, or no threshold"
    return (
        days("value", "median demand of each of the next 30 days"),
        days("lower", "lower end of the 80 % interval"),
        days("upper", "upper end of the 80 % interval"),
        days("lower_95", "lower end of the 95 % interval"),
        days("upper_95", "upper end of the 95 % interval"),
        days("level", "part of the value that is the level and its trend"),
        days("seasonal", "part that weekdays and seasons add"),
        days("holiday", "part that public holidays add"),
        one("warning_probability", "0..1", "that the warning is reached within 30 days"),
        one("warning_days", "days", f"until then, quantiles .1, .5, .9; {late}", 3),
        one("critical_probability", "0..1", "that the critical value is reached in 30 days"),
        one("critical_days", "days", f"until then, quantiles .1, .5, .9; {late}", 3),
        one("member_weight", "0..1", "of " + ", ".join(members), len(members)),
        one("first_day_s", "s", "start of the first forecast day, seconds since 1970 UTC"),
        TensorSpec(
            name="fallback",
            datatype="BYTES",
            shape=(-1,),
            unit="name",
            doc="what answered instead of the model, or empty",
        ),
    )
