"""Has every placement of a replay checked over again by the independent checker."""

from novacron.models.placement.arrivals import Requests
from novacron.models.placement.checker import Ledger, NodeFacts
from novacron.models.placement.workload import Constraints, Workload


class Audit:
    """Follows a replay with books of its own.

    Args:
        requests: Those that are replayed.
        totals: Cores, GB of memory, GB of storage, Mbps and devices of each node.
    """

    def __init__(self, requests: Requests, totals: list[tuple[float, ...]]) -> None:
        self._requests = requests
        self._ledger = Ledger([_facts(number, each) for number, each in enumerate(totals)])

    @property
    def infeasible(self) -> int:
        """Return how many placements violated a constraint."""
        return len(self._ledger.infeasible)

    @property
    def placements(self) -> int:
        """Return how many placements were checked."""
        return self._ledger.placements

    def place(self, request: int, node: int) -> None:
        """Check one placement."""
        self._ledger.place(workload_of(self._requests, request), str(node))

    def release(self, request: int) -> None:
        """Note that a workload ended."""
        self._ledger.release(str(request))


def _facts(number: int, total: tuple[float, ...]) -> NodeFacts:
    whole = int(total[4])
    rest = (total[4] - whole,) if total[4] > whole else ()
    return NodeFacts(
        node_id=str(number),
        cpu_cores=total[0],
        memory_gb=total[1],
        storage_gb=total[2],
        network_mbps=total[3],
        gpu_devices=(1.0,) * whole + rest,
    )


def workload_of(requests: Requests, number: int) -> Workload:
    """Return one request of a trace as a caller would write it."""
    cpu, memory, storage, network, devices = (float(x) for x in requests.amount_NR[number])
    gpus = int(requests.gpus_N[number])
    app, limit = int(requests.app_N[number]), int(requests.max_per_node_N[number])
    return Workload(
        workload_id=str(number),
        cpu_cores=cpu,
        memory_gb=memory,
        storage_gb=storage,
        network_mbps=network,
        gpus=gpus,
        gpu_share=devices / gpus if gpus else 1.0,
        group=f"app{app}" if app >= 0 else "",
        constraints=Constraints(max_per_node=limit or None),
    )
