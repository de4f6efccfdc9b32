"""What a policy may see for each target: telemetry that a sender has, and nothing else.

Capacity, random loss, cross traffic and the kind of data are not measurable from one end and are
therefore not here.
"""

from typing import Final

from novacron.errors import UnknownNameError
from novacron.params.encode import Channel, ObservationSpec
from novacron.params.groups import (
    ACP_CONSENSUS,
    AMST_TRANSPORT,
    HDE_COMPRESSION,
    ITP_PARTITION,
    JOINT,
    MAX_PATHS,
    PBA_PREDICTION,
)


def _log(name: str, unit: str, low: float, high: float, source: str) -> Channel:
    return Channel(name=name, unit=unit, low=low, high=high, scale="log", source=source)


def _ratio(name: str, source: str) -> Channel:
    return Channel(name=name, unit="0..1", low=0.0, high=1.0, scale="linear", source=source)


_PRICES = (
    _log("egress_usd_per_gb", "USD/GB", 1e-4, 1.0, "operator's price list"),
    _log("cpu_usd_per_core_h", "USD/h", 1e-3, 1.0, "operator's price list"),
)
_TRANSPORT = (
    _log("goodput_mbps", "Mbit/s", 1e-2, 1e5, "bytes acknowledged / interval"),
    _log("delivery_peak_mbps", "Mbit/s", 1e-2, 1e5, "highest rate delivered, decaying"),
    _log("min_rtt_ms", "ms", 1e-2, 2e3, "tcp_info min_rtt"),
    _log("srtt_over_min_ratio", "x", 1.0, 20.0, "tcp_info srtt / min_rtt"),
    _log("retransmit_ratio", "0..1", 1e-6, 1.0, "segments sent again / segments sent"),
    _log("cwnd_pkts", "packets", 1.0, 1e6, "tcp_info snd_cwnd, summed over streams"),
    _ratio("rwnd_limited_ratio", "tcp_info rwnd_limited / busy_time"),
)
_HOST = (
    _log("cpu_free_cores", "cores", 1e-1, 128.0, "node telemetry"),
    _ratio("cpu_busy_ratio", "node telemetry"),
)
_DATA = (
    _log("encode_ratio", "x", 0.5, 100.0, "bytes in / bytes out of the encoder"),
    _ratio("encode_busy_ratio", "time the encoder worked / interval"),
    _ratio("send_blocked_ratio", "time writes to the sockets waited / interval"),
    _ratio("decode_busy_ratio", "time the decoder worked / interval"),
    _ratio("sample_entropy_ratio", "byte entropy of a sample of chunks / 8 bit"),
    _ratio("zero_page_ratio", "pages of zeros / pages"),
    _ratio("delta_hit_ratio", "pages with a baseline / pages"),
    _log("changed_byte_ratio", "0..1", 1e-3, 1.0, "bytes that differ / bytes of sampled pages"),
    _log("dirty_mb_s", "MB/s", 1e-2, 1e4, "hypervisor dirty-page log"),
)
_BANDWIDTH = (
    _log("bandwidth_last_mbps", "Mbit/s", 1e-2, 1e5, "last sample"),
    _log("bandwidth_mean_10s_mbps", "Mbit/s", 1e-2, 1e5, "mean of 10 s"),
    _log("bandwidth_mean_60s_mbps", "Mbit/s", 1e-2, 1e5, "mean of 60 s"),
    _log("bandwidth_mean_300s_mbps", "Mbit/s", 1e-2, 1e5, "mean of 300 s"),
    _log("variation_10s_ratio", "x", 1e-3, 3.0, "standard deviation / mean of 10 s"),
    _log("variation_60s_ratio", "x", 1e-3, 3.0, "standard deviation / mean of 60 s"),
    _log("variation_300s_ratio", "x", 1e-3, 3.0, "standard deviation / mean of 300 s"),
    Channel(
        name="lag_correlation", unit="-1..1", low=-1.0, high=1.0, scale="linear",
        source="autocorrelation of 60 s at lag 1 s",
    ),
    _log("unused_ratio", "0..1", 1e-4, 1.0, "capacity measured but not allocated / capacity"),
    _log("overshoot_ratio", "x", 1e-4, 10.0, "allocation above what was delivered / delivered"),
    _log("rtt_ms", "ms", 1e-2, 2e3, "smoothed round trip"),
)  # fmt: skip
_ROUNDS = (
    _log("commit_p50_ms", "ms", 1e-1, 1e5, "operation log"),
    _log("commit_p99_ms", "ms", 1e-1, 1e6, "operation log"),
    _log("ack_median_ms", "ms", 1e-2, 1e4, "median over followers of the acknowledgement time"),
    _log("ack_tail_ms", "ms", 1e-2, 1e4, "99.9 % acknowledgement time"),
    _log("offered_ops", "1/s", 1e-1, 1e6, "operations proposed / interval"),
    _log("committed_ops", "1/s", 1e-1, 1e6, "operations committed / interval"),
    _log("queue_ops", "count", 1.0, 1e7, "operations waiting at the leader"),
    _log("timeout_ratio", "0..1", 1e-6, 1.0, "rounds that timed out / rounds"),
    _ratio("leader_busy_ratio", "time the leader worked / interval"),
    _log("staleness_ms", "ms", 1.0, 1e6, "age of replica state, mean"),
    _log("sync_mbps", "Mbit/s", 1e-4, 1e4, "bytes of state synchronisation / interval"),
    _log("write_keys", "count", 1.0, 1e9, "distinct keys written, sketched"),
    Channel(
        name="quorum_share_ratio", unit="0..1", low=0.5, high=1.0, scale="linear",
        source="votes needed / voters: context, never an action",
    ),
)  # fmt: skip
_PATHS = (
    *(
        _log(f"path_{index}_goodput_mbps", "Mbit/s", 1e-2, 1e5, "bytes acknowledged / interval")
        for index in range(1, MAX_PATHS + 1)
    ),
    *(
        _log(f"path_{index}_srtt_ms", "ms", 1e-1, 1e4, "smoothed round trip of the path")
        for index in range(1, MAX_PATHS + 1)
    ),
    *(
        _log(f"path_{index}_retransmit_ratio", "0..1", 1e-6, 1.0, "sent again / sent")
        for index in range(1, MAX_PATHS + 1)
    ),
    *(
        _log(f"path_{index}_usd_per_gb", "USD/GB", 1e-4, 1.0, "operator's price list")
        for index in range(1, MAX_PATHS + 1)
    ),
    _log("task_mb", "MB", 1e-3, 1e5, "size of the next task"),
)

OBSERVATIONS: Final = {
    spec.group.name: spec
    for spec in (
        ObservationSpec(group=AMST_TRANSPORT, channels=(*_TRANSPORT, *_HOST, *_PRICES)),
        ObservationSpec(
            group=HDE_COMPRESSION,
            channels=(
                _TRANSPORT[0], _TRANSPORT[2], *_HOST, *_DATA,
                _log("backlog_mb", "MB", 1e-2, 1e6, "bytes waiting for the encoder"), *_PRICES,
            ),
        ),
        ObservationSpec(group=PBA_PREDICTION, channels=_BANDWIDTH),
        ObservationSpec(group=ACP_CONSENSUS, channels=_ROUNDS),
        ObservationSpec(group=ITP_PARTITION, channels=_PATHS),
        ObservationSpec(
            group=JOINT,
            channels=(
                *_TRANSPORT, *_HOST, *_DATA,
                _log("memory_mb", "MB", 1.0, 1e6, "memory of the next VM to move"),
                _log("downtime_ms", "ms", 1e-1, 1e6, "pause of the last migration"),
                *_PRICES,
            ),
        ),
    )
}  # fmt: skip


def observation_spec(target: str) -> ObservationSpec:
    """Return what a policy for `target` sees.

    Raises:
        UnknownNameError: There is no such target; the message lists those there are.
    """
    if target not in OBSERVATIONS:
        raise UnknownNameError(kind="target", got=target, known=tuple(OBSERVATIONS))
    return OBSERVATIONS[target]
