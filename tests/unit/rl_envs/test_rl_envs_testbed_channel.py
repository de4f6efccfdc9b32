"""The emulated bottleneck: when packets arrive, which are lost, what a trace does."""

import numpy as np
import pytest
from pydantic import ValidationError

from novacron.errors import OutOfRangeError
from rl_envs.testbed.channel import Channel, ChannelConfig, rates_of_trace

PACKET = bytes(1500)


def channel_of(**changes):
    config = {"rate_mbps": (12.0,), "delay_ms": 10.0, "buffer_bytes": 15_000} | changes
    return Channel(ChannelConfig(**config), start_s=100.0)


def test_packet_arrives_after_its_transmission_and_the_delay():
    channel = channel_of()

    channel.offer(PACKET, 100.0)

    assert channel.due(100.0109) == []
    assert channel.due(100.0111) == [PACKET]  # 1 ms at 12 Mbit/s, 10 ms of wire


def test_packets_leave_in_order_at_the_rate_of_the_bottleneck():
    channel = channel_of(buffer_bytes=10_000_000)
    for number in range(100):
        channel.offer(number.to_bytes(2, "big") + bytes(1498), 100.0)

    half = channel.due(100.0 + 0.010 + 0.0505)
    rest = channel.due(200.0)

    assert [int.from_bytes(packet[:2], "big") for packet in half + rest] == list(range(100))
    assert len(half) == 50


def test_full_buffer_drops_what_comes_after():
    channel = channel_of()
    for _ in range(30):
        channel.offer(PACKET, 100.0)

    assert channel.overflowed == 20
    assert len(channel.due(101.0)) == 10


def test_buffer_drains_at_the_rate_of_the_bottleneck():
    channel = channel_of()
    for _ in range(10):
        channel.offer(PACKET, 100.0)

    channel.offer(PACKET, 100.0005)
    channel.offer(PACKET, 100.0021)

    assert channel.overflowed == 1


@pytest.mark.parametrize("burst", [1.0, 5.0])
def test_losses_have_their_rate_and_their_mean_burst(burst):
    channel = channel_of(
        loss_ratio=0.05, burst_pkts=burst, buffer_bytes=10**9, rate_mbps=(1e5,), seed=3
    )
    arrived = []
    for number in range(60_000):
        channel.offer(number.to_bytes(4, "big"), 100.0)
    arrived = [int.from_bytes(packet, "big") for packet in channel.due(1e9)]

    lost = np.setdiff1d(np.arange(60_000), arrived)
    runs = np.split(lost, np.flatnonzero(np.diff(lost) > 1) + 1)
    assert channel.lost / channel.offered == pytest.approx(0.05, rel=0.15)
    assert np.mean([len(run) for run in runs]) == pytest.approx(max(burst, 1.05), rel=0.15)


def test_same_seed_loses_the_same_packets():
    channels = [channel_of(loss_ratio=0.3, buffer_bytes=10**6, seed=9) for _ in range(2)]
    for channel in channels:
        for number in range(500):
            channel.offer(bytes([number % 256]) * 40, 100.0)

    assert channels[0].due(1e9) == channels[1].due(1e9)


def test_trace_changes_the_rate_every_second_and_starts_over():
    channel = channel_of(rate_mbps=(12.0, 1.2), delay_ms=0.0)

    times = []
    for second in (0.0, 1.0, 2.0):
        channel.offer(PACKET, 100.0 + second)
        times.append(channel.next_s() - 100.0 - second)
        channel.due(1e9)

    assert times == pytest.approx([0.001, 0.010, 0.001])


def test_trace_becomes_one_rate_a_second_without_outages():
    assert rates_of_trace([0.0, 1.5, 3.0], [5.0, 0.0, 7.0]) == (5.0, 5.0, 0.01, 7.0)
    with pytest.raises(OutOfRangeError, match="t_s"):
        rates_of_trace([], [])


@pytest.mark.parametrize(
    "changes",
    [{"rate_mbps": (0.0,)}, {"delay_ms": -1.0}, {"loss_ratio": 1.0}, {"colour": "red"}],
)
def test_impossible_channel_is_refused(changes):
    with pytest.raises(ValidationError):
        channel_of(**changes)


def test_idle_channel_has_nothing_coming():
    assert channel_of().next_s() == np.inf


def test_lateness_of_deliveries_is_counted():
    channel = channel_of(buffer_bytes=10_000_000)
    for _ in range(100):
        channel.offer(PACKET, 100.0)

    for number in range(100):
        late_s = 0.02 if number == 99 else 0.0001
        channel.due(100.0 + 0.010 + 0.001 * (number + 1) + late_s)

    assert channel.lag_ms(0.5) == pytest.approx(0.25)
    assert channel.worst_lag_s == pytest.approx(0.02)
    assert channel.lag_ms(1.0) >= 20.0
