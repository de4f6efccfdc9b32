"""One cell of the grid: a link, streams, a seed; what was measured and what the simulator says."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from novacron.errors import NotReadyError
from rl_envs.physics.quantities import BBR, CUBIC, MSS_BYTES, MTU_BYTES, RENO
from rl_envs.physics.ramp import ramp_lost_s
from rl_envs.physics.tcp_link import (
    DEFAULT_COEFFICIENTS,
    Link,
    Sender,
    TcpCoefficients,
    steady_flow,
)
from rl_envs.testbed.channel import ChannelConfig
from rl_envs.testbed.endpoint import EndpointConfig, StreamGroup
from rl_envs.testbed.network import ADDRESSES, Network, emulated_network

WARM_UP_S: Final = 5
"""Seconds at the start that steady figures leave out."""
_CODES: Final = {"cubic": CUBIC, "bbr": BBR, "reno": RENO}
_AMPLE_BUFFER: Final = 1 << 26


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A link and what is sent over it. `buffer_bdp` is in bandwidth-delay products."""

    capacity_mbps: float
    rtt_ms: float
    loss_ratio: float
    burst_pkts: float
    buffer_bdp: float
    algorithm: str
    streams: int
    cross_flows: int
    window_bytes: int | None
    """Receive buffer asked for (SO_RCVBUF) of each of our streams; the kernel's tuning if None."""
    duration_s: float
    seed: int
    codec: str = "none"
    """Entry of the codec ladder that our chunks are compressed with."""
    chunk_bytes: int = 65_536

    @property
    def buffer_bytes(self) -> int:
        """The buffer, at least two packets."""
        bdp_bytes = self.capacity_mbps * self.rtt_ms * 125.0
        return max(int(self.buffer_bdp * bdp_bytes), 2 * int(MTU_BYTES))


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a cell gave; rates are payload on the wire, means over all streams.

    `steady_` figures leave out the warm-up, `encode_ratio` is plain over sent bytes.
    """

    goodput_mbps: float
    steady_goodput_mbps: float
    cross_mbps: float
    srtt_ms: float
    retransmit_ratio: float
    steady_retransmit_ratio: float
    jain_index: float = 1.0
    encode_ratio: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """How well the machine kept up while a cell was measured."""

    emulator_cpu_ratio: float
    """CPU time of the link's process over wall time."""
    lag_p99_ms: float
    lag_p999_ms: float
    lag_worst_ms: float
    """How late packets left the link."""
    load_1min: float
    beside: int
    """Cells that were being measured when this one began."""
    priority: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CellRun:
    """One run of a cell: figures, payload of every second, conditions."""

    measured: Measured
    mbps_per_s: tuple[float, ...]
    conditions: Conditions


def _spawn(network: str, end: str, config: EndpointConfig) -> "subprocess.Popen[str]":
    command = [
        "ip",
        "netns",
        "exec",
        network,
        sys.executable,
        "-m",
        "rl_envs.testbed.endpoint",
        end,
    ]
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    if child.stdin is not None:
        child.stdin.write(config.model_dump_json() + "\n")
        child.stdin.flush()
    return child


def _transfer(network: Network, config: EndpointConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run both ends to their end and return the reports of sender and receiver."""
    children = []
    try:
        receiver = _spawn(network.receiver, "receive", config)
        children.append(receiver)
        if receiver.stdout is None or receiver.stdout.readline() != "ready\n":
            raise NotReadyError("The receiving end did not start.")
        sender = _spawn(network.sender, "send", config)
        children.append(sender)
        limit_s = config.duration_s + 60.0
        sent, _ = sender.communicate(timeout=limit_s)
        received, _ = receiver.communicate(timeout=limit_s)
        return json.loads(sent), json.loads(received)
    finally:
        for child in children:
            child.kill()
            child.wait()


def transfer(
    forward: ChannelConfig, backward: ChannelConfig, config: EndpointConfig
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Run one transfer over a link of its own, made for it and removed after it.

    Returns:
        The reports of the sender, the receiver and the link.

    Raises:
        NotReadyError: The machine cannot run the testbed, or an end failed.
    """
    with emulated_network(forward, backward) as network:
        sent, received = _transfer(network, config)
    return sent, received, network.counters


def groups_of(cell: Cell) -> tuple[StreamGroup, ...]:
    """Return our streams and, where the cell has any, the CUBIC ones of others."""
    ours = StreamGroup(
        algorithm=cell.algorithm,
        streams=cell.streams,
        window_bytes=cell.window_bytes,
        codec=cell.codec,
        chunk_bytes=cell.chunk_bytes,
    )
    if not cell.cross_flows:
        return (ours,)
    return (ours, StreamGroup(algorithm="cubic", streams=cell.cross_flows))


def measure_cell(cell: Cell, beside: int = 0) -> CellRun:
    """Run one cell; takes its duration and a few seconds. `beside` is only recorded.

    Raises:
        NotReadyError: The machine cannot run the testbed, or an end failed.
    """
    half_ms = cell.rtt_ms / 2.0
    forward = ChannelConfig(
        rate_mbps=(cell.capacity_mbps,), delay_ms=half_ms, buffer_bytes=cell.buffer_bytes,
        loss_ratio=cell.loss_ratio, burst_pkts=cell.burst_pkts, seed=cell.seed,
    )  # fmt: skip
    backward = ChannelConfig(
        rate_mbps=(cell.capacity_mbps,), delay_ms=half_ms, buffer_bytes=_AMPLE_BUFFER
    )
    config = EndpointConfig(
        address=ADDRESSES[1],
        groups=groups_of(cell),
        duration_s=cell.duration_s,
        warm_up_s=WARM_UP_S,
    )
    load_1min = os.getloadavg()[0]
    sent, received, counters = transfer(forward, backward, config)
    counts = [row[: int(cell.duration_s)] for row in received["bytes_per_s"]]
    cross = counts[1] if cell.cross_flows else [0]
    ours = sent["groups"][0]
    measured = Measured(
        goodput_mbps=_mbps(counts[0]),
        steady_goodput_mbps=_mbps(counts[0][WARM_UP_S:]),
        cross_mbps=_mbps(cross[WARM_UP_S:]),
        srtt_ms=ours["srtt_ms"],
        retransmit_ratio=ours["retransmit_ratio"],
        steady_retransmit_ratio=ours["steady_retransmit_ratio"],
        jain_index=received["jain_index"][0],
        encode_ratio=ours["encode_ratio"],
    )
    conditions = Conditions(
        emulator_cpu_ratio=counters["cpu_ratio"],
        lag_p99_ms=counters["lag_p99_ms"],
        lag_p999_ms=counters["lag_p999_ms"],
        lag_worst_ms=counters["lag_worst_ms"],
        load_1min=load_1min,
        beside=beside,
        priority=counters["priority"],
    )
    series = tuple(round(count * 8e-6, 3) for count in counts[0])
    return CellRun(measured=measured, mbps_per_s=series, conditions=conditions)


def _mbps(bytes_per_s: list[int]) -> float:
    return sum(bytes_per_s) * 8e-6 / max(len(bytes_per_s), 1)


def predict_cell(cell: Cell, coefficients: TcpCoefficients = DEFAULT_COEFFICIENTS) -> Measured:
    """Return what the simulator's law says of the same cell."""

    def one(value: float) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([float(value)])

    link = Link(
        capacity_mbps=one(cell.capacity_mbps), rtt_ms=one(cell.rtt_ms),
        loss_ratio=one(max(cell.loss_ratio, 1e-8)), burst_pkts=one(cell.burst_pkts),
        buffer_bdp=one(cell.buffer_bdp), cross_flows=one(cell.cross_flows),
        window_bytes=one(cell.window_bytes or 3.3e7),
    )  # fmt: skip
    sender = Sender(
        streams=one(cell.streams),
        algorithm=one(_CODES[cell.algorithm]),
        pacing_mbps=one(np.inf),
    )
    flow = steady_flow(link, sender, coefficients)
    steady = float(flow.goodput_mbps[0])
    srtt_ms = cell.rtt_ms + float(flow.queue_ms[0])
    window = one(steady * srtt_ms * 1e3 / (8.0 * MSS_BYTES * cell.streams))
    lost = float(ramp_lost_s(window, one(cell.rtt_ms), handshake_rounds=1.0)[0])
    return Measured(
        goodput_mbps=steady * max(1.0 - lost / cell.duration_s, 0.0),
        steady_goodput_mbps=steady,
        cross_mbps=float(flow.cross_mbps[0]),
        srtt_ms=srtt_ms,
        retransmit_ratio=float(flow.retransmit_ratio[0]),
        steady_retransmit_ratio=float(flow.retransmit_ratio[0]),
    )


def row_of(cell: Cell, run: CellRun) -> dict[str, Any]:
    """Return one row of the table that ships: the cell, what was measured, and how."""
    return {
        "cell": asdict(cell),
        "measured": {key: round(value, 6) for key, value in asdict(run.measured).items()},
        "mbps_per_s": list(run.mbps_per_s),
        "conditions": asdict(run.conditions),
    }
