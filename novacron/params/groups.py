"""The one table of what may be tuned. Bounds and defaults live here and nowhere else.

Defaults are the values NovaCron ships. Where its code, its validator and its documents disagree,
the value that the running code applies on an internet path is taken, and `source` says so. What
guards correctness (quorum, timeouts of connections, retry limits) is listed with `tunable=False`.
"""

from typing import Final

from novacron.errors import UnknownNameError
from novacron.params.spec import ParameterGroup, ParameterSpec

CODECS: Final = (
    "none", "lz4-1", "lz4hc-9", "zstd--5", "zstd--1", "zstd-1", "zstd-3", "zstd-6", "zstd-9",
    "zstd-12", "zstd-15", "zstd-19",
)  # fmt: skip
"""Codec and level from the least to the most work; `zstd--5` is zstd at level -5."""

ALGORITHMS: Final = ("cubic", "bbr", "reno")

MAX_PATHS: Final = 4
"""Paths between two sites that ITP spreads a task over."""

_HDE = (
    ParameterSpec(
        name="codec", unit="enum", kind="enum", choices=CODECS, default="zstd-3",
        datacenter_default="lz4-1", doc="compressor and level of every chunk",
        trades="fewer bytes on the wire / more CPU time per byte",
        source="DWCP v3 picks lz4 in a datacenter and zstd-3 or zstd-19 elsewhere; zstd-3 is its "
        "`balanced` level and the stronger of the two on almost every path",
    ),
    ParameterSpec(
        name="chunk_size_bytes", unit="B", kind="log2", low=1024, high=4_194_304, default=16_384,
        doc="bytes compressed as one independent unit",
        trades="longer matches and fewer calls / longer pipeline fill and larger repair unit",
        source="shipped optimizer 1-64 KiB with 16 KiB in force; widened to the 4 MiB of AMST",
    ),
    ParameterSpec(
        name="delta", unit="enum", kind="enum", choices=("off", "xor"), default="xor",
        doc="encode a page against its last version before compressing it",
        trades="fewer bytes for pages that changed little / CPU and memory for the baselines",
        source="shipped `auto`, which applies a delta whenever it has a baseline",
    ),
    ParameterSpec(
        name="baseline_memory_mib", unit="MiB", kind="log2", low=16, high=8192, default=2048,
        doc="memory that holds earlier page versions",
        trades="more pages find a baseline / memory taken from guests",
        source="shipped limit 2 GiB",
    ),
    ParameterSpec(
        name="max_delta_chain", unit="count", kind="log2", low=1, high=1000, default=10,
        doc="deltas after which a page is sent whole again",
        trades="fewer whole pages / longer decode and more to repair after a loss",
        source="shipped range 1-1000, value 10",
    ),
    ParameterSpec(
        name="workers", unit="count", kind="log2", low=1, high=64, default=8,
        doc="threads that encode", trades="higher encode rate / CPU taken from guests",
        source="shipped value 8",
    ),
    ParameterSpec(
        name="quantization_bits", unit="bit", kind="int", low=16, high=64, default=64,
        doc="precision kept of numeric state; below 64 is lossy", trades="none allowed",
        source="shipped 16 is lossy on VM memory; fixed at lossless", tunable=False,
    ),
)  # fmt: skip

_AMST = (
    ParameterSpec(
        name="streams", unit="count", kind="log2", low=1, high=512, default=8,
        datacenter_default=64, doc="parallel TCP connections of one transfer",
        trades="covers loss and window limits / self-made loss, queue, memory, unfairness",
        source="shipped 8 on internet paths, 64 in a datacenter; limit 512",
    ),
    ParameterSpec(
        name="congestion_algorithm", unit="enum", kind="enum", choices=ALGORITHMS, default="bbr",
        doc="congestion control of every stream",
        trades="holds rate under random loss / starves others and drops packets in short buffers",
        source="shipped bbr for TCP",
    ),
    ParameterSpec(
        name="transport_chunk_bytes", unit="B", kind="log2", low=4096, high=4_194_304,
        default=65_536, doc="bytes handed to a stream at a time",
        trades="fewer calls per byte / longer pipeline fill and head-of-line wait",
        source="shipped 64 KiB for TCP, range 4 KiB-1 MiB; widened to 4 MiB",
    ),
    ParameterSpec(
        name="pacing_ratio", unit="x", kind="float", low=0.5, high=2.0, default=2.0,
        doc="cap on the send rate, as a multiple of the highest rate delivered lately",
        trades="short queue and little loss / unused capacity when the path gets better",
        source="shipped 1000 MiB/s, which no wide-area path reaches: in effect no pacing; the "
        "upper bound stands for it",
    ),
    ParameterSpec(
        name="connect_timeout_s", unit="s", kind="int", low=1, high=300, default=30,
        doc="wait for a connection", trades="none allowed: decides when a peer counts as gone",
        source="shipped 30", tunable=False,
    ),
    ParameterSpec(
        name="max_retries", unit="count", kind="int", low=0, high=10, default=3,
        doc="attempts before a transfer fails", trades="none allowed: decides durability",
        source="shipped 3", tunable=False,
    ),
)  # fmt: skip

_PBA = (
    ParameterSpec(
        name="prediction_window_s", unit="s", kind="log2", low=5, high=300, default=30,
        doc="history from which the next allocation is estimated",
        trades="smooths noise / lags behind change",
        source="shipped optimizer 10-300, value in force 30; lowered to 5",
    ),
    ParameterSpec(
        name="confidence_level", unit="0..1", kind="float", low=0.5, high=0.99, default=0.85,
        doc="share of the time that the allocation should stay below what the path gives",
        trades="fewer overshoots / capacity left unused",
        source="shipped optimizer 0.5-0.99, value in force 0.85",
    ),
    ParameterSpec(
        name="update_interval_s", unit="s", kind="log2", low=1, high=60, default=10,
        doc="time between two allocations",
        trades="follows change / each change costs a re-pacing round",
        source="shipped optimizer 1-60, value in force 10",
    ),
)  # fmt: skip

_ACP = (
    ParameterSpec(
        name="timeout_ms", unit="ms", kind="log2", low=10, high=10_000, default=2000,
        doc="wait for a quorum before a round is tried again; never applied below the tail of the "
        "round trip, whatever is asked for",
        trades="quick recovery / repeated work and false elections",
        source="shipped optimizer 100-5000, value in force 2000; election range 10 ms-10 s",
    ),
    ParameterSpec(
        name="batch_max_ops", unit="count", kind="log2", low=1, high=4096, default=25,
        doc="operations agreed on in one round",
        trades="amortises a round / operations wait for the batch to fill",
        source="shipped optimizer 1-100, value in force 25; widened to Raft's 1000 and beyond",
    ),
    ParameterSpec(
        name="max_inflight", unit="count", kind="log2", low=1, high=1024, default=32,
        doc="rounds under way at once",
        trades="hides the round trip / memory, and repeated work after a timeout",
        source="shipped limit 1000 is never reached; 32 is what its window in bytes allows",
    ),
    ParameterSpec(
        name="sync_interval_ms", unit="ms", kind="log2", low=100, high=60_000, default=1000,
        doc="time between two state synchronisations to read replicas (ASS)",
        trades="fresh replicas and few conflicts / bytes on the wire",
        source="shipped range 0.1-60 s, value 1 s",
    ),
    ParameterSpec(
        name="quorum_size", unit="count", kind="int", low=2, high=15, default=3,
        doc="votes that commit a round; at least a majority",
        trades="none allowed: below a majority two rounds can both commit",
        source="shipped 3", tunable=False,
    ),
    ParameterSpec(
        name="max_staleness_s", unit="s", kind="int", low=1, high=300, default=5,
        doc="age at which a replica stops answering", trades="none allowed: a promise to readers",
        source="shipped 5", tunable=False,
    ),
)  # fmt: skip

_ITP = (
    *(
        ParameterSpec(
            name=f"path_{index}_weight",
            unit="x",
            kind="log2",
            low=1,
            high=256,
            default=16,
            doc=f"weight of path {index} in the split; shares are weights over their sum, and a "
            "share below 2 % leaves the path unused",
            trades="adds that path's capacity / waits for it when it is slow or shared",
            source="shipped round-robin: equal weights",
        )
        for index in range(1, MAX_PATHS + 1)
    ),
    ParameterSpec(
        name="duplicate_ratio",
        unit="0..1",
        kind="float",
        low=0.0,
        high=0.5,
        default=0.0,
        doc="share of the bytes sent twice, on the two quickest paths",
        trades="cuts the wait for stragglers / bytes and money",
        source="shipped none; range up to one copy of half of the bytes",
    ),
)

HDE_COMPRESSION: Final = ParameterGroup(
    name="hde_compression", components=("HDE",), parameters=_HDE,
    doc="delta encoding and compression of VM state",
)  # fmt: skip
AMST_TRANSPORT: Final = ParameterGroup(
    name="amst_transport", components=("AMST",), parameters=_AMST,
    doc="parallel TCP streams of one transfer",
)  # fmt: skip
PBA_PREDICTION: Final = ParameterGroup(
    name="pba_prediction", components=("PBA",), parameters=_PBA,
    doc="bandwidth allocation from a forecast",
)  # fmt: skip
ACP_CONSENSUS: Final = ParameterGroup(
    name="acp_consensus", components=("ACP", "ASS"), parameters=_ACP,
    doc="rounds of consensus, and state synchronisation beside them",
)  # fmt: skip
ITP_PARTITION: Final = ParameterGroup(
    name="itp_partition", components=("ITP",), parameters=_ITP,
    doc="split of one task over several paths",
)  # fmt: skip
JOINT: Final = ParameterGroup(
    name="joint", components=("HDE", "AMST"), parameters=(*_HDE, *_AMST),
    doc="compression and transport of a live migration, decided together",
)  # fmt: skip

GROUPS: Final = {
    group.name: group
    for group in (
        HDE_COMPRESSION, AMST_TRANSPORT, PBA_PREDICTION, ACP_CONSENSUS, ITP_PARTITION, JOINT,
    )
}  # fmt: skip


def parameter_group(name: str) -> ParameterGroup:
    """Return the group of that name.

    Raises:
        UnknownNameError: There is none; the message lists those there are.
    """
    if name not in GROUPS:
        raise UnknownNameError(kind="parameter group", got=name, known=tuple(GROUPS))
    return GROUPS[name]
