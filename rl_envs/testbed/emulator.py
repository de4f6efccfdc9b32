"""The process that carries packets between the two namespaces through two channels.

Run by the testbed as `python -m rl_envs.testbed.emulator`, with its configuration on standard
input; ends when standard input closes, and then reports its counters.
"""

import errno
import gc
import json
import os
import select
import sys
import time
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from rl_envs.testbed.channel import Channel, ChannelConfig
from rl_envs.testbed.priority import EMULATOR_PRIORITY, take_priority
from rl_envs.testbed.tun import enter_namespace, open_tun

TURN_S: Final = 2e-4
"""Pause between looks at the devices. It halves the cost of a packet; as times are taken in the
middle of a turn, packets are early as often as late, by half of it at most."""
BATCH: Final = 64
"""Packets read from one side before the other has its turn."""


class EmulatorConfig(BaseModel):
    """Both directions, and where their devices live."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespaces: tuple[str, str]
    device: str
    forward: ChannelConfig
    backward: ChannelConfig


def _drain(source: int, channel: Channel) -> None:
    """Move waiting packets of one side into its channel."""
    read, offer, clock = os.read, channel.offer, time.monotonic
    for _ in range(BATCH):
        try:
            packet = read(source, 2048)
        except BlockingIOError:
            return
        offer(packet, clock() - 0.5 * TURN_S)


def _deliver(channel: Channel, sink: int) -> None:
    """Write the packets that have arrived; a full device, or one still down, drops them."""
    write = os.write
    for packet in channel.due(time.monotonic() + 0.5 * TURN_S):
        try:
            write(sink, packet)
        except OSError as cause:
            if cause.errno not in (errno.EAGAIN, errno.EIO):
                raise


def carry(sides: tuple[int, int], channels: tuple[Channel, Channel], stop: int) -> None:
    """Carry packets until `stop` becomes readable."""
    forward, backward = channels
    watched = [*sides, stop]
    clock = time.monotonic
    while True:
        next_s = min(forward.next_s(), backward.next_s()) - 0.5 * TURN_S
        ready, _, _ = select.select(watched, (), (), max(min(next_s - clock(), 0.5), 0.0))
        for side in ready:
            if side == stop:
                return
            _drain(side, forward if side == sides[0] else backward)
        _deliver(forward, sides[1])
        _deliver(backward, sides[0])
        time.sleep(TURN_S)


def report_of(channels: tuple[Channel, Channel], cpu_ratio: float) -> dict[str, Any]:
    """Return the counters of both directions and how well the machine kept up."""
    report: dict[str, Any] = {
        name: {
            key: getattr(channel, key) for key in ("offered", "overflowed", "lost", "delivered")
        }
        for name, channel in zip(("forward", "backward"), channels, strict=True)
    }
    return report | {
        "cpu_ratio": cpu_ratio,
        "lag_p99_ms": max(channel.lag_ms(0.99) for channel in channels),
        "lag_p999_ms": max(channel.lag_ms(0.999) for channel in channels),
        "lag_worst_ms": max(channel.worst_lag_s for channel in channels) * 1e3,
    }


def main() -> int:
    """Read the configuration, open both devices, carry packets, report."""
    config = EmulatorConfig.model_validate_json(sys.stdin.readline())
    sides = []
    for namespace in config.namespaces:
        enter_namespace(namespace)
        sides.append(open_tun(config.device))
    # Reference counts free every packet; a collection would only pause the link.
    gc.disable()
    priority = take_priority(EMULATOR_PRIORITY)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    start_s = time.monotonic()
    channels = (Channel(config.forward, start_s), Channel(config.backward, start_s))
    busy_s = time.process_time()
    carry((sides[0], sides[1]), channels, sys.stdin.fileno())
    cpu_ratio = (time.process_time() - busy_s) / (time.monotonic() - start_s)
    report = report_of(channels, cpu_ratio) | {"priority": priority}
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
