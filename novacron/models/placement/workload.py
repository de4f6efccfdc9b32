"""What a caller asks to have placed: a request, its constraints and its factors, checked alone."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from novacron.errors import InvalidInputError, OutOfRangeError, SchemaError, UnknownNameError
from novacron.models.placement.factors import NAMES, Value, factor

RESOURCES: Final = ("cpu_cores", "memory_gb", "storage_gb", "network_mbps", "gpus")
"""What a workload takes from a node; all but devices are additive."""
_LARGEST: Final = {
    "cpu_cores": 4096.0,
    "memory_gb": 65_536.0,
    "storage_gb": 1e7,
    "network_mbps": 1e7,
    "gpus": 64.0,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """What the node must satisfy; empty or None: no such constraint. None of them is a score."""

    allowed_nodes: frozenset[str] = frozenset()
    excluded_nodes: frozenset[str] = frozenset()
    affinity_groups: frozenset[str] = frozenset()
    """The node must already host each of these groups."""
    anti_affinity_groups: frozenset[str] = frozenset()
    """The node may host none of these groups."""
    max_per_node: int | None = None
    """Most workloads of this workload's own group on one node, this one included."""
    allowed_regions: frozenset[str] = frozenset()
    excluded_regions: frozenset[str] = frozenset()
    min_security_level: float | None = None
    """Both `physical_security_level` and `network_security` must be at least this, 1..5."""
    max_latency_ms: float | None = None
    """Bound on `network_latency`."""
    min_bandwidth_mbps: float | None = None
    """Bound on `network_bandwidth`, whatever the workload itself takes of it."""
    max_cost_per_hour: float | None = None
    """Bound on `operational_cost`, $/h."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LifetimeHints:
    """What was asked for together with this workload; None where the caller does not know."""

    batch_id: str = ""
    batch_size: int | None = None
    """Workloads of the same tenant that arrived in the same moment, this one included."""
    batch_same_size: int | None = None
    """Of these, how many ask for the same CPU and memory."""
    batch_kinds: int | None = None
    """Different sizes in the batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One placement request. Amounts are what it is promised, in the units of their names."""

    workload_id: str
    cpu_cores: float
    memory_gb: float
    storage_gb: float = 0.0
    network_mbps: float = 0.0
    gpus: int = 0
    """Devices; each gives `gpu_share` of itself."""
    gpu_share: float = 1.0
    group: str = ""
    factors: Mapping[str, Value] = field(default_factory=dict)
    constraints: Constraints = Constraints()
    hints: LifetimeHints = LifetimeHints()

    def __post_init__(self) -> None:
        if not self.workload_id:
            raise SchemaError(field="workload_id", got="", expected="a name")
        for name in RESOURCES:
            _require_amount(name, getattr(self, name), _LARGEST[name])
        if self.cpu_cores <= 0 or self.memory_gb <= 0:
            raise OutOfRangeError(
                field="cpu_cores, memory_gb",
                got=(self.cpu_cores, self.memory_gb),
                expected="more than 0 of both",
            )
        if int(self.gpus) != self.gpus:
            raise OutOfRangeError(
                field="gpus",
                got=self.gpus,
                expected="whole devices",
                remedy="Ask for a part of one device by gpu_share.",
            )
        if not 0 < self.gpu_share <= 1:
            raise OutOfRangeError(field="gpu_share", got=self.gpu_share, expected="(0, 1]")
        if self.gpus > 1 and self.gpu_share < 1:
            raise OutOfRangeError(
                field="gpu_share", got=self.gpu_share, expected="1 where gpus is above 1"
            )
        for name, value in self.factors.items():
            _require_side(name).encode(value)
        check_constraints(self)

    @property
    def amounts(self) -> tuple[float, ...]:
        """Return what it takes, in the order of `RESOURCES`."""
        devices = self.gpus * self.gpu_share
        return (self.cpu_cores, self.memory_gb, self.storage_gb, self.network_mbps, devices)


_OWN: Final = {one.name for one in fields(Workload)} - {"factors", "constraints", "hints"}
_CONSTRAINTS: Final = {one.name for one in fields(Constraints)}
_HINTS: Final = {one.name for one in fields(LifetimeHints)}
_SETS: Final = {name for name in _CONSTRAINTS if not name.startswith(("min_", "max_"))}


def read_workload(raw: Workload | Mapping[str, Any]) -> Workload:
    """Read a flat mapping: fields of `Workload`, `Constraints`, `LifetimeHints`, and factors.

    Raises:
        UnknownNameError: A key is none of these.
        SchemaError: A value has the wrong type, or a required one is missing.
        OutOfRangeError: A value is outside its range.
        InvalidInputError: Two constraints contradict each other.
    """
    if isinstance(raw, Workload):
        return raw
    parts: dict[str, dict[str, Any]] = {"own": {}, "constraints": {}, "hints": {}, "factors": {}}
    for key, value in raw.items():
        if key in _OWN:
            parts["own"][key] = value
        elif key in _CONSTRAINTS:
            parts["constraints"][key] = _name_set(key, value) if key in _SETS else value
        elif key in _HINTS:
            parts["hints"][key] = value
        elif key in NAMES:
            parts["factors"][key] = value
        else:
            raise UnknownNameError(
                kind="workload field", got=str(key), known=nearest(str(key), _known())
            )
    missing = [name for name in ("workload_id", "cpu_cores", "memory_gb") if name not in raw]
    if missing:
        raise SchemaError(
            field=", ".join(missing), got="nothing", expected="a value: these are required"
        )
    return Workload(
        **parts["own"],
        factors=parts["factors"],
        constraints=Constraints(**parts["constraints"]),
        hints=LifetimeHints(**parts["hints"]),
    )


def nearest(key: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the known names that look like a key, or all where none does."""
    return tuple(difflib.get_close_matches(key, known, n=5, cutoff=0.5)) or known


def _known() -> tuple[str, ...]:
    own = tuple(name for name in NAMES if factor(name).side == "workload")
    return tuple(sorted(_OWN | _CONSTRAINTS | _HINTS)) + own


def _name_set(key: str, value: object) -> frozenset[str]:
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise SchemaError(field=key, got=value, expected="a list of names")
    if not all(isinstance(name, str) and name for name in value):
        raise SchemaError(field=key, got=value, expected="names that are not empty")
    return frozenset(value)


def _require_amount(name: str, value: object, largest: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SchemaError(field=name, got=value, expected="a number")
    if not (math.isfinite(value) and 0 <= value <= largest):
        raise OutOfRangeError(field=name, got=value, expected=f"[0, {largest:g}]")


def _require_side(name: str) -> Any:
    found = factor(name)
    if found.side != "workload":
        raise SchemaError(
            field=name,
            got=f"a {found.side} factor in a workload",
            expected="a factor of the workload",
            remedy="Give it with each node.",
        )
    return found


def check_constraints(workload: Workload) -> None:
    """Refuse constraints that no node could ever satisfy together.

    Raises:
        InvalidInputError: Names both that contradict each other.
    """
    asked = workload.constraints
    pairs = (
        ("allowed_nodes", "excluded_nodes"),
        ("allowed_regions", "excluded_regions"),
        ("affinity_groups", "anti_affinity_groups"),
    )
    for wanted, barred in pairs:
        want, bar = getattr(asked, wanted), getattr(asked, barred)
        # A group must be there in full; of nodes and regions one that is left is enough.
        clash = want & bar if wanted == "affinity_groups" else want and want <= bar
        if clash:
            raise InvalidInputError(
                field=f"{wanted}, {barred}",
                got=sorted(want & bar),
                expected="constraints that some node can satisfy together",
                remedy="Take the names out of one of the two.",
            )
    if asked.max_per_node is not None and (
        asked.max_per_node < 1 or int(asked.max_per_node) != asked.max_per_node
    ):
        raise InvalidInputError(
            field="max_per_node", got=asked.max_per_node, expected="a whole number, at least 1"
        )
    if asked.max_per_node == 1 and workload.group and workload.group in asked.affinity_groups:
        raise InvalidInputError(
            field="max_per_node, affinity_groups",
            got=(1, workload.group),
            expected="constraints that some node can satisfy together",
            remedy="A node with one of the group has no room for another.",
        )
    bounds = {
        "min_security_level": (1.0, 5.0),
        "max_latency_ms": (0.0, 1e4),
        "min_bandwidth_mbps": (0.0, 1e7),
        "max_cost_per_hour": (0.0, 1e4),
    }
    for name, (low, high) in bounds.items():
        value = getattr(asked, name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SchemaError(field=name, got=value, expected="a number")
        if not low <= value <= high:
            raise OutOfRangeError(field=name, got=value, expected=f"[{low:g}, {high:g}]")
