"""The promotion gate: a pure decision from two model cards and written rules."""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from novacron.registry.card import CardMetric, ModelCard


class MetricRule(BaseModel):
    """One metric a challenger must show, on one set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    set: str
    better: Literal["lower", "higher"] = "lower"
    limit: FiniteFloat
    """The whole 95 % interval must lie on the good side of this; 1.0 for a ratio to a baseline."""
    min_n: int = Field(30, ge=1)
    """Fewest independent units (traces, runs) the interval may stand on."""
    tolerance_ratio: float = Field(0.02, ge=0, le=1)
    """How much worse than the champion's value it may be, as a share of that value."""


class BandRule(BaseModel):
    """One metric that must lie inside a band, such as the coverage of an interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    set: str
    low: FiniteFloat
    high: FiniteFloat
    min_n: int = Field(30, ge=1)

    @model_validator(mode="after")
    def _band_is_open(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"{self.name}: low must be below high")
        return self


class GateRules(BaseModel):
    """What a version must show before it may become champion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    required: tuple[MetricRule, ...] = Field(min_length=1)
    bands: tuple[BandRule, ...] = ()
    on_other_data: Literal["limits", "refuse"] = "limits"
    """When the champion was measured on other data, its values are not comparable: `limits` lets
    the limits of `required` decide alone, `refuse` asks for a champion scored on the same data."""
    features_hashes: tuple[str, ...] = ()
    """Feature fingerprints that the serving code knows; empty leaves that to loading the model,
    which refuses an unknown one as well."""


class GateDecision(BaseModel):
    """What the gate says, with every reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    reasons: tuple[str, ...]
    """Why it was refused; empty when it passed."""
    notes: tuple[str, ...] = ()
    """What a reader of a passed decision must know, e.g. that nothing was comparable."""


def decide(challenger: ModelCard, champion: ModelCard | None, rules: GateRules) -> GateDecision:
    """Decide whether a challenger may replace the champion.

    The limits hold with and without a champion. The champion's values count only where both
    cards name the same data digest; to compare across data, pass a champion card whose metrics
    were measured again on the challenger's data.
    """
    reasons = [*_features(challenger, rules), *_limits(challenger, rules)]
    reasons += _bands(challenger, rules)
    notes: list[str] = []
    if champion is None:
        notes.append("There is no champion yet: the limits decided alone.")
    elif champion.kind != challenger.kind:
        reasons.append(f"kind: got {challenger.kind}, the champion is a {champion.kind}.")
    elif champion.data_sha256 != challenger.data_sha256:
        sentence = (
            f"Not comparable with the champion: it was measured on data {champion.data_sha256}, "
            f"the challenger on {challenger.data_sha256}."
        )
        if rules.on_other_data == "refuse":
            reasons.append(f"{sentence} Score the champion on the same data first.")
        else:
            notes.append(f"{sentence} The limits decided alone.")
    else:
        reasons += [
            *_dropped_sets(challenger, champion, rules),
            *_regressions(challenger, champion, rules),
        ]
    return GateDecision(passed=not reasons, reasons=tuple(reasons), notes=tuple(notes))


def _features(challenger: ModelCard, rules: GateRules) -> Iterator[str]:
    if rules.features_hashes and challenger.features_hash not in rules.features_hashes:
        yield (
            f"features: got fingerprint {challenger.features_hash}, "
            f"known are {', '.join(rules.features_hashes)}."
        )


def _limits(challenger: ModelCard, rules: GateRules) -> Iterator[str]:
    for rule in rules.required:
        label = f"{rule.name} on {rule.set}"
        metric = challenger.metric(rule.name, rule.set)
        yield from _evidence(metric, label, rule.min_n)
        if metric is None or metric.lo is None or metric.hi is None:
            continue
        if rule.better == "lower" and metric.hi >= rule.limit:
            yield (
                f"{label}: does not beat {metric.baseline}: the interval reaches "
                f"{metric.hi:.4g}, it must stay below {rule.limit:g}."
            )
        if rule.better == "higher" and metric.lo <= rule.limit:
            yield (
                f"{label}: does not beat {metric.baseline}: the interval reaches "
                f"{metric.lo:.4g}, it must stay above {rule.limit:g}."
            )


def _bands(challenger: ModelCard, rules: GateRules) -> Iterator[str]:
    for rule in rules.bands:
        label = f"{rule.name} on {rule.set}"
        metric = challenger.metric(rule.name, rule.set)
        yield from _evidence(metric, label, rule.min_n)
        if metric is not None and not rule.low <= metric.value <= rule.high:
            yield f"{label}: got {metric.value:.4g}, expected [{rule.low:g}, {rule.high:g}]."


def _evidence(metric: CardMetric | None, label: str, min_n: int) -> Iterator[str]:
    if metric is None:
        yield f"{label}: the card does not have it."
        return
    if metric.lo is None:
        yield f"{label}: has no interval."
    if metric.n < min_n:
        yield f"{label}: stands on n = {metric.n}, expected at least {min_n}."


def _dropped_sets(challenger: ModelCard, champion: ModelCard, rules: GateRules) -> Iterator[str]:
    required = {(rule.name, rule.set) for rule in rules.required}
    names = {name for name, _ in required}
    for metric in champion.metrics:
        shown = challenger.metric(metric.name, metric.set) is not None
        if metric.name in names and not shown and (metric.name, metric.set) not in required:
            yield f"{metric.name} on {metric.set}: the champion was measured there, this was not."


def _regressions(challenger: ModelCard, champion: ModelCard, rules: GateRules) -> Iterator[str]:
    for rule in rules.required:
        mine = challenger.metric(rule.name, rule.set)
        theirs = champion.metric(rule.name, rule.set)
        if mine is None or theirs is None:
            continue
        allowance = rule.tolerance_ratio * abs(theirs.value)
        worse_by = mine.value - theirs.value
        if rule.better == "higher":
            worse_by = -worse_by
        if worse_by > allowance:
            yield (
                f"{rule.name} on {rule.set}: {mine.value:.4g} is worse than the champion's "
                f"{theirs.value:.4g} by {worse_by:.4g}, allowed is {allowance:.4g}."
            )
