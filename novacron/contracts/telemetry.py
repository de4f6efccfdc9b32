"""The two telemetry tables. Decoding, validation, features, docs and protobuf read them here.

Units are in the names; ratios lie in 0..1 and percent never crosses the wire; times are UTC.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal

from novacron.contracts.fields import FieldSpec, SampleSchema, schema_of

DwcpMode = Literal["datacenter", "internet", "hybrid"]
DWCP_MODES: Final = ("datacenter", "internet", "hybrid")


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkSample:
    """One measurement of a WAN link, as seen by the sender."""

    ts: Annotated[
        datetime,
        FieldSpec(tag=1, unit="UTC", aggregate="key", required=True, doc="end of the interval"),
    ]
    link_id: Annotated[
        str, FieldSpec(tag=2, unit="id", aggregate="key", required=True, doc="directed link")
    ]
    src: Annotated[
        str | None, FieldSpec(tag=3, unit="id", aggregate="last", doc="sending site")
    ] = None
    dst: Annotated[
        str | None, FieldSpec(tag=4, unit="id", aggregate="last", doc="receiving site")
    ] = None
    mode: Annotated[
        str | None,
        FieldSpec(
            tag=5, unit="enum", aggregate="last", choices=DWCP_MODES, doc="DWCP mode in force"
        ),
    ] = None
    bandwidth_mbps: Annotated[
        float,
        FieldSpec(
            tag=6, unit="Mbit/s", aggregate="mean", low=0, high=1e6, required=True,
            doc="goodput seen over the interval",
        ),
    ]  # fmt: skip
    rtt_ms: Annotated[
        float | None,
        FieldSpec(tag=7, unit="ms", aggregate="mean", low=0, high=60_000, doc="mean round trip"),
    ] = None
    loss_ratio: Annotated[
        float | None,
        FieldSpec(tag=8, unit="0..1", aggregate="mean", low=0, high=1, doc="packets lost / sent"),
    ] = None
    jitter_ms: Annotated[
        float | None,
        FieldSpec(
            tag=9, unit="ms", aggregate="mean", low=0, high=60_000,
            doc="standard deviation of the round trip",
        ),
    ] = None  # fmt: skip
    cwnd_pkts: Annotated[
        float | None,
        FieldSpec(
            tag=10, unit="packets", aggregate="mean", low=0, high=1e7,
            doc="congestion window summed over streams",
        ),
    ] = None  # fmt: skip
    queue_depth_pkts: Annotated[
        float | None,
        FieldSpec(
            tag=11, unit="packets", aggregate="mean", low=0, high=1e7, doc="send queue length"
        ),
    ] = None
    retransmits: Annotated[
        int | None,
        FieldSpec(
            tag=12, unit="packets", aggregate="sum", low=0, high=1e9,
            doc="segments sent again in the interval",
        ),
    ] = None  # fmt: skip
    streams: Annotated[
        int | None,
        FieldSpec(
            tag=13, unit="count", aggregate="last", low=0, high=4096, doc="open AMST streams"
        ),
    ] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSample:
    """One measurement of a hypervisor node or a VM on it."""

    ts: Annotated[
        datetime,
        FieldSpec(tag=1, unit="UTC", aggregate="key", required=True, doc="end of the interval"),
    ]
    node_id: Annotated[
        str, FieldSpec(tag=2, unit="id", aggregate="key", required=True, doc="node or VM")
    ]
    cpu_ratio: Annotated[
        float,
        FieldSpec(
            tag=3, unit="0..1", aggregate="mean", low=0, high=4, required=True,
            doc="CPU used / provisioned; above 1 where bursting is allowed",
        ),
    ]  # fmt: skip
    mem_ratio: Annotated[
        float | None,
        FieldSpec(
            tag=4, unit="0..1", aggregate="mean", low=0, high=1, doc="memory used / provisioned"
        ),
    ] = None
    disk_ratio: Annotated[
        float | None,
        FieldSpec(tag=5, unit="0..1", aggregate="mean", low=0, high=1, doc="disk time busy"),
    ] = None
    net_ratio: Annotated[
        float | None,
        FieldSpec(
            tag=6, unit="0..1", aggregate="mean", low=0, high=1, doc="network used / line rate"
        ),
    ] = None
    latency_mean_ms: Annotated[
        float | None,
        FieldSpec(
            tag=7, unit="ms", aggregate="mean", low=0, high=600_000, doc="mean request latency"
        ),
    ] = None
    latency_p95_ms: Annotated[
        float | None,
        FieldSpec(tag=8, unit="ms", aggregate="max", low=0, high=600_000, doc="95th percentile"),
    ] = None
    latency_p99_ms: Annotated[
        float | None,
        FieldSpec(tag=9, unit="ms", aggregate="max", low=0, high=600_000, doc="99th percentile"),
    ] = None
    throughput_rps: Annotated[
        float | None,
        FieldSpec(
            tag=10, unit="1/s", aggregate="mean", low=0, high=1e8, doc="requests served a second"
        ),
    ] = None
    error_ratio: Annotated[
        float | None,
        FieldSpec(tag=11, unit="0..1", aggregate="mean", low=0, high=1, doc="failed / all"),
    ] = None
    hde_ratio: Annotated[
        float | None,
        FieldSpec(
            tag=12, unit="x", aggregate="mean", low=0, high=1e6,
            doc="bytes before / after delta and compression (HDE)",
        ),
    ] = None  # fmt: skip
    pba_abs_err_ratio: Annotated[
        float | None,
        FieldSpec(
            tag=13, unit="0..1+", aggregate="mean", low=0, high=1e3,
            doc="absolute bandwidth forecast error / actual (PBA)",
        ),
    ] = None  # fmt: skip
    acp_commit_ms: Annotated[
        float | None,
        FieldSpec(
            tag=14, unit="ms", aggregate="mean", low=0, high=600_000, doc="mean commit time (ACP)"
        ),
    ] = None


LINK_SCHEMA: Final[SampleSchema] = schema_of(LinkSample, name="LinkSample", entity="link_id")
NODE_SCHEMA: Final[SampleSchema] = schema_of(NodeSample, name="NodeSample", entity="node_id")
SCHEMAS: Final[dict[str, SampleSchema]] = {"link": LINK_SCHEMA, "node": NODE_SCHEMA}
