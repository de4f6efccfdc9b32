"""What stands now, and which action turns it into the capacity that is wanted.

Capacity is in the unit of demand: cores, requests, or 1.0 where demand is a ratio of one instance.
"""

from dataclasses import dataclass
from math import ceil, inf
from typing import Final, Literal

from novacron.errors import OutOfRangeError

Action = Literal[
    "scale_up", "scale_down", "scale_out", "scale_in", "migrate", "consolidate", "no_action"
]
ACTIONS: Final[tuple[Action, ...]] = (
    "scale_up", "scale_down", "scale_out", "scale_in", "migrate", "consolidate", "no_action",
)  # fmt: skip
CONSOLIDATE_RATIO: Final = 0.6
"""An instance alone on its host may move in elsewhere if it needs at most this share of its size."""
_SLACK: Final = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A host that could take an instance: what is free on it, and whether others run there."""

    node_id: str
    free: float
    is_in_use: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """What one workload has now and what it may have.

    The defaults let one instance grow and shrink at will on its host. `max_instances` above 1
    allows more of them; `max_size` equal to `size` forbids to resize.
    """

    size: float
    """Capacity of one instance."""
    instances: int = 1
    min_size: float = 0.0
    max_size: float = inf
    min_instances: int = 1
    max_instances: int = 1
    host_free: float = inf
    """How much more one instance may take on the host it is on."""
    nodes: tuple[Node, ...] = ()
    """Hosts that an instance could move to."""
    is_alone_on_host: bool = False
    """Nothing else runs there: the host can be switched off once it has left."""
    memory_gb: float = 4.0
    """What a migration copies."""
    link_mbps: float = 1000.0
    """Rate at which it is copied."""

    def __post_init__(self) -> None:
        if not self.size > 0 or not self.link_mbps > 0:
            raise OutOfRangeError(
                field="size, link_mbps", got=(self.size, self.link_mbps), expected="above 0"
            )
        if not self.min_size <= self.size <= self.max_size:
            raise OutOfRangeError(
                field="size", got=self.size, expected=f"within {self.min_size} .. {self.max_size}"
            )
        if not 1 <= self.min_instances <= self.instances <= self.max_instances:
            raise OutOfRangeError(
                field="instances",
                got=self.instances,
                expected=f"within {self.min_instances} .. {self.max_instances}, from 1 up",
            )

    @property
    def capacity(self) -> float:
        """Capacity of all instances."""
        return self.size * self.instances


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """An action and what stands after it. `shortfall` is what the limits did not allow."""

    action: Action
    size: float
    instances: int
    node_id: str | None = None
    shortfall: float = 0.0

    @property
    def capacity(self) -> float:
        """Capacity of all instances."""
        return self.size * self.instances


def plan_move(deployment: Deployment, wanted: float) -> Move:
    """Return the action that brings a deployment to a wanted capacity, within its limits.

    In order: resize where it stands; move to a host with room; more or fewer instances.
    """
    now = deployment
    if abs(wanted - now.capacity) <= _SLACK * max(1.0, now.capacity):
        return Move(action="no_action", size=now.size, instances=now.instances)
    if wanted > now.capacity:
        return _grow(now, wanted)
    return _shrink(now, wanted)


def _grow(now: Deployment, wanted: float) -> Move:
    each = wanted / now.instances
    can_resize = now.max_size > now.size
    if can_resize and each <= min(now.max_size, now.size + now.host_free) + _SLACK:
        return Move(action="scale_up", size=each, instances=now.instances)
    roomy = [node for node in now.nodes if node.free >= each - _SLACK]
    if can_resize and each <= now.max_size + _SLACK and now.instances == 1 and roomy:
        # The host with the least room that does: large holes stay for large instances.
        best = min(roomy, key=lambda node: (node.free, node.node_id))
        return Move(action="migrate", size=each, instances=1, node_id=best.node_id)
    if now.max_instances > now.instances:
        count = min(now.max_instances, ceil(wanted / now.size - _SLACK))
        short = max(0.0, wanted - count * now.size)
        return Move(action="scale_out", size=now.size, instances=count, shortfall=short)
    most = min(now.max_size, now.size + now.host_free)
    if most > now.size:
        short = max(0.0, wanted - most * now.instances)
        return Move(action="scale_up", size=most, instances=now.instances, shortfall=short)
    short = wanted - now.capacity
    return Move(action="no_action", size=now.size, instances=now.instances, shortfall=short)


def _shrink(now: Deployment, wanted: float) -> Move:
    if now.instances > now.min_instances:
        count = max(now.min_instances, ceil(wanted / now.size - _SLACK), 1)
        if count < now.instances:
            return Move(action="scale_in", size=now.size, instances=count)
    each = max(now.min_size, wanted / now.instances)
    hosts = [node for node in now.nodes if node.is_in_use and node.free >= each - _SLACK]
    small = each <= CONSOLIDATE_RATIO * now.size
    if now.is_alone_on_host and now.instances == 1 and hosts and small:
        best = min(hosts, key=lambda node: (node.free, node.node_id))
        return Move(action="consolidate", size=each, instances=1, node_id=best.node_id)
    if each < now.size - _SLACK and now.min_size < now.max_size:
        return Move(action="scale_down", size=each, instances=now.instances)
    return Move(action="no_action", size=now.size, instances=now.instances)
