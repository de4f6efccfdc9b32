"""The 100 placement factors in five categories: the one typed table.

Names and categories are those of the workload optimizer that this model re-implements. A factor
that a caller does not give is absent: NaN in the matrix, never a default.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Final, Literal

from novacron.errors import OutOfRangeError, SchemaError, UnknownNameError

Category = Literal["resource", "performance", "infrastructure", "network", "operational"]
Kind = Literal["numeric", "categorical", "ordinal", "temporal"]
Side = Literal["node", "workload", "pair"]
Value = float | int | str | bool

CATEGORIES: Final[tuple[Category, ...]] = (
    "resource",
    "performance",
    "infrastructure",
    "network",
    "operational",
)
NAME_BUCKETS: Final = 64
"""A categorical factor without a list of values takes any name, coded as CRC-32 modulo this."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor.

    `low` and `high` bound a number in `unit`; `values` lists what a categorical factor may be, and
    is empty where any name will do. `side` says whose property it is; a `pair` factor belongs to
    one node as seen from one workload. `is_required` means that it may not be absent.
    """

    name: str
    category: Category
    kind: Kind
    side: Side
    unit: str
    low: float
    high: float
    doc: str
    values: tuple[str, ...] = ()
    is_required: bool = False

    def encode(self, value: object) -> float:
        """Return a value as the number that the models see; NaN where it is None or NaN.

        Raises:
            SchemaError: It is not a number, or not a name where a name is expected.
            OutOfRangeError: It is outside the range, or no value of the list.
        """
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return math.nan
        if self.kind == "categorical":
            return self._encode_name(value)
        if isinstance(value, str) or not isinstance(value, float | int):
            raise SchemaError(field=self.name, got=value, expected=f"a number in {self.unit}")
        number = float(value)
        if not self.low <= number <= self.high:
            raise OutOfRangeError(
                field=self.name,
                got=value,
                expected=f"[{self.low:g}, {self.high:g}] {self.unit}",
                remedy=f"{self.name}: {self.doc}, in {self.unit}.",
            )
        return number

    def _encode_name(self, value: object) -> float:
        if not isinstance(value, str) or not value:
            raise SchemaError(field=self.name, got=value, expected="a name")
        if not self.values:
            return float(zlib.crc32(value.encode()) % NAME_BUCKETS)
        if value not in self.values:
            raise OutOfRangeError(
                field=self.name, got=value, expected=f"one of {', '.join(self.values)}"
            )
        return float(self.values.index(value))


def _rows(category: Category, text: str) -> tuple[Factor, ...]:
    """Read lines `name | side | kind | unit | range or values | meaning`; a `!` means required."""
    factors = []
    for line in text.strip().splitlines():
        name, side, kind, unit, span, doc = (part.strip() for part in line.split("|"))
        values: tuple[str, ...] = ()
        if kind == "categorical":
            values = () if span == "any" else tuple(span.split())
            low, high = 0.0, float(len(values) - 1 if values else NAME_BUCKETS - 1)
        else:
            low, high = (float(end) for end in span.split())
        factors.append(
            Factor(
                name.removesuffix("!"),
                category,
                kind,  # type: ignore[arg-type]
                side,  # type: ignore[arg-type]
                unit,
                low,
                high,
                doc,
                values,
                name.endswith("!"),
            )
        )
    return tuple(factors)


_RESOURCE: Final = """
cpu_cores_available! | node | numeric | vCPU | 0 4096 | cores not yet promised to anyone
cpu_frequency | node | numeric | MHz | 100 10000 | sustained clock of a core
cpu_architecture | node | categorical | name | x86_64 aarch64 ppc64le s390x riscv64 | instruction set
memory_available! | node | numeric | GB | 0 65536 | memory not yet promised to anyone
memory_bandwidth | node | numeric | MB/s | 100 1e7 | of the whole node
memory_type | node | categorical | name | ddr3 ddr4 ddr5 hbm cxl | kind of memory
storage_available | node | numeric | GB | 0 1e7 | local storage not yet promised to anyone
storage_type | node | categorical | name | hdd sata_ssd nvme network | kind of local storage
storage_iops | node | numeric | IOPS | 1 1e8 | random reads of 4 KiB, whole node
storage_bandwidth | node | numeric | MB/s | 1 1e6 | sequential, whole node
network_bandwidth | node | numeric | Mbps | 0 1e7 | adapter bandwidth not yet promised to anyone
network_latency | pair | numeric | ms | 0 10000 | round trip between the node and the workload's users
network_topology | node | categorical | name | leaf_spine fat_tree torus star mesh | of its network
gpu_available | node | numeric | GPU | 0 64 | devices not yet promised to anyone
gpu_memory | node | numeric | GB | 0 1024 | of one device
gpu_compute_capability | node | numeric | 1 | 0 20 | version that the vendor states
specialized_hardware | node | categorical | name | none fpga sgx sev dpu tpu | accelerator or enclave
hardware_generation | node | ordinal | generation | 1 20 | higher is newer
resource_overcommit_ratio | node | numeric | ratio | 0 10 | promised cores over physical cores
resource_fragmentation | node | numeric | 0..1 | 0 1 | imbalance of its free CPU and memory shares
"""

_PERFORMANCE: Final = """
historical_cpu_performance | node | numeric | 0..1 | 0 1 | CPU work got over work asked, last hour
historical_memory_performance | node | numeric | 0..1 | 0 1 | memory bandwidth got over asked, last hour
historical_disk_performance | node | numeric | 0..1 | 0 1 | disk operations got over asked, last hour
historical_network_performance | node | numeric | 0..1 | 0 1 | network traffic got over asked, last hour
benchmark_scores | node | numeric | ratio | 0 100 | single-core score over the fleet's reference node
application_affinity | pair | numeric | 0..1 | 0 1 | share of the workload's traffic that stays on the node
workload_similarity | pair | numeric | 0..1 | 0 1 | likeness of its demand to the node's residents
cache_locality | pair | numeric | 0..1 | 0 1 | share of the working set already cached on the node
numa_topology | node | categorical | name | uma two_socket four_socket eight_socket | memory domains
cpu_cache_size | node | numeric | MB | 0.1 4096 | last-level cache of the node
memory_locality | pair | numeric | 0..1 | 0 1 | share of memory it would get in its own NUMA domain
io_scheduler | node | categorical | name | none mq_deadline bfq kyber | of the block devices
kernel_version | node | categorical | name | any | of the host
hypervisor_type | node | categorical | name | kvm xen hyperv esxi none | bare metal is none
virtualization_overhead | node | numeric | ratio | 0 1 | share of CPU that the hypervisor takes
container_runtime | node | categorical | name | containerd crio docker kata none | of the host
security_features | node | categorical | name | none secure_boot tpm confidential | strongest one
performance_isolation | node | numeric | 0..1 | 0 1 | 1: residents do not share cores or cache
qos_guarantees | workload | numeric | 0..1 | 0 1 | share of its request that must always be there
sla_requirements | workload | numeric | 0..1 | 0 1 | availability it was promised
latency_sensitivity | workload | numeric | 0..1 | 0 1 | 1: users wait for every answer
throughput_requirements | workload | numeric | Mbps | 0 1e6 | network traffic it needs
burstability | workload | numeric | ratio | 0 100 | 95th percentile of its CPU use over the mean
scalability_requirements | workload | numeric | ratio | 1 1000 | growth it must be able to take
fault_tolerance_level | workload | ordinal | level | 1 5 | 1: one failure ends it; 5: none is felt
"""

_INFRASTRUCTURE: Final = """
datacenter_location | node | categorical | name | any | region
rack_position | node | categorical | name | any | rack
power_efficiency | node | numeric | 0..1 | 0 1 | 1 minus idle over peak power
cooling_efficiency | node | numeric | ratio | 0 20 | heat removed over power of cooling
temperature | node | numeric | C | -20 80 | inlet air
humidity | node | numeric | 0..1 | 0 1 | relative
power_usage_effectiveness | node | numeric | ratio | 1 4 | facility power over IT power
redundancy_level | node | ordinal | level | 1 5 | of power supplies and disks
backup_power | node | categorical | name | none ups generator ups_generator | of the site
network_redundancy | node | ordinal | level | 1 5 | independent uplinks
hardware_age | node | numeric | years | 0 30 | since it was put in service
maintenance_schedule | node | temporal | h | 0 8784 | until the next planned stop
failure_history | node | numeric | 1/year | 0 1000 | failures a year, observed
mtbf_rating | node | numeric | h | 100 1e7 | mean time between failures, by the vendor
vendor_reputation | node | ordinal | scale | 1 5 | of the maker
warranty_status | node | categorical | name | none expired limited full | of the node
compliance_certifications | node | categorical | name | none iso27001 soc2 pci_dss hipaa fedramp | strictest
environmental_impact | node | numeric | gCO2e/kWh | 0 2000 | carbon intensity of its power
disaster_recovery_tier | node | ordinal | tier | 0 7 | of the site
physical_security_level | node | ordinal | level | 1 5 | of the site
"""

_NETWORK: Final = """
network_distance | pair | numeric | km | 0 21000 | along the earth, between the node and the users
hop_count | pair | numeric | hops | 0 255 | routers between the node and the users
bandwidth_cost | node | numeric | $/GB | 0 100 | of traffic that leaves the site
network_congestion | node | numeric | 0..1 | 0 1 | utilisation of its uplink
routing_efficiency | pair | numeric | ratio | 0 1 | light-speed time over measured time
cdn_proximity | pair | numeric | ms | 0 10000 | to the nearest cache
peering_agreements | node | categorical | name | none transit public private | of the site
network_provider | node | categorical | name | any | carrier or cloud
bgp_path_length | pair | numeric | AS | 0 64 | autonomous systems on the path
packet_loss_rate | pair | numeric | ratio | 0 1 | on the path to the users
jitter_variance | pair | numeric | ms2 | 0 1e6 | of the round trip
network_security | node | ordinal | level | 1 5 | of its network
firewall_rules | node | numeric | rules | 0 1e6 | that a packet may pass
load_balancer_affinity | pair | numeric | 0..1 | 0 1 | share of sessions already pinned to the node
dns_resolution_time | node | numeric | ms | 0 10000 | median, on the node
"""

_OPERATIONAL: Final = """
current_load | node | numeric | ratio | 0 10 | CPU work asked over cores, now
load_trend | node | numeric | 1/h | -10 10 | change of the load an hour
capacity_utilization | node | numeric | 0..1 | 0 1 | promised cores over cores that may be promised
migration_cost | pair | numeric | $ | 0 1e6 | of moving it there; 0 for a new workload
deployment_time | pair | numeric | s | 0 86400 | until its image is there
startup_time | node | numeric | s | 0 86400 | until a machine boots
operational_cost | node | numeric | $/h | 0 10000 | of the share that the workload would take
licensing_cost | node | numeric | $/h | 0 10000 | of software tied to the node
staff_expertise | node | ordinal | level | 1 5 | of those who run it
automation_level | node | ordinal | level | 1 5 | of its operation
monitoring_coverage | node | numeric | 0..1 | 0 1 | share of its parts that are watched
alerting_efficiency | node | numeric | 0..1 | 0 1 | share of alerts that were right
incident_response_time | node | numeric | min | 0 10080 | median
change_management_maturity | node | ordinal | level | 1 5 | of its owners
documentation_quality | node | ordinal | level | 1 5 | of its runbooks
backup_strategy | node | ordinal | level | 1 5 | of its data
disaster_recovery_rto | node | numeric | h | 0 8784 | time until service is back
disaster_recovery_rpo | node | numeric | h | 0 8784 | data lost at most
service_dependencies | workload | numeric | services | 0 1000 | that it calls
integration_complexity | workload | ordinal | level | 1 5 | of wiring it up
"""

FACTORS: Final[tuple[Factor, ...]] = (
    *_rows("resource", _RESOURCE),
    *_rows("performance", _PERFORMANCE),
    *_rows("infrastructure", _INFRASTRUCTURE),
    *_rows("network", _NETWORK),
    *_rows("operational", _OPERATIONAL),
)
NAMES: Final = tuple(factor.name for factor in FACTORS)
PLACE: Final = {name: place for place, name in enumerate(NAMES)}
_BY_NAME: Final = {factor.name: factor for factor in FACTORS}


def factor(name: str) -> Factor:
    """Return the factor of a name.

    Raises:
        UnknownNameError: There is none; the nearest name is suggested.
    """
    if name not in _BY_NAME:
        raise UnknownNameError(kind="placement factor", got=name, known=NAMES)
    return _BY_NAME[name]


def factor_table() -> str:
    """Render the table as Markdown, one row a factor."""
    lines = [
        "| category | factor | side | kind | unit | range or values | may be absent | meaning |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in FACTORS:
        if one.kind == "categorical":
            span = ", ".join(one.values) or "any name"
        else:
            span = f"{one.low:g} .. {one.high:g}"
        may = "no" if one.is_required else "yes"
        cells = (one.category, f"`{one.name}`", one.side, one.kind, one.unit, span, may, one.doc)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
