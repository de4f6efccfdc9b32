"""Plan the capacity of two metrics from a cold start: when is it short, what to add, what it costs."""

import numpy as np
import pandas as pd

from novacron import CapacityPlanner

rng = np.random.default_rng(7)
index = pd.date_range("2024-01-01", periods=200, freq="D", tz="UTC")
week = 0.05 * (index.dayofweek < 5)
history = pd.DataFrame(
    {
        "cpu_ratio": np.linspace(0.35, 0.66, 200) + week + 0.02 * rng.standard_normal(200),
        "mem_ratio": 0.55 + 0.01 * rng.standard_normal(200),
    },
    index=index,
)

plan = CapacityPlanner().generate_capacity_plan(
    history, capacities={"cpu_ratio": 640, "mem_ratio": 4096}
)

for metric, need in plan.needs.items():
    warning = need.crossings[0]
    print(f"{metric}: now {need.newest:.2f}, in 30 days {need.forecast.value[-1]:.2f}", end=" ")
    print(f"({need.forecast.lower[-1]:.2f} .. {need.forecast.upper[-1]:.2f}), {need.urgency}")
    print(f"  {warning.probability:.0%} to reach {warning.threshold}: {need.recommended_action}")
    print(f"  add {need.cost.add_units} {need.cost.capacity_unit}: {need.cost.cost}")
print(f"in all {plan.cost['total']:.0f}, expected {plan.cost['total_expected']:.0f}")
