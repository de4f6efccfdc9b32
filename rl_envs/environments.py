"""The registered environments. Each docstring is the environment's data sheet.

Common to all: actions lie in [-1, 1]^D and decode to the knobs of `novacron.params.groups`; the
observation is four frames, oldest first, every number scaled to [-1, 1] by
`novacron.params.encode`; telemetry is measured with an error of 5 %. The episode starts after one
interval under the shipped defaults and ends by truncation. The reward is the paired log ratio
against the shipped defaults, run in the same world on the same random numbers, clipped to
[-3, 3]; `info["components"]` has each cost's part of it. Paths, regimes and drift are those of
`rl_envs.scenarios` and `rl_envs.dynamics`.
"""

from typing import ClassVar

from rl_envs.env import DwcpEnv
from rl_envs.vector_env import DwcpVectorEnv


class HdeCompressionVectorEnv(DwcpVectorEnv):
    """A batch of `HdeCompressionEnv`; see its data sheet."""

    target_name: ClassVar[str] = "hde_compression"


class HdeCompressionEnv(DwcpEnv):
    """Compression of a stream of dirty pages: codec, chunks, delta, workers.

    Every 5 s the pages a VM dirtied are encoded and sent. Hidden: the kind of data, dirty rate,
    working set, the transport below, the receiver's cores. Pages that do not get through wait and
    are replaced when dirtied again; page versions fill their memory as pages are sent; a change of
    codec stops output for 0.1 s.

    | action | knob | unit | at -1 | at 1 | scale |
    |---|---|---|---|---|---|
    | 0 | codec | enum | none | zstd-19 | equal bins |
    | 1 | chunk_size_bytes | B | 1024 | 4.1943e+06 | log, whole |
    | 2 | delta | enum | off | xor | equal bins |
    | 3 | baseline_memory_mib | MiB | 16 | 8192 | log, whole |
    | 4 | max_delta_chain | count | 1 | 1000 | log, whole |
    | 5 | workers | count | 1 | 64 | log, whole |

    | obs | name | unit | low | high | source |
    |---|---|---|---|---|---|
    | 0 | goodput_mbps | Mbit/s | 0.01 | 100000 | bytes acknowledged / interval |
    | 1 | min_rtt_ms | ms | 0.01 | 2000 | tcp_info min_rtt |
    | 2 | cpu_free_cores | cores | 0.1 | 128 | node telemetry |
    | 3 | cpu_busy_ratio | 0..1 | 0 | 1 | node telemetry |
    | 4 | encode_ratio | x | 0.5 | 100 | bytes in / bytes out of the encoder |
    | 5 | encode_busy_ratio | 0..1 | 0 | 1 | time the encoder worked / interval |
    | 6 | send_blocked_ratio | 0..1 | 0 | 1 | time writes to the sockets waited / interval |
    | 7 | decode_busy_ratio | 0..1 | 0 | 1 | time the decoder worked / interval |
    | 8 | sample_entropy_ratio | 0..1 | 0 | 1 | byte entropy of a sample of chunks / 8 bit |
    | 9 | zero_page_ratio | 0..1 | 0 | 1 | pages of zeros / pages |
    | 10 | delta_hit_ratio | 0..1 | 0 | 1 | pages with a baseline / pages |
    | 11 | changed_byte_ratio | 0..1 | 0.001 | 1 | bytes that differ / bytes of sampled pages |
    | 12 | dirty_mb_s | MB/s | 0.01 | 10000 | hypervisor dirty-page log |
    | 13 | backlog_mb | MB | 0.01 | 1e+06 | bytes waiting for the encoder |
    | 14 | egress_usd_per_gb | USD/GB | 0.0001 | 1 | operator's price list |
    | 15 | cpu_usd_per_core_h | USD/h | 0.001 | 1 | operator's price list |
    | 16-21 | the knobs in force | cube | -1 | 1 | as the actions |
    | 22 | missing_ratio | 0..1 | 0 | 1 | channels without a value |

    Episode: 20 decisions of 5 s.
    Weights: 1 time, 0.4 money, 4 guests.
    - time: ln of a replica's age: backlog, pipeline fill and restarts
    - money: ln USD per GB of user data: egress, processor time, memory
    - guests: ln(1 + share of the host's cores taken from guests)

    Version history: v0, first release.
    """

    batch_class: ClassVar[type[DwcpVectorEnv]] = HdeCompressionVectorEnv


class AmstTransportVectorEnv(DwcpVectorEnv):
    """A batch of `AmstTransportEnv`; see its data sheet."""

    target_name: ClassVar[str] = "amst_transport"


class AmstTransportEnv(DwcpEnv):
    """Bulk transfer over n TCP streams: streams, congestion control, chunks, pacing.

    Every 5 s is one interval of a long transfer. Hidden: capacity, random loss, buffer, cross
    traffic, receive window. New streams, and all after a change of congestion control, pay
    handshakes, slow start and its overshoot.

    | action | knob | unit | at -1 | at 1 | scale |
    |---|---|---|---|---|---|
    | 0 | streams | count | 1 | 512 | log, whole |
    | 1 | congestion_algorithm | enum | cubic | reno | equal bins |
    | 2 | transport_chunk_bytes | B | 4096 | 4.1943e+06 | log, whole |
    | 3 | pacing_ratio | x | 0.5 | 2 | linear |

    | obs | name | unit | low | high | source |
    |---|---|---|---|---|---|
    | 0 | goodput_mbps | Mbit/s | 0.01 | 100000 | bytes acknowledged / interval |
    | 1 | delivery_peak_mbps | Mbit/s | 0.01 | 100000 | highest rate delivered, decaying |
    | 2 | min_rtt_ms | ms | 0.01 | 2000 | tcp_info min_rtt |
    | 3 | srtt_over_min_ratio | x | 1 | 20 | tcp_info srtt / min_rtt |
    | 4 | retransmit_ratio | 0..1 | 1e-06 | 1 | segments sent again / segments sent |
    | 5 | cwnd_pkts | packets | 1 | 1e+06 | tcp_info snd_cwnd, summed over streams |
    | 6 | rwnd_limited_ratio | 0..1 | 0 | 1 | tcp_info rwnd_limited / busy_time |
    | 7 | cpu_free_cores | cores | 0.1 | 128 | node telemetry |
    | 8 | cpu_busy_ratio | 0..1 | 0 | 1 | node telemetry |
    | 9 | egress_usd_per_gb | USD/GB | 0.0001 | 1 | operator's price list |
    | 10 | cpu_usd_per_core_h | USD/h | 0.001 | 1 | operator's price list |
    | 11-14 | the knobs in force | cube | -1 | 1 | as the actions |
    | 15 | missing_ratio | 0..1 | 0 | 1 | channels without a value |

    Episode: 20 decisions of 5 s.
    Weights: 1 time, 0.3 latency, 0.3 money, 1 fairness.
    - time: -ln goodput
    - latency: ln of the time one chunk takes
    - money: ln USD per GB delivered
    - fairness: ln(1 + harm), harm = share that others lose of what they had beside 8 CUBIC flows

    Version history: v0, first release.
    """

    batch_class: ClassVar[type[DwcpVectorEnv]] = AmstTransportVectorEnv


class PbaPredictionVectorEnv(DwcpVectorEnv):
    """A batch of `PbaPredictionEnv`; see its data sheet."""

    target_name: ClassVar[str] = "pba_prediction"


class PbaPredictionEnv(DwcpEnv):
    """Bandwidth allocation from a forecast: window, confidence, update interval.

    Every 20 s of one-second samples are judged. Hidden: the law of the rate (level, two
    autoregressive parts, regime switches). The allocation in force carries over.

    | action | knob | unit | at -1 | at 1 | scale |
    |---|---|---|---|---|---|
    | 0 | prediction_window_s | s | 5 | 300 | log, whole |
    | 1 | confidence_level | 0..1 | 0.5 | 0.99 | linear |
    | 2 | update_interval_s | s | 1 | 60 | log, whole |

    | obs | name | unit | low | high | source |
    |---|---|---|---|---|---|
    | 0 | bandwidth_last_mbps | Mbit/s | 0.01 | 100000 | last sample |
    | 1 | bandwidth_mean_10s_mbps | Mbit/s | 0.01 | 100000 | mean of 10 s |
    | 2 | bandwidth_mean_60s_mbps | Mbit/s | 0.01 | 100000 | mean of 60 s |
    | 3 | bandwidth_mean_300s_mbps | Mbit/s | 0.01 | 100000 | mean of 300 s |
    | 4 | variation_10s_ratio | x | 0.001 | 3 | standard deviation / mean of 10 s |
    | 5 | variation_60s_ratio | x | 0.001 | 3 | standard deviation / mean of 60 s |
    | 6 | variation_300s_ratio | x | 0.001 | 3 | standard deviation / mean of 300 s |
    | 7 | lag_correlation | -1..1 | -1 | 1 | autocorrelation of 60 s at lag 1 s |
    | 8 | unused_ratio | 0..1 | 0.0001 | 1 | capacity measured but not allocated / capacity |
    | 9 | overshoot_ratio | x | 0.0001 | 10 | allocation above what was delivered / delivered |
    | 10 | rtt_ms | ms | 0.01 | 2000 | smoothed round trip |
    | 11-13 | the knobs in force | cube | -1 | 1 | as the actions |
    | 14 | missing_ratio | 0..1 | 0 | 1 | channels without a value |

    Episode: 30 decisions of 20 s.
    Weights: 1 misallocation.
    - misallocation: ln((unused + 3 overshoot + cost of changes) / rate)

    Version history: v0, first release.
    """

    batch_class: ClassVar[type[DwcpVectorEnv]] = PbaPredictionVectorEnv


class AcpConsensusVectorEnv(DwcpVectorEnv):
    """A batch of `AcpConsensusEnv`; see its data sheet."""

    target_name: ClassVar[str] = "acp_consensus"


class AcpConsensusEnv(DwcpEnv):
    """Replicated rounds and state synchronisation: timeout, batch, window, interval.

    Every 10 s. Hidden: voters' distances and jitter, message loss, crash rate, processor time. The
    quorum is context, never an action; the timeout is never applied below the 99 % quorum wait.
    Operations beyond the capacity wait at the leader, at most a minute's worth.

    | action | knob | unit | at -1 | at 1 | scale |
    |---|---|---|---|---|---|
    | 0 | timeout_ms | ms | 10 | 10000 | log, whole |
    | 1 | batch_max_ops | count | 1 | 4096 | log, whole |
    | 2 | max_inflight | count | 1 | 1024 | log, whole |
    | 3 | sync_interval_ms | ms | 100 | 60000 | log, whole |

    | obs | name | unit | low | high | source |
    |---|---|---|---|---|---|
    | 0 | commit_p50_ms | ms | 0.1 | 100000 | operation log |
    | 1 | commit_p99_ms | ms | 0.1 | 1e+06 | operation log |
    | 2 | ack_median_ms | ms | 0.01 | 10000 | median over followers of the acknowledgement time |
    | 3 | ack_tail_ms | ms | 0.01 | 10000 | 99.9 % acknowledgement time |
    | 4 | offered_ops | 1/s | 0.1 | 1e+06 | operations proposed / interval |
    | 5 | committed_ops | 1/s | 0.1 | 1e+06 | operations committed / interval |
    | 6 | queue_ops | count | 1 | 1e+07 | operations waiting at the leader |
    | 7 | timeout_ratio | 0..1 | 1e-06 | 1 | rounds that timed out / rounds |
    | 8 | leader_busy_ratio | 0..1 | 0 | 1 | time the leader worked / interval |
    | 9 | staleness_ms | ms | 1 | 1e+06 | age of replica state, mean |
    | 10 | sync_mbps | Mbit/s | 0.0001 | 10000 | bytes of state synchronisation / interval |
    | 11 | write_keys | count | 1 | 1e+09 | distinct keys written, sketched |
    | 12 | quorum_share_ratio | 0..1 | 0.5 | 1 | votes needed / voters: context, never an action |
    | 13-16 | the knobs in force | cube | -1 | 1 | as the actions |
    | 17 | missing_ratio | 0..1 | 0 | 1 | channels without a value |

    Episode: 20 decisions of 10 s.
    Weights: 0.6 latency, 0.3 tail, 4 refused, 1 staleness, 0.3 bytes.
    - latency: ln mean commit time
    - tail: ln 99 % commit time
    - refused: ln(1 + share of operations refused)
    - staleness: ln(1 + age of replicas / promised age) + ln(1 + conflicts)
    - bytes: ln rate of rounds and synchronisation together

    Version history: v0, first release.
    """

    batch_class: ClassVar[type[DwcpVectorEnv]] = AcpConsensusVectorEnv


class ItpPartitionVectorEnv(DwcpVectorEnv):
    """A batch of `ItpPartitionEnv`; see its data sheet."""

    target_name: ClassVar[str] = "itp_partition"


class ItpPartitionEnv(DwcpEnv):
    """One task split over four paths that share two bottlenecks: weights, duplication.

    Every decision is one task in eight parts. Hidden: access rates, which paths share a bottleneck, its rate,
    stalls. A path adds its capacity; a path that ends leaves its bottleneck to the others; a path
    without traffic keeps its last reading.

    | action | knob | unit | at -1 | at 1 | scale |
    |---|---|---|---|---|---|
    | 0 | path_1_weight | x | 1 | 256 | log, whole |
    | 1 | path_2_weight | x | 1 | 256 | log, whole |
    | 2 | path_3_weight | x | 1 | 256 | log, whole |
    | 3 | path_4_weight | x | 1 | 256 | log, whole |
    | 4 | duplicate_ratio | 0..1 | 0 | 0.5 | linear |

    | obs | name | unit | low | high | source |
    |---|---|---|---|---|---|
    | 0 | path_1_goodput_mbps | Mbit/s | 0.01 | 100000 | bytes acknowledged / interval |
    | 1 | path_2_goodput_mbps | Mbit/s | 0.01 | 100000 | bytes acknowledged / interval |
    | 2 | path_3_goodput_mbps | Mbit/s | 0.01 | 100000 | bytes acknowledged / interval |
    | 3 | path_4_goodput_mbps | Mbit/s | 0.01 | 100000 | bytes acknowledged / interval |
    | 4 | path_1_srtt_ms | ms | 0.1 | 10000 | smoothed round trip of the path |
    | 5 | path_2_srtt_ms | ms | 0.1 | 10000 | smoothed round trip of the path |
    | 6 | path_3_srtt_ms | ms | 0.1 | 10000 | smoothed round trip of the path |
    | 7 | path_4_srtt_ms | ms | 0.1 | 10000 | smoothed round trip of the path |
    | 8 | path_1_retransmit_ratio | 0..1 | 1e-06 | 1 | sent again / sent |
    | 9 | path_2_retransmit_ratio | 0..1 | 1e-06 | 1 | sent again / sent |
    | 10 | path_3_retransmit_ratio | 0..1 | 1e-06 | 1 | sent again / sent |
    | 11 | path_4_retransmit_ratio | 0..1 | 1e-06 | 1 | sent again / sent |
    | 12 | path_1_usd_per_gb | USD/GB | 0.0001 | 1 | operator's price list |
    | 13 | path_2_usd_per_gb | USD/GB | 0.0001 | 1 | operator's price list |
    | 14 | path_3_usd_per_gb | USD/GB | 0.0001 | 1 | operator's price list |
    | 15 | path_4_usd_per_gb | USD/GB | 0.0001 | 1 | operator's price list |
    | 16 | task_mb | MB | 0.001 | 100000 | size of the next task |
    | 17-21 | the knobs in force | cube | -1 | 1 | as the actions |
    | 22 | missing_ratio | 0..1 | 0 | 1 | channels without a value |

    Episode: 20 decisions of 10 s.
    Weights: 1 time, 0.3 money.
    - time: ln of the time until the last byte
    - money: ln USD per GB of task

    Version history: v0, first release.
    """

    batch_class: ClassVar[type[DwcpVectorEnv]] = ItpPartitionVectorEnv


class JointVectorEnv(DwcpVectorEnv):
    """A batch of `JointEnv`; see its data sheet."""

    target_name: ClassVar[str] = "joint"


class JointEnv(DwcpEnv):
    """Live migrations: encoding and transport decided together.

    Every decision moves one virtual machine by pre-copy. Hidden: the link, the data, the dirty
    rate, the working set. Rounds converge only if the pipeline outruns the dirty rate.

    | action | knob | unit | at -1 | at 1 | scale |
    |---|---|---|---|---|---|
    | 0 | codec | enum | none | zstd-19 | equal bins |
    | 1 | chunk_size_bytes | B | 1024 | 4.1943e+06 | log, whole |
    | 2 | delta | enum | off | xor | equal bins |
    | 3 | baseline_memory_mib | MiB | 16 | 8192 | log, whole |
    | 4 | max_delta_chain | count | 1 | 1000 | log, whole |
    | 5 | workers | count | 1 | 64 | log, whole |
    | 6 | streams | count | 1 | 512 | log, whole |
    | 7 | congestion_algorithm | enum | cubic | reno | equal bins |
    | 8 | transport_chunk_bytes | B | 4096 | 4.1943e+06 | log, whole |
    | 9 | pacing_ratio | x | 0.5 | 2 | linear |

    | obs | name | unit | low | high | source |
    |---|---|---|---|---|---|
    | 0 | goodput_mbps | Mbit/s | 0.01 | 100000 | bytes acknowledged / interval |
    | 1 | delivery_peak_mbps | Mbit/s | 0.01 | 100000 | highest rate delivered, decaying |
    | 2 | min_rtt_ms | ms | 0.01 | 2000 | tcp_info min_rtt |
    | 3 | srtt_over_min_ratio | x | 1 | 20 | tcp_info srtt / min_rtt |
    | 4 | retransmit_ratio | 0..1 | 1e-06 | 1 | segments sent again / segments sent |
    | 5 | cwnd_pkts | packets | 1 | 1e+06 | tcp_info snd_cwnd, summed over streams |
    | 6 | rwnd_limited_ratio | 0..1 | 0 | 1 | tcp_info rwnd_limited / busy_time |
    | 7 | cpu_free_cores | cores | 0.1 | 128 | node telemetry |
    | 8 | cpu_busy_ratio | 0..1 | 0 | 1 | node telemetry |
    | 9 | encode_ratio | x | 0.5 | 100 | bytes in / bytes out of the encoder |
    | 10 | encode_busy_ratio | 0..1 | 0 | 1 | time the encoder worked / interval |
    | 11 | send_blocked_ratio | 0..1 | 0 | 1 | time writes to the sockets waited / interval |
    | 12 | decode_busy_ratio | 0..1 | 0 | 1 | time the decoder worked / interval |
    | 13 | sample_entropy_ratio | 0..1 | 0 | 1 | byte entropy of a sample of chunks / 8 bit |
    | 14 | zero_page_ratio | 0..1 | 0 | 1 | pages of zeros / pages |
    | 15 | delta_hit_ratio | 0..1 | 0 | 1 | pages with a baseline / pages |
    | 16 | changed_byte_ratio | 0..1 | 0.001 | 1 | bytes that differ / bytes of sampled pages |
    | 17 | dirty_mb_s | MB/s | 0.01 | 10000 | hypervisor dirty-page log |
    | 18 | memory_mb | MB | 1 | 1e+06 | memory of the next VM to move |
    | 19 | downtime_ms | ms | 0.1 | 1e+06 | pause of the last migration |
    | 20 | egress_usd_per_gb | USD/GB | 0.0001 | 1 | operator's price list |
    | 21 | cpu_usd_per_core_h | USD/h | 0.001 | 1 | operator's price list |
    | 22-31 | the knobs in force | cube | -1 | 1 | as the actions |
    | 32 | missing_ratio | 0..1 | 0 | 1 | channels without a value |

    Episode: 12 decisions of 60 s.
    Weights: 0.6 time, 0.5 downtime, 0.4 money, 4 guests, 1 fairness.
    - time: ln total time
    - downtime: ln(1 + pause / 0.3 s)
    - money: ln USD per GB of memory
    - guests: as in hde_compression
    - fairness: as in amst_transport

    Version history: v0, first release.
    """

    batch_class: ClassVar[type[DwcpVectorEnv]] = JointVectorEnv
