"""One cell of the grid: a link, streams, a seed; what was measured and what the simulator says."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from novacron.errors import NotReadyError
from rl_envs.physics.quantities import BBR, CUBIC, MSS_BYTES, MTU_BYTES, RENO, FloatArray
from rl_envs.physics.ramp import ramp_lost_s
from rl_envs.physics.tcp_coefficients import DEFAULT_COEFFICIENTS, TcpCoefficients
from rl_envs.physics.tcp_link import Link, Sender, steady_flow
from rl_envs.physics.tcp_start import goodput_between
from rl_envs.testbed.channel import ChannelConfig
from rl_envs.testbed.endpoint import EndpointConfig, StreamGroup
from rl_envs.testbed.network import ADDRESSES, Network, emulated_network

WARM_UP_S: Final = 5
"""Seconds at the start that steady figures leave out."""
_CODES: Final = {"cubic": CUBIC, "bbr": BBR, "reno": RENO}
_AMPLE_BUFFER: Final = 1 << 26
RECEIVE_WINDOW_RATIO: Final = 1.244
"""Window that Linux opens per byte of SO_RCVBUF: it doubles the buffer and keeps the rest for its
own bookkeeping. Measured on windows that nothing else limits."""
_NO_WINDOW: Final = 3.3e7


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
        if sender.returncode or receiver.returncode:
            raise NotReadyError(
                f"An end failed: sender {sender.returncode}, receiver {receiver.returncode}.",
                remedy="Its traceback stands above; a machine too busy to start both is a cause.",
            )
        return json.loads(sent), json.loads(received)
    except subprocess.TimeoutExpired as cause:
        raise NotReadyError(f"An end did not finish: {cause}.") from cause
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


def _column(cells: Sequence[Cell], name: str) -> FloatArray:
    return np.array([float(getattr(cell, name)) for cell in cells])


def predict_cells(
    cells: Sequence[Cell], coefficients: TcpCoefficients = DEFAULT_COEFFICIENTS
) -> dict[str, FloatArray]:
    """Return what the simulator's law says of cells: arrays named as the fields of `Measured`."""
    windows = [
        _NO_WINDOW if cell.window_bytes is None else cell.window_bytes * RECEIVE_WINDOW_RATIO
        for cell in cells
    ]
    link = Link(
        capacity_mbps=_column(cells, "capacity_mbps"),
        rtt_ms=_column(cells, "rtt_ms"),
        loss_ratio=np.maximum(_column(cells, "loss_ratio"), 1e-8),
        burst_pkts=_column(cells, "burst_pkts"),
        buffer_bdp=_column(cells, "buffer_bdp"),
        cross_flows=_column(cells, "cross_flows"),
        window_bytes=np.array(windows),
    )
    streams = _column(cells, "streams")
    sender = Sender(
        streams=streams,
        algorithm=np.array([_CODES[cell.algorithm] for cell in cells]),
        pacing_mbps=np.full_like(streams, np.inf),
    )
    flow = steady_flow(link, sender, coefficients)
    end_s = _column(cells, "duration_s")
    begin_s, warm_s = np.zeros_like(end_s), np.full_like(end_s, float(WARM_UP_S))
    whole = goodput_between(flow, link, sender, begin_s, end_s, coefficients)
    steady = goodput_between(flow, link, sender, warm_s, end_s, coefficients)
    srtt_ms = link.rtt_ms + flow.queue_ms + flow.ack_wait_ms
    window = flow.goodput_mbps * srtt_ms * 1e3 / (8.0 * MSS_BYTES * streams)
    lost_s = ramp_lost_s(window, link.rtt_ms, handshake_rounds=1.0)
    return {
        "goodput_mbps": whole * np.maximum(1.0 - lost_s / end_s, 0.0),
        "steady_goodput_mbps": steady,
        "cross_mbps": flow.cross_mbps,
        "srtt_ms": srtt_ms,
        "retransmit_ratio": flow.retransmit_ratio,
        "steady_retransmit_ratio": flow.retransmit_ratio,
    }


def predict_cell(cell: Cell, coefficients: TcpCoefficients = DEFAULT_COEFFICIENTS) -> Measured:
    """Return what the simulator's law says of one cell."""
    return Measured(
        **{name: float(value[0]) for name, value in predict_cells([cell], coefficients).items()}
    )


def row_of(cell: Cell, run: CellRun) -> dict[str, Any]:
    """Return one row of the table that ships: the cell, what was measured, and how."""
    return {
        "cell": asdict(cell),
        "measured": {key: round(value, 6) for key, value in asdict(run.measured).items()},
        "mbps_per_s": list(run.mbps_per_s),
        "conditions": asdict(run.conditions),
    }
