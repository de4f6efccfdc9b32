import numpy as np
import pandas as pd

from novacron.telemetry.datasets import placement


def instances(**changes):
    columns = {
        "instance_sn": ["i0", "i1", "i2"],
        "role": ["HN", "CN", "CN"],
        "app_name": ["a", "a", "b"],
        "cpu_request": [12, 8, 64],
        "gpu_request": [1, 0, 0],
        "rdma_request": [25, 1, 100],
        "memory_request": [120.0, 40.0, 320.0],
        "disk_request": [640.0, 200.0, 80.0],
        "max_instance_per_node": [8, -1, 2],
        "creation_time": [np.nan, 475.0, 900.0],
        "scheduled_time": [np.nan, 480.0, 905.0],
        "deletion_time": [75.0, np.nan, 1000.0],
    }
    return columns | changes


def test_minus_one_per_node_means_no_limit(publish):
    result = placement.adapt_dlrm(publish(placement.DLRM_FILE, instances()))

    assert result.table["max_per_node"].to_pylist() == [8, None, 2]
    assert result.masked == {"max_instance_per_node -1: no limit": 1}


def test_instances_older_than_the_trace_are_kept_and_marked(publish):
    table = placement.adapt_dlrm(publish(placement.DLRM_FILE, instances())).table

    assert table["older_than_trace"].to_pylist() == [True, False, False]
    assert table["outlives_trace"].to_pylist() == [False, True, False]
    assert table["created_s"].to_pylist() == [None, 475.0, 900.0]


def test_the_share_of_the_network_adapter_is_a_ratio(publish):
    table = placement.adapt_dlrm(publish(placement.DLRM_FILE, instances())).table

    assert table["rdma_request_ratio"].to_pylist() == [0.25, 0.01, 1.0]


def test_an_instance_deleted_before_it_was_created_is_set_aside(publish):
    folder = publish(placement.DLRM_FILE, instances(deletion_time=[75.0, 100.0, 1000.0]))

    result = placement.adapt_dlrm(folder)

    assert result.rejected_counts == {"deleted before it was created": 1}


def test_nodes_without_gpus_need_no_model_and_others_do(publish):
    folder = publish(
        placement.GPU_NODES_FILE,
        {
            "sn": ["n0", "n1", "n2"],
            "cpu_milli": [32000] * 3,
            "memory_mib": [262144] * 3,
            "gpu": [0, 2, 2],
            "model": [None, "T4", None],
        },
    )

    result = placement.adapt_gpu_nodes(folder)

    assert result.table["gpu_model"].to_pylist() == [None, "T4"]
    assert result.rejected_counts == {"node with GPUs of no model": 1}


def pods(publish, **changes):
    columns = {
        "name": ["p0", "p1", "p2"],
        "cpu_milli": [12000, 6000, 1000],
        "memory_mib": [16384, 12288, 0],
        "num_gpu": [1, 1, 0],
        "gpu_milli": [1000, 460, 0],
        "qos": ["LS", "BE", "LS"],
        "pod_phase": ["Running", "Pending", "Failed"],
        "creation_time": [0, 100, 200],
        "scheduled_time": [0.0, np.nan, 201.0],
        "deletion_time": [900, 500, 300],
    }
    return publish(placement.GPU_PODS_FILE, columns | changes)


def test_a_pod_alive_at_the_end_of_the_trace_is_censored(publish):
    table = placement.adapt_gpu_pods(pods(publish)).table

    assert table["censored"].to_pylist() == [True, False]


def test_a_pending_pod_was_never_scheduled(publish):
    table = placement.adapt_gpu_pods(pods(publish)).table

    assert table["scheduled_s"].to_pylist() == [0.0, None]


def test_a_pod_that_asks_for_no_memory_is_set_aside(publish):
    result = placement.adapt_gpu_pods(pods(publish))

    assert result.rejected_counts == {"pod that asks for no memory": 1}


def arrivals(publish, **changes):
    columns = {
        "split": ["train", "train", "dev", "dev", "dev"],
        "ts_s": np.array([300, 300, 600, 600, 900], np.int32),
        "batch": np.zeros(5, np.int16),
        "flavor": ["g"] * 5,
        "vcpu": np.full(5, 2.0, np.float32),
        "mem_gb": np.full(5, 3.5, np.float32),
        "censored": pd.array([None, None, False, True, False], dtype="boolean"),
        "life_bin": [np.nan, np.nan, 0.0, 1.0, 1.0],
        "life_min_s": [np.nan, np.nan, 0.0, 300.0, 300.0],
    }
    return publish(placement.AZURE_V1_FILE, columns | changes)


def test_equal_arrivals_of_one_tenant_are_not_duplicates(publish):
    result = placement.adapt_azure_v1(arrivals(publish))

    assert result.table.num_rows == 5
    assert result.rejected_counts == {}


def test_a_lifetime_is_an_interval_and_open_where_censored(publish):
    table = placement.adapt_azure_v1(arrivals(publish)).table

    assert table["life_min_s"].to_pylist() == [None, None, 0.0, 300.0, 300.0]
    assert table["life_max_s"].to_pylist() == [None, None, 300.0, None, None]
    assert table["censored"].to_pylist() == [None, None, False, True, False]


def test_an_arrival_earlier_than_the_one_before_is_set_aside(publish):
    folder = arrivals(publish, ts_s=np.array([300, 300, 600, 300, 900], np.int32))

    result = placement.adapt_azure_v1(folder)

    assert result.rejected_counts == {"arrivals run backwards": 1}
