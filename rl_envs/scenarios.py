"""The paths of the simulated world: their classes, and which are for training, which for tests.

A path is fixed by its class and number: the same path has the same properties in every run, and a
number belongs to one side of the split only.
"""

from dataclasses import dataclass, fields
from typing import Final, Literal, cast

import numpy as np

from novacron.errors import OutOfRangeError, UnknownNameError
from rl_envs.noise import Noise, Purpose, derive, mix64
from rl_envs.physics.quantities import FloatArray, IntArray

Split = Literal["train", "validation", "test", "ood"]
Range = tuple[float, float]

SPLITS: Final[dict[str, tuple[int, int]]] = {
    "train": (0, 512),
    "validation": (512, 640),
    "test": (640, 768),
    "ood": (768, 1024),
}
"""Numbers of the paths of each side, [first, last)."""

ALL: Final = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenarioClass:
    """Ranges of the properties of one class of paths; uniform in log but for counts and ratios.

    Round trips, rates and loss follow published surveys of cloud regions and mobile networks and
    NovaCron's own tiers; they bound what is trained on and are not measurements of any network.
    """

    name: str
    capacity_mbps: Range
    rtt_ms: Range
    loss_ratio: Range
    burst_pkts: Range = (1.0, 3.0)
    buffer_bdp: Range = (0.2, 2.0)
    cross_flows: Range = (0.0, 6.0)
    window_bytes: Range = (1e6, 3.2e7)
    cores: Range = (8.0, 64.0)
    cpu_busy_ratio: Range = (0.1, 0.7)
    wander_ratio: Range = (0.03, 0.15)
    """Standard deviation of log capacity around its level."""
    wander_s: Range = (20.0, 300.0)
    """Time over which that wandering forgets."""
    switches_per_h: Range = (2.0, 20.0)
    """Rate of regime switches: a reroute, a busy hour, a fading cell."""
    drift_per_h: Range = (-0.5, 0.5)
    """Slow trend of log capacity."""
    egress_usd_per_gb: Range = (0.002, 0.09)
    cpu_usd_per_core_h: Range = (0.01, 0.08)


CLASSES: Final = (
    ScenarioClass(
        name="lan", capacity_mbps=(1e3, 1e4), rtt_ms=(0.1, 1.0), loss_ratio=(1e-7, 1e-5),
        buffer_bdp=(0.5, 4.0), wander_ratio=(0.01, 0.08), egress_usd_per_gb=(1e-4, 1e-3),
    ),
    ScenarioClass(
        name="metro", capacity_mbps=(200.0, 4e3), rtt_ms=(1.0, 10.0), loss_ratio=(1e-6, 3e-4),
        buffer_bdp=(0.3, 3.0), egress_usd_per_gb=(1e-3, 0.02),
    ),
    ScenarioClass(
        name="wan", capacity_mbps=(50.0, 1e3), rtt_ms=(15.0, 90.0), loss_ratio=(1e-5, 2e-3),
    ),
    ScenarioClass(
        name="intercontinental", capacity_mbps=(50.0, 800.0), rtt_ms=(100.0, 260.0),
        loss_ratio=(1e-5, 5e-3), buffer_bdp=(0.1, 1.5),
    ),
    ScenarioClass(
        name="lossy", capacity_mbps=(20.0, 400.0), rtt_ms=(20.0, 200.0), loss_ratio=(3e-3, 3e-2),
        burst_pkts=(1.0, 6.0),
    ),
    ScenarioClass(
        name="cellular", capacity_mbps=(3.0, 120.0), rtt_ms=(25.0, 120.0), loss_ratio=(1e-4, 1e-2),
        burst_pkts=(1.0, 8.0), buffer_bdp=(1.0, 8.0), cross_flows=(0.0, 2.0),
        wander_ratio=(0.2, 0.6), wander_s=(5.0, 40.0), switches_per_h=(20.0, 120.0),
    ),
    ScenarioClass(
        name="shared_bottleneck", capacity_mbps=(50.0, 1e3), rtt_ms=(5.0, 120.0),
        loss_ratio=(1e-6, 1e-4), cross_flows=(4.0, 32.0), switches_per_h=(10.0, 60.0),
    ),
    ScenarioClass(
        name="cpu_starved", capacity_mbps=(200.0, 5e3), rtt_ms=(2.0, 80.0),
        loss_ratio=(1e-6, 1e-3), cores=(2.0, 8.0), cpu_busy_ratio=(0.6, 0.92),
    ),
)  # fmt: skip

OUT_OF_DISTRIBUTION: Final = ScenarioClass(
    name="out_of_distribution", capacity_mbps=(2.0, 4e3), rtt_ms=(270.0, 450.0),
    loss_ratio=(0.03, 0.08), burst_pkts=(1.0, 16.0), buffer_bdp=(0.05, 10.0),
    cross_flows=(0.0, 48.0), cores=(1.0, 64.0), cpu_busy_ratio=(0.0, 0.97),
    wander_ratio=(0.1, 0.8), switches_per_h=(20.0, 240.0),
)  # fmt: skip

SCENARIOS: Final = {row.name: row for row in (*CLASSES, OUT_OF_DISTRIBUTION)}
_LINEAR: Final = ("cross_flows", "cpu_busy_ratio", "drift_per_h")
_PROPERTIES: Final = tuple(field.name for field in fields(ScenarioClass))[1:]


@dataclass(frozen=True, kw_only=True, slots=True)
class Path:
    """Properties of one path a row, arrays [N]; hidden from policies."""

    class_index: IntArray
    number: IntArray
    capacity_mbps: FloatArray
    rtt_ms: FloatArray
    loss_ratio: FloatArray
    burst_pkts: FloatArray
    buffer_bdp: FloatArray
    cross_flows: FloatArray
    window_bytes: FloatArray
    cores: FloatArray
    cpu_busy_ratio: FloatArray
    wander_ratio: FloatArray
    wander_s: FloatArray
    switches_per_h: FloatArray
    drift_per_h: FloatArray
    egress_usd_per_gb: FloatArray
    cpu_usd_per_core_h: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenarioSet:
    """The paths an environment draws its episodes from."""

    classes: tuple[ScenarioClass, ...]
    split: Split

    def draw(self, noise: Noise) -> Path:
        """Draw a class and a path of it for each row, and return the paths' properties."""
        pick = noise.uniform(Purpose.PATH, 0)
        chosen = np.floor(pick * len(self.classes)).astype(np.int64)
        first, last = SPLITS[self.split]
        number = first + np.floor(noise.uniform(Purpose.PATH, 1) * (last - first)).astype(np.int64)
        known = tuple(SCENARIOS)
        index = np.array([known.index(row.name) for row in self.classes])[chosen]
        return path_of(index, number)


def path_of(class_index: IntArray, number: IntArray) -> Path:
    """Return the properties of paths by class (its place in `SCENARIOS`) and number."""
    root = mix64(np.full(number.shape, 0xD3C9_0001, dtype=np.uint64))
    noise = Noise(key=derive(derive(root, class_index), number), step=np.zeros_like(number))
    drawn: dict[str, FloatArray] = {}
    for column, name in enumerate(_PROPERTIES):
        bounds = np.array([getattr(row, name) for row in SCENARIOS.values()])[class_index]
        low = np.ascontiguousarray(bounds[:, 0])
        high = np.ascontiguousarray(bounds[:, 1])
        share = noise.uniform(Purpose.PATH, column)
        if name in _LINEAR:
            drawn[name] = low + share * (high - low)
        else:
            drawn[name] = low * np.exp(share * np.log(high / low))
    drawn["cross_flows"] = np.rint(drawn["cross_flows"])
    drawn["cores"] = np.rint(drawn["cores"])
    return Path(class_index=class_index, number=number, **drawn)


def scenario_set(scenario: str = ALL, split: str = "train") -> ScenarioSet:
    """Return the paths of one class, or of all, on one side of the split.

    Raises:
        UnknownNameError: No such class or side.
        OutOfRangeError: The out-of-distribution class is asked for outside the side `ood`.
    """
    if split not in SPLITS:
        raise UnknownNameError(kind="split", got=split, known=tuple(SPLITS))
    if scenario != ALL and scenario not in SCENARIOS:
        raise UnknownNameError(kind="scenario", got=scenario, known=(ALL, *SCENARIOS))
    if scenario == OUT_OF_DISTRIBUTION.name and split != "ood":
        raise OutOfRangeError(
            field="split",
            got=split,
            expected="ood for the scenario out_of_distribution",
            remedy="It exists to test a guard and is never trained on.",
        )
    if scenario != ALL:
        classes: tuple[ScenarioClass, ...] = (SCENARIOS[scenario],)
    else:
        classes = (OUT_OF_DISTRIBUTION,) if split == "ood" else CLASSES
    return ScenarioSet(classes=classes, split=cast(Split, split))
