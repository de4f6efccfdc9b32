import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_placement import node, workload

from novacron.errors import InvalidInputError, OutOfRangeError, SchemaError, UnknownNameError
from novacron.models.placement.checker import Ledger, NodeFacts, violations
from novacron.models.placement.constraints import filter_nodes
from novacron.models.placement.facts import facts_of
from novacron.models.placement.fleet import Fleet
from novacron.models.placement.workload import read_workload


def feasible(nodes, **asked):
    fleet = Fleet.read(nodes)
    mask = filter_nodes(fleet, read_workload(workload(**asked))).feasible_H
    return [name for name, ok in zip(fleet.node_ids, mask, strict=True) if ok]


@pytest.mark.parametrize(
    ("asked", "changed", "left"),
    [
        ({"cpu_cores": 9}, {"cpu_cores_available": 8.9}, ["n1"]),
        ({"memory_gb": 65}, {}, []),
        ({"memory_gb": 64}, {"memory_available": 63.0}, ["n1"]),
        ({"storage_gb": 10}, {"storage_available": 9.0}, []),
        ({"network_mbps": 500}, {"network_bandwidth": 400.0}, ["n1"]),
        ({"gpus": 1}, {"gpu_available": 2.0}, ["n2"]),
        ({"allowed_nodes": ["n2"]}, {}, ["n2"]),
        ({"excluded_nodes": ["n2"]}, {}, ["n1"]),
        ({"affinity_groups": ["db"]}, {"groups": {"db": 1}}, ["n2"]),
        ({"anti_affinity_groups": ["db"]}, {"groups": {"db": 1}}, ["n1"]),
        ({"group": "db", "max_per_node": 2}, {"groups": {"db": 2}}, ["n1"]),
        ({"allowed_regions": ["north"]}, {}, ["n1"]),
        ({"excluded_regions": ["north"]}, {}, ["n2"]),
        ({"min_security_level": 3}, {"network_security": 2}, ["n1"]),
        ({"max_latency_ms": 6.5}, {}, ["n1"]),
        ({"min_bandwidth_mbps": 5000}, {"network_bandwidth": 4000.0}, ["n1"]),
        ({"max_cost_per_hour": 1.15}, {}, ["n1"]),
    ],
)
def test_each_constraint_leaves_the_nodes_that_satisfy_it(asked, changed, left):
    assert feasible([node(1), node(2, **changed)], **asked) == left


@pytest.mark.parametrize(
    ("asked", "absent"),
    [
        ({"max_latency_ms": 100}, "network_latency"),
        ({"max_cost_per_hour": 100}, "operational_cost"),
        ({"min_security_level": 1}, "physical_security_level"),
        ({"excluded_regions": ["east"]}, "datacenter_location"),
        ({"storage_gb": 1}, "storage_available"),
    ],
)
def test_what_is_not_known_of_a_node_does_not_satisfy_a_constraint_and_is_counted(asked, absent):
    fleet = Fleet.read([node(1, **{absent: None})])

    found = filter_nodes(fleet, read_workload(workload(**asked)))

    assert not found.feasible_H.any()
    assert "unknown on 1" in found.because


def test_why_no_node_is_left_is_said_with_counts_per_constraint():
    nodes = [node(n) for n in range(1, 5)]
    found = filter_nodes(
        Fleet.read(nodes), read_workload(workload(memory_gb=100, allowed_regions=["north"]))
    )

    assert "none of 4 nodes is feasible" in found.because
    assert "memory fails on 4" in found.because
    assert "region fails on 2" in found.because


@pytest.mark.parametrize(
    "asked",
    [
        {"allowed_nodes": ["n1"], "excluded_nodes": ["n1", "n2"]},
        {"allowed_regions": ["north"], "excluded_regions": ["north"]},
        {"affinity_groups": ["db"], "anti_affinity_groups": ["db", "web"]},
        {"group": "db", "max_per_node": 1, "affinity_groups": ["db"]},
        {"group": "db", "max_per_node": 0},
    ],
)
def test_constraints_that_contradict_each_other_are_refused(asked):
    with pytest.raises(InvalidInputError, match="expected"):
        read_workload(workload(**asked))


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"cpu_coers": 3}, UnknownNameError),
        ({"cpu_cores": 0}, OutOfRangeError),
        ({"cpu_cores": float("nan")}, OutOfRangeError),
        ({"memory_gb": "8"}, SchemaError),
        ({"gpus": 1.5}, OutOfRangeError),
        ({"gpus": 2, "gpu_share": 0.5}, OutOfRangeError),
        ({"allowed_nodes": "n1"}, SchemaError),
        ({"max_latency_ms": -1}, OutOfRangeError),
        ({"cpu_frequency": 2600}, SchemaError),
        ({"latency_sensitivity": 2}, OutOfRangeError),
    ],
)
def test_a_wrong_request_is_refused_by_name(asked, error):
    with pytest.raises(error):
        read_workload(workload(**asked))


@pytest.mark.parametrize(
    ("changed", "error", "named"),
    [
        ({"cpu_cores_available": None}, SchemaError, "n1.cpu_cores_available"),
        ({"memory_available": None}, SchemaError, "n1.memory_available"),
        ({"memoryy": 3}, UnknownNameError, "memoryy"),
        ({"latency_sensitivity": 1}, SchemaError, "latency_sensitivity"),
        ({"temperature": 400}, OutOfRangeError, "temperature"),
        ({"cpu_cores_total": -1}, SchemaError, "cpu_cores_total"),
    ],
)
def test_a_wrong_node_is_refused_by_name(changed, error, named):
    with pytest.raises(error, match=named):
        Fleet.read([node(1, **changed)])


def test_no_nodes_and_a_node_twice_are_refused():
    with pytest.raises(SchemaError, match="nodes"):
        Fleet.read([])
    with pytest.raises(SchemaError, match="twice"):
        Fleet.read([node(1), node(1)])


def test_parts_of_devices_need_one_device_with_that_part_free():
    spread = node(1, gpu_available=1.0, gpu_free=[0.5, 0.5])
    whole = node(2, gpu_available=1.0, gpu_free=[1.0, 0.0])

    assert feasible([spread, whole], gpus=1, gpu_share=0.5) == ["n1", "n2"]
    assert feasible([spread, whole], gpus=1) == ["n2"]


def test_hosting_and_releasing_leave_a_fleet_as_it_was():
    fleet = Fleet.read([node(1, gpu_available=2.0)])
    before = fleet.free_HR.copy(), fleet.factor_HF.copy(), fleet.device_HD.copy()
    asked = read_workload(workload(group="db", gpus=1, gpu_share=0.3))

    fleet.host(asked, 0)
    assert fleet.free_HR[0, 0] == 5.0
    assert fleet.factor_HF[0, 0] == 5.0
    assert fleet.groups_of("db")[0] == 1
    assert fleet.node_of("w") == "n1"
    fleet.release("w")

    for old, new in zip(before, (fleet.free_HR, fleet.factor_HF, fleet.device_HD), strict=True):
        np.testing.assert_allclose(new, old)


def test_a_fleet_refuses_what_does_not_fit_and_what_is_there_already():
    fleet = Fleet.read([node(1)])
    fleet.host(read_workload(workload()), 0)

    with pytest.raises(OutOfRangeError, match="placed"):
        fleet.host(read_workload(workload()), 0)
    with pytest.raises(OutOfRangeError, match="free"):
        fleet.host(read_workload(workload(workload_id="v", cpu_cores=6)), 0)


amounts = st.integers(0, 40).map(float)


@given(
    cpu=st.integers(1, 12),
    memory=st.integers(1, 80),
    network=amounts,
    group=st.sampled_from(["", "db", "web"]),
    limit=st.sampled_from([None, 1, 2]),
    bounds=st.fixed_dictionaries(
        {},
        optional={
            "max_latency_ms": st.integers(0, 9),
            "max_cost_per_hour": st.floats(0, 2),
            "min_security_level": st.integers(1, 5),
            "min_bandwidth_mbps": st.integers(0, 20_000),
            "allowed_regions": st.just(["north"]),
            "excluded_regions": st.just(["north"]),
            "affinity_groups": st.just(["web"]),
            "anti_affinity_groups": st.just(["db"]),
            "excluded_nodes": st.just(["n2"]),
        },
    ),
    hidden=st.sampled_from(["", "network_latency", "operational_cost", "datacenter_location"]),
)
@settings(max_examples=150, deadline=None)
def test_the_filter_and_the_independent_checker_agree_on_every_node(
    cpu, memory, network, group, limit, bounds, hidden
):
    if {"allowed_regions", "excluded_regions"} <= set(bounds):
        del bounds["allowed_regions"]
    if group == "web" and limit == 1:
        bounds.pop("affinity_groups", None)
    nodes = [
        node(n, groups={"db": n % 3, "web": n // 2}, network_bandwidth=30.0 * n)
        for n in range(1, 5)
    ]
    nodes[0].pop(hidden, None)
    fleet = Fleet.read(nodes)
    asked = read_workload(
        workload(
            cpu_cores=cpu,
            memory_gb=memory,
            network_mbps=network,
            group=group,
            max_per_node=limit,
            **bounds,
        )
    )

    mask = filter_nodes(fleet, asked).feasible_H

    for row in range(4):
        groups = {name: int(count[row]) for name, count in fleet.group_counts.items()}
        assert mask[row] == (not violations(asked, facts_of(fleet, row), groups=groups))


def test_the_ledger_finds_a_node_that_was_filled_too_far():
    ledger = Ledger([NodeFacts(node_id="a", cpu_cores=4, memory_gb=100)])

    first = ledger.place(read_workload(workload(workload_id="x", cpu_cores=3)), "a")
    second = ledger.place(read_workload(workload(workload_id="y", cpu_cores=2)), "a")

    assert (first, second) == ((), ("cpu",))
    assert ledger.infeasible == [("y", "a", ("cpu",))]
    ledger.release("x")
    assert ledger.place(read_workload(workload(workload_id="z", cpu_cores=2)), "a") == ()


def test_the_ledger_finds_device_shares_that_no_assignment_can_hold():
    facts = NodeFacts(node_id="a", cpu_cores=99, memory_gb=999, gpu_devices=(1.0, 1.0))
    parts = [read_workload(workload(workload_id=f"p{n}", gpus=1, gpu_share=0.6)) for n in range(2)]

    assert violations(parts[1], facts, (parts[0],)) == ()
    whole = read_workload(workload(workload_id="whole", gpus=1))
    assert violations(whole, facts, tuple(parts)) == ("gpu",)
