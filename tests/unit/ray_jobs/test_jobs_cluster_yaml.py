import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

ROOT = Path(__file__).parents[3]

# vCPUs and GiB by the provider's tables of instance types.
INSTANCE_VCPUS = {"m7i.xlarge": 4, "c7i.4xlarge": 16, "c7i.2xlarge": 8}


@pytest.fixture
def cluster_yaml() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def ray_schema() -> dict[str, Any]:
    return json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())


def refused(config: dict[str, Any]) -> bool:
    """Say whether Ray would refuse a cluster file, as written or with its defaults filled in."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        jsonschema.validate(config, ray_schema())
        validate_config(prepare_config(copy.deepcopy(config)))
    except Exception:  # noqa: BLE001 - Ray raises whatever its parser meets first
        return True
    return False


def test_ray_accepts_the_cluster_file_as_written_and_prepared(
    cluster_yaml: dict[str, Any],
) -> None:
    assert not refused(cluster_yaml)


@pytest.mark.parametrize(
    "damage",
    [
        {"idle_timeout_minutes": -1},
        {"max_worker": 3},
        {"max_workers": "three"},
        {"head_node_type": "nobody"},
        {"provider": {"type": "cloud-of-my-own"}},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_a_damaged_cluster_file_is_refused(
    cluster_yaml: dict[str, Any], damage: dict[str, Any]
) -> None:
    assert refused(cluster_yaml | damage)


def test_the_head_runs_no_tasks(cluster_yaml: dict[str, Any]) -> None:
    head = cluster_yaml["available_node_types"][cluster_yaml["head_node_type"]]

    assert head["resources"]["CPU"] == 0
    assert head["max_workers"] == 0


def test_no_node_type_offers_more_cpus_than_its_instance_has(cluster_yaml: dict[str, Any]) -> None:
    for node_type in cluster_yaml["available_node_types"].values():
        offered = max(node_type["resources"].values())

        assert offered <= INSTANCE_VCPUS[node_type["node_config"]["InstanceType"]]


def test_the_workers_of_all_types_fit_under_the_limit(cluster_yaml: dict[str, Any]) -> None:
    at_most = [kind["max_workers"] for kind in cluster_yaml["available_node_types"].values()]

    assert sum(at_most) <= cluster_yaml["max_workers"]


def test_the_security_group_opens_ssh_to_one_network_and_nothing_else(
    cluster_yaml: dict[str, Any],
) -> None:
    (rule,) = cluster_yaml["provider"]["security_group"]["IpPermissions"]

    assert (rule["FromPort"], rule["ToPort"]) == (22, 22)
    assert all(not each["CidrIp"].endswith("/0") for each in rule["IpRanges"])


def test_every_ray_process_starts_with_token_auth_and_a_private_dashboard(
    cluster_yaml: dict[str, Any],
) -> None:
    head = cluster_yaml["head_start_ray_commands"][-1]
    worker = cluster_yaml["worker_start_ray_commands"][-1]

    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head


def test_torch_is_installed_before_the_lock(cluster_yaml: dict[str, Any]) -> None:
    commands = "\n".join(cluster_yaml["setup_commands"])

    assert 0 < commands.index("torch-cpu.txt") < commands.index("lock-py311.txt")


def test_the_files_that_setup_installs_from_exist(cluster_yaml: dict[str, Any]) -> None:
    named = re.findall(r"requirements/\S+", "\n".join(cluster_yaml["setup_commands"]))

    assert named
    assert all((ROOT / name).is_file() for name in named)
