"""Everything that training makes and the optimizer needs."""

from dataclasses import dataclass
from typing import Final

from novacron.models.placement.config import PlacementConfig
from novacron.models.placement.lifetimes import LifetimeModel
from novacron.models.placement.outcomes import OutcomeModels
from novacron.models.placement.packing import OFF, Gate

NAME: Final = "placement"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacementModels:
    """Everything that was fitted."""

    config: PlacementConfig
    outcomes: OutcomeModels
    lifetimes: LifetimeModel | None
    """None where no lifetimes were at hand: best fit packs, and says so."""
    gate: Gate = OFF
    source: str = ""
    """Where sizes and lifetimes came from, in words."""
