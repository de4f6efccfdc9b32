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
STALL_S: Final = 5e-4
"""What a turn may take longer than meant before the link's clock stands still for the rest."""
BATCH: Final = 64
"""Packets read from one side before the other has its turn."""


class EmulatorConfig(BaseModel):
    """Both directions, and where their devices live."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespaces: tuple[str, str]
    device: str
    forward: ChannelConfig
    backward: ChannelConfig


class LinkClock:
    """Time as the link counts it: it stands still while the machine keeps the link from running.

    After a stall packets then leave with the distances they had. On the wall clock all that became
    due would leave at once, and the burst that answers it overflows a buffer that no real link
    overflows.
    """

    def __init__(self) -> None:
        self.stood_s = 0.0
        self.worst_s = 0.0

    def now_s(self) -> float:
        """Return the time now."""
        return time.monotonic() - self.stood_s

    def woke(self, meant_s: float) -> None:
        """Tell when this turn was meant to begin; what it is late by beyond STALL_S is skipped."""
        late_s = self.now_s() - meant_s - STALL_S
        if late_s > 0.0:
            self.stood_s += late_s
            self.worst_s = max(self.worst_s, late_s)


def _drain(source: int, channel: Channel, now_s: float) -> None:
    """Move waiting packets of one side into its channel."""
    read, offer = os.read, channel.offer
    for _ in range(BATCH):
        try:
            packet = read(source, 2048)
        except BlockingIOError:
            return
        offer(packet, now_s)


def _deliver(channel: Channel, sink: int, now_s: float) -> None:
    """Write the packets that have arrived; a full device, or one still down, drops them."""
    write = os.write
    for packet in channel.due(now_s):
        try:
            write(sink, packet)
        except OSError as cause:
            if cause.errno not in (errno.EAGAIN, errno.EIO):
                raise


def carry(
    sides: tuple[int, int], channels: tuple[Channel, Channel], stop: int, clock: LinkClock
) -> None:
    """Carry packets until `stop` becomes readable."""
    forward, backward = channels
    watched = [*sides, stop]
    half_s = 0.5 * TURN_S
    while True:
        before_s = clock.now_s()
        wait_s = max(min(forward.next_s(), backward.next_s()) - half_s - before_s, 0.0)
        ready, _, _ = select.select(watched, (), (), min(wait_s, 0.5))
        if stop in ready:
            return
        if not ready:
            clock.woke(before_s + min(wait_s, 0.5))
        now_s = clock.now_s()
        for side in ready:
            _drain(side, forward if side == sides[0] else backward, now_s - half_s)
        _deliver(forward, sides[1], now_s + half_s)
        _deliver(backward, sides[0], clock.now_s() + half_s)
        before_s = clock.now_s()
        time.sleep(TURN_S)
        clock.woke(before_s + TURN_S)


def report_of(
    channels: tuple[Channel, Channel], clock: LinkClock, cpu_ratio: float, wall_s: float
) -> dict[str, Any]:
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
        "stall_ratio": clock.stood_s / wall_s,
        "stall_worst_ms": clock.worst_s * 1e3,
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
    clock = LinkClock()
    start_s = clock.now_s()
    channels = (Channel(config.forward, start_s), Channel(config.backward, start_s))
    busy_s = time.process_time()
    carry((sides[0], sides[1]), channels, sys.stdin.fileno(), clock)
    wall_s = clock.now_s() + clock.stood_s - start_s
    cpu_ratio = (time.process_time() - busy_s) / wall_s
    report = report_of(channels, clock, cpu_ratio, wall_s) | {"priority": priority}
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
