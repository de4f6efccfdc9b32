"""Job: put a version before the promotion gate and make it champion if it passes.

`python -m ray_jobs.promote --model bandwidth`
"""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from novacron.registry.card import ModelCard
from novacron.registry.config import RegistryConfig
from novacron.registry.gate import BandRule, GateRules, MetricRule
from novacron.registry.records import Audit
from novacron.registry.store import ModelStore
from ray_jobs.answers import Answer, facts
from ray_jobs.config import load_config
from ray_jobs.job import run_job, user_name
from ray_jobs.locations import registry_config


class LimitRule(BaseModel):
    """A metric that must beat its limit on every set, or on those named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    better: Literal["lower", "higher"] = "lower"
    limit: float = 1.0
    """The whole interval must lie on the good side of this; 1 for a ratio to a baseline."""
    sets: tuple[str, ...] = ()
    """Sets it must hold on; empty: every set on which the card reports the metric."""
    min_n: int = Field(default=30, ge=1)
    tolerance_ratio: float = Field(default=0.02, ge=0, le=1)
    """How much worse than the champion it may be."""


class CoverageRule(BaseModel):
    """A metric that must lie inside a band on every set, or on those named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    low: float
    high: float
    sets: tuple[str, ...] = ()
    min_n: int = Field(default=30, ge=1)


class GateConfig(BaseModel):
    """What `configs/gate/<model>.yaml` says; the sets are filled in from the card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limits: tuple[LimitRule, ...] = Field(min_length=1)
    bands: tuple[CoverageRule, ...] = ()

    def rules_for(self, card: ModelCard) -> GateRules:
        """Return the rules for a card; a metric it lacks altogether stays required."""
        required = [
            MetricRule(
                name=rule.name,
                set=each,
                better=rule.better,
                limit=rule.limit,
                min_n=rule.min_n,
                tolerance_ratio=rule.tolerance_ratio,
            )
            for rule in self.limits
            for each in rule.sets or _sets(card, rule.name)
        ]
        bands = [
            BandRule(name=rule.name, set=each, low=rule.low, high=rule.high, min_n=rule.min_n)
            for rule in self.bands
            for each in rule.sets or _sets(card, rule.name)
        ]
        return GateRules(required=tuple(required), bands=tuple(bands))


def _sets(card: ModelCard, metric_name: str) -> tuple[str, ...]:
    found = tuple(metric.set for metric in card.metrics if metric.name == metric_name)
    return found or ("any set",)


def promote(
    registry: RegistryConfig,
    name: str,
    ref: str,
    gate: GateConfig,
    *,
    why: str = "",
    force: bool = False,
) -> dict[str, Any]:
    """Promote a version.

    Returns:
        The model's name, the champion's version, what the gate said, and the version before.

    Raises:
        GateRefusedError: The gate said no; the champion stays.
        ModelNotFoundError: There is no such version.
    """
    store = ModelStore.connect(registry)
    card = store.card(name, ref)
    audit = Audit(who=user_name(), at=datetime.now(UTC), why=why)
    decision = store.promote(name, ref, gate.rules_for(card), audit=audit, force=force)
    history = store.history(name)
    return {
        "model": name,
        "champion": history[-1].version,
        "previous": history[-1].previous,
        "gate": decision.model_dump(mode="json"),
    }


def promotion_answer(
    name: str, ref: str, gate_path: Path, *, why: str = "", force: bool = False
) -> Answer:
    """Promote and say so."""
    gate = load_config(gate_path, GateConfig)
    payload = promote(registry_config(), name, ref, gate, why=why, force=force)
    shown = {
        "champion": f"{name} version {payload['champion']}",
        "before": payload["previous"] or "none",
        "gate": " ".join(payload["gate"]["notes"] or ("Passed.",)),
    }
    if payload["gate"]["reasons"]:
        shown["overridden"] = " ".join(payload["gate"]["reasons"])
    return Answer(payload=payload, view=facts("Promoted", shown))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, promote, write one JSON line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.promote", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--ref", default="challenger", help="version number or alias")
    parser.add_argument("--gate", type=Path, help="default: configs/gate/<model>.yaml")
    parser.add_argument("--why", default="", help="kept in the history; required with --force")
    parser.add_argument("--force", action="store_true", help="promote against the gate")
    given = parser.parse_args(arguments)
    path = given.gate or Path(f"configs/gate/{given.model}.yaml")
    return run_job(
        "promote",
        lambda: promotion_answer(given.model, given.ref, path, why=given.why, force=given.force),
    )


if __name__ == "__main__":
    raise SystemExit(main())
