"""Generated demand, for machines without the public series."""

from typing import Final

import numpy as np

from novacron.models.scaling.demand import to_demand
from novacron.models.scaling.public_series import Series, split
from novacron.telemetry.synthesize.config import fleet_small
from novacron.telemetry.synthesize.fleet import generate_fleet

STEP_S: Final = 300.0


def generated_series(seed: int, *, days: int, nodes: int) -> dict[str, Series]:
    """Return CPU ratios of generated nodes without faults, by name."""
    config = fleet_small(hours=24.0 * days)
    config = config.model_copy(update={"step_s": STEP_S, "faults_per_entity_day": 0.0})
    table = generate_fleet(config, seed=seed).nodes.to_pandas()
    groups = list(table.groupby("node_id", sort=True))[:nodes]
    return {
        f"generated {node}": split(
            f"generated {node}",
            to_demand(
                group.sort_values("ts").set_index("ts").cpu_ratio.astype(np.float64),
                name="cpu_ratio",
            ),
        )
        for node, group in groups
    }
