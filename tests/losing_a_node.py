"""Searches on a cluster of three nodes and kills one that has a trial; prints the answer.

`python -m tests.losing_a_node FOLDER`; a process of its own, because it is a cluster of its own.
"""

import json
import os
import sys
from pathlib import Path

from ray.cluster_utils import Cluster

from tuning.progress import Lines
from tuning.request import SearchRequest
from tuning.study import run_search
from tuning.summary import payload


class LosingANode(Lines):
    """Kills a node, without a goodbye, after the third trial, and adds another."""

    def __init__(self, metrics, cluster, victim):
        super().__init__(metrics)
        self._cluster, self._victim, self._count = cluster, victim, 0

    def ended(self, record, left_s):
        super().ended(record, left_s)
        self._count += 1
        if self._count == 3:
            self._cluster.remove_node(self._victim, allow_graceful=False)
            self._cluster.add_node(num_cpus=1)


def main(folder: Path) -> int:
    from tests.toy_objective import SLOW

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    victim = cluster.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = cluster.address
    request = SearchRequest(
        model="tests.toy_objective:SLOW", trials=10, seeds=(1,), finalists=1,
        storage=str(folder / "tune"), with_report=False, ranges={"kind": {"choices": ("plain", "bent")}},
        scheduler="none", save_every_s=0.0,
    )  # fmt: skip
    outcome = run_search(request, LosingANode(SLOW.metrics, cluster, victim))
    cluster.shutdown()
    sys.stdout.write(json.dumps(payload(outcome)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
