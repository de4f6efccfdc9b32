"""What the tuned placement setting makes of a decision's time and of the trees' number.

Both settings are fitted on the same examples; decisions are timed in turns, on the same fleet.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.placement_decisions import time_decisions
from novacron.models.placement.config import PlacementConfig
from novacron.models.placement.fitted import PlacementModels
from novacron.models.placement.optimizer import WorkloadOptimizer
from novacron.models.placement.training import fit_outcome_part, sizes_of
from tuning.objectives.files import training_file
from tuning.objectives.placement import count_leaves
from tuning.search import data_folder

FILES: Final = ("train/placement", "tuned/placement")
_NODES: Final = 1000
_DECISIONS: Final = 40
_ROUNDS: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionResult:
    """CPU time of a decision, and leaves of all trees, of the tuned setting over the default's."""

    time_ratio: float
    lo: float
    hi: float
    """Median of the decisions' ratios, with the interval of the median over resampled decisions."""
    default_ms: float
    decisions: int
    leaves_ratio: float


def measure_decisions(room: Path) -> DecisionResult:
    """Fit both settings and time the same decisions in turns.

    Args:
        room: Not used; pieces get one.
    """
    del room
    folder = data_folder(None)
    sizes = sizes_of(folder)
    shipped, tuned = (
        PlacementConfig.model_validate(training_file(name).get("fit", {})) for name in FILES
    )
    optimizers, leaves = [], []
    for config in (shipped, tuned):
        outcomes = fit_outcome_part(config, folder)
        models = PlacementModels(config=config, outcomes=outcomes, lifetimes=None)
        optimizers.append(WorkloadOptimizer(models))
        leaves.append(count_leaves(outcomes))
    cpu_ms = [
        [time_decisions(one, sizes, _NODES, _DECISIONS)["cpu_ms"] for one in optimizers]
        for _ in range(_ROUNDS)
    ]
    least_2D = np.array(cpu_ms).min(axis=0)
    ratio_D = least_2D[1] / least_2D[0]
    rng = np.random.default_rng(5)
    drawn = np.median(rng.choice(ratio_D, size=(2000, len(ratio_D))), axis=1)
    lo, hi = np.quantile(drawn, [0.025, 0.975])
    return DecisionResult(
        time_ratio=float(np.median(ratio_D)),
        lo=float(lo),
        hi=float(hi),
        default_ms=float(np.median(least_2D[0])),
        decisions=len(ratio_D),
        leaves_ratio=leaves[1] / leaves[0],
    )
