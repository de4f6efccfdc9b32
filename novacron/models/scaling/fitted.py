"""What a training leaves behind: settings, the distribution of demand, the point members."""

from dataclasses import dataclass

from novacron.models.scaling.config import ScalingConfig
from novacron.models.scaling.demand import Demand
from novacron.models.scaling.density import Density
from novacron.models.scaling.members import Members
from novacron.models.scaling.outlook import Outlook


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """The fitted parts of a scaling model."""

    config: ScalingConfig
    density: Density
    members: Members

    def outlook(self, demand: Demand, *, begin: int = 0) -> Outlook:
        """Return the view of a series, of origins from `begin` on."""
        return Outlook(demand=demand, density=self.density, config=self.config, begin=begin)
