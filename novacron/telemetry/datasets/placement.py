"""What was asked of clusters and when: pods and nodes of Alibaba, VM arrivals of Azure.

Sources: Alibaba clusterdata, GPU 2023 and DLRM 2025; huaweicloud/trace_generation_rnn after
Cortez et al., SOSP 2017 (Azure V1, CC-BY-4.0). Times are seconds from the start of each trace.
"""

from pathlib import Path
from typing import Final

import numpy as np

from novacron.telemetry.datasets.adapted import Adapted, Sieve, own_table
from novacron.telemetry.datasets.files import read_native

DLRM_FILE: Final = "place_alibaba_dlrm2025/instances.parquet"
GPU_NODES_FILE: Final = "place_alibaba_gpu2023/nodes.parquet"
GPU_PODS_FILE: Final = "place_alibaba_gpu2023/pods.parquet"
AZURE_V1_FILE: Final = "place_azure_v1/vm_arrivals.parquet"

NO_LIMIT: Final = -1
"""How the DLRM trace writes that a node may hold any number of instances of an application."""

_DLRM_ASKS: Final = {
    "cpu_request": "cpu_request_vcpu",
    "gpu_request": "gpu_request",
    "memory_request": "mem_request_gib",
    "disk_request": "disk_request_gib",
}
_DLRM_TIMES: Final = {
    "creation_time": "created_s",
    "scheduled_time": "scheduled_s",
    "deletion_time": "deleted_s",
}


def adapt_dlrm(data_dir: Path) -> Adapted:
    """Return recommendation-model instances with four resources and anti-affinity.

    `created_s` is null for instances older than the trace, `deleted_s` for those that outlive it.
    `max_per_node` is null where there is no limit. RDMA is a share of the adapter's bandwidth.
    """
    names = ["instance_sn", "role", "app_name", "rdma_request", "max_instance_per_node"]
    frame = read_native(data_dir, DLRM_FILE, [*names, *_DLRM_ASKS, *_DLRM_TIMES])
    sieve = Sieve(frame)
    sieve.require_unique("instance_sn")
    sieve.require_finite("memory_request", "disk_request")
    sieve.require_between("rdma_request", 0, 100)
    ends_first = sieve.kept.deletion_time < sieve.kept.creation_time
    sieve.reject(ends_first, "deleted before it was created")
    free = sieve.kept.max_instance_per_node == NO_LIMIT
    sieve.mask("max_instance_per_node", free, "max_instance_per_node -1: no limit")
    kept = sieve.kept
    columns = {
        "instance_id": kept.instance_sn,
        "app": kept.app_name,
        "role": kept.role,
        "max_per_node": kept.max_instance_per_node.astype("Int64"),
        "older_than_trace": kept.creation_time.isna(),
        "outlives_trace": kept.deletion_time.isna(),
        "rdma_request_ratio": kept.rdma_request / 100,
    }
    columns |= {new: kept[old] for old, new in (_DLRM_ASKS | _DLRM_TIMES).items()}
    return sieve.finish(own_table(columns))


def adapt_gpu_nodes(data_dir: Path) -> Adapted:
    """Return the nodes and what they hold; `gpu_model` is null on nodes without GPUs.

    All pods at once ask for less CPU and memory than all nodes hold: leave nodes out to make room
    scarce.
    """
    frame = read_native(
        data_dir, GPU_NODES_FILE, ["sn", "cpu_milli", "memory_mib", "gpu", "model"]
    )
    sieve = Sieve(frame)
    sieve.require_unique("sn")
    nameless = (sieve.kept.gpu > 0) & sieve.kept.model.isna()
    sieve.reject(nameless, "node with GPUs of no model")
    columns = {
        "node_id": sieve.kept.sn,
        "cpu_milli": sieve.kept.cpu_milli,
        "mem_mib": sieve.kept.memory_mib,
        "gpus": sieve.kept.gpu,
        "gpu_model": sieve.kept.model,
    }
    return sieve.finish(own_table(columns))


def adapt_gpu_pods(data_dir: Path) -> Adapted:
    """Return the pods and what they asked for.

    `gpu_milli` is the share of each of `gpus` devices. A pod still running at the end of the trace
    is `censored`: its `deleted_s` is the trace's end. A pending pod has no `scheduled_s`.
    """
    names = ["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "qos", "pod_phase"]
    times = ["creation_time", "scheduled_time", "deletion_time"]
    frame = read_native(data_dir, GPU_PODS_FILE, [*names, *times])
    sieve = Sieve(frame)
    sieve.require_unique("name")
    sieve.reject(sieve.kept.memory_mib <= 0, "pod that asks for no memory")
    ends_first = sieve.kept.deletion_time < sieve.kept.creation_time
    sieve.reject(ends_first, "deleted before it was created")
    kept = sieve.kept
    columns = {
        "pod_id": kept.name,
        "cpu_milli": kept.cpu_milli,
        "mem_mib": kept.memory_mib,
        "gpus": kept.num_gpu,
        "gpu_milli": kept.gpu_milli,
        "qos": kept.qos,
        "phase": kept.pod_phase,
        "created_s": kept.creation_time,
        "scheduled_s": kept.scheduled_time,
        "deleted_s": kept.deletion_time,
        "censored": kept.deletion_time == frame.deletion_time.max(),
    }
    return sieve.finish(own_table(columns))


def adapt_azure_v1(data_dir: Path) -> Adapted:
    """Return VM arrivals in bins of 300 s, in the order in which they were published.

    Equal rows are not duplicates: one tenant often asks for several equal machines at once
    (`batch`). Hosts are not part of the source. A lifetime is known as [`life_min_s`, `life_max_s`) for the dev split alone; where
    `censored`, the VM was alive at the cut and only `life_min_s` holds.
    """
    native = ["split", "ts_s", "batch", "flavor", "vcpu", "mem_gb"]
    lives = ["censored", "life_bin", "life_min_s"]
    frame = read_native(data_dir, AZURE_V1_FILE, [*native, *lives])
    sieve = Sieve(frame)
    sieve.require_finite("vcpu", "mem_gb")
    sieve.reject((sieve.kept.vcpu <= 0) | (sieve.kept.mem_gb <= 0), "VM without CPU or memory")
    sieve.reject(sieve.kept.ts_s < sieve.kept.ts_s.cummax(), "arrivals run backwards")
    kept = sieve.kept
    edges_s = kept.groupby("life_bin").life_min_s.first().sort_index()
    life_max_s = kept.life_bin.map(edges_s.shift(-1))
    columns = {
        "split": kept["split"].astype(str),
        "arrived_s": kept.ts_s.astype(np.int64),
        "batch": kept.batch.astype(np.int64),
        "flavor": kept.flavor.astype(str),
        "cpu_request_vcpu": kept.vcpu,
        "mem_request_gb": kept.mem_gb,
        "censored": kept.censored,
        "life_min_s": kept.life_min_s,
        "life_max_s": life_max_s.mask(kept.censored.fillna(value=False).astype(bool)),
    }
    return sieve.finish(own_table(columns))
