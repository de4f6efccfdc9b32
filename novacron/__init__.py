"""The library of NovaCron ML: what is true with or without a cluster.

Rooms, right to left the life of a sample: monitoring > registry > models > features > telemetry >
params > contracts > errors. Nothing here imports Ray, a web framework or a command line.
"""

import importlib
from typing import Any, Final

__version__ = "0.1.0"

# Name at the top -> the module that has it; imported when the name is first used, so that the
# libraries of a model are needed only where that model is.
_PUBLIC: Final[dict[str, str]] = {
    "AnomalyDetector": "novacron.models.anomaly.detector",
    "AutoOptimizer": "novacron.models.policy.optimizer",
    "BandwidthPredictor": "novacron.models.bandwidth.predictor",
    "CapacityPlanner": "novacron.models.capacity.planner",
    "PatternRecognizer": "novacron.models.patterns.recognizer",
    "PredictiveScalingEngine": "novacron.models.scaling.engine",
    "WorkloadOptimizer": "novacron.models.placement.optimizer",
    "PerformancePredictorModel": "novacron.models.performance.predictor",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
