"""The process that carries packets between the two namespaces through two channels.

Run by the testbed as `python -m rl_envs.testbed.emulator`, with its configuration on standard
input; ends when standard input closes, and then reports its counters.
"""

import errno
import json
import os
import select
import sys
import time
from typing import Final

from pydantic import BaseModel, ConfigDict

from rl_envs.testbed.channel import Channel, ChannelConfig
from rl_envs.testbed.tun import enter_namespace, open_tun

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
    for _ in range(BATCH):
        try:
            packet = os.read(source, 2048)
        except BlockingIOError:
            return
        channel.offer(packet, time.monotonic())


def _deliver(channel: Channel, sink: int) -> None:
    """Write the packets that have arrived; a full device, or one still down, drops them."""
    for packet in channel.due(time.monotonic()):
        try:
            os.write(sink, packet)
        except OSError as cause:
            if cause.errno not in (errno.EAGAIN, errno.EIO):
                raise


def carry(sides: tuple[int, int], channels: tuple[Channel, Channel], stop: int) -> None:
    """Carry packets until `stop` becomes readable."""
    while True:
        times = [at for at in (channel.next_s() for channel in channels) if at is not None]
        wait_s = max(min(times) - time.monotonic(), 0.0) if times else 0.5
        ready, _, _ = select.select([*sides, stop], [], [], min(wait_s, 0.5))
        for side in (0, 1):
            if sides[side] in ready:
                _drain(sides[side], channels[side])
            _deliver(channels[side], sides[1 - side])
        if stop in ready:
            return


def main() -> int:
    """Read the configuration, open both devices, carry packets, report."""
    config = EmulatorConfig.model_validate_json(sys.stdin.readline())
    sides = []
    for namespace in config.namespaces:
        enter_namespace(namespace)
        sides.append(open_tun(config.device))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    start_s = time.monotonic()
    channels = (Channel(config.forward, start_s), Channel(config.backward, start_s))
    busy_s = time.process_time()
    carry((sides[0], sides[1]), channels, sys.stdin.fileno())
    report = {
        name: {
            key: getattr(channel, key) for key in ("offered", "overflowed", "lost", "delivered")
        }
        for name, channel in zip(("forward", "backward"), channels, strict=True)
    }
    cpu_ratio = (time.process_time() - busy_s) / (time.monotonic() - start_s)
    sys.stdout.write(json.dumps(report | {"cpu_ratio": cpu_ratio}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
