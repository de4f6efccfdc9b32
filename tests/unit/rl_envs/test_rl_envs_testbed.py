import dataclasses
import json
import os
import subprocess

import numpy as np
import pytest
from pydantic import ValidationError

from novacron.errors import NotReadyError, OutOfRangeError, SchemaError
from rl_envs.physics.tcp_link import DEFAULT_COEFFICIENTS
from rl_envs.testbed import __main__ as testbed
from rl_envs.testbed import network
from rl_envs.testbed.cell import Cell, measure_cell, predict_cell, transfer
from rl_envs.testbed.channel import Channel, ChannelConfig, rates_of_trace
from rl_envs.testbed.endpoint import EndpointConfig, StreamGroup
from rl_envs.testbed.fit import fit, report
from rl_envs.testbed.grid import grid, measure_grid

PACKET = bytes(1500)
POSSIBLE = not network.missing()
needs_root = pytest.mark.skipif(not POSSIBLE, reason="needs Linux, root, /dev/net/tun and bbr")


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
    assert channel_of().next_s() is None


def test_grid_halves_every_kind_and_repeats_no_cell():
    planned = grid()
    kinds = {cell.kind for cell in planned}

    assert len({json.dumps(dataclasses.asdict(cell.cell)) for cell in planned}) == len(planned)
    for kind in kinds:
        halves = [cell.half for cell in planned if cell.kind == kind]
        assert abs(halves.count("fit") - halves.count("report")) <= 1
    assert all(cell.cell.duration_s >= 40 for cell in planned)


def test_interrupted_grid_goes_on_where_it_stopped(tmp_path):
    path, seen = tmp_path / "table.json", []
    cells = grid()[:3]

    def measure(cell):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(cell)
        return predict_cell(cell)

    with pytest.raises(KeyboardInterrupt):
        measure_grid(path, cells=cells, progress=lambda *_: None, measure=measure)
    seen.clear()
    count = measure_grid(path, cells=cells, progress=lambda *_: None, measure=measure)

    assert count == 2
    assert len(json.loads(path.read_text())["rows"]) == 6


def rows_under(coefficients):
    return [
        {
            "kind": planned.kind,
            "half": planned.half,
            "cell": dataclasses.asdict(planned.cell),
            "measured": dataclasses.asdict(predict_cell(planned.cell, coefficients)),
        }
        for planned in grid()
    ]


def test_law_measured_against_itself_has_no_error():
    errors = report(rows_under(DEFAULT_COEFFICIENTS))

    assert {error.kind for error in errors} == {cell.kind for cell in grid()}
    assert max(error.p90 for error in errors) < 1e-9


def test_fit_finds_coefficients_that_made_the_measurements():
    true = dataclasses.replace(
        DEFAULT_COEFFICIENTS, bbr_utilisation_ratio=0.85, loss_based_floor_ratio=0.35
    )
    rows = rows_under(true)

    fitted = fit(rows)

    before = max(error.median for error in report(rows))
    after = max(error.median for error in report(rows, fitted))
    assert before > 0.05
    assert after < 0.02


def test_runs_of_a_busy_machine_are_not_used():
    rows = rows_under(DEFAULT_COEFFICIENTS)
    for row in rows:
        row["measured"]["emulator_cpu_ratio"] = 0.95

    with pytest.raises(SchemaError, match="quiet machine"):
        report(rows)


def test_check_names_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(testbed, "missing", lambda: ["root"])

    code = testbed.main(["check"])

    assert code == 1
    assert json.loads(capsys.readouterr().out) == {"possible": False, "missing": ["root"]}


def test_grid_on_an_unfit_machine_ends_with_the_reason(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(network, "missing", lambda: ["root", "/dev/net/tun"])

    code = testbed.main(["grid", "--table", str(tmp_path / "t.json")])

    assert code == NotReadyError.exit_code
    assert "no root, no /dev/net/tun" in capsys.readouterr().err


def test_report_prints_errors_before_and_after_the_fit(tmp_path, capsys):
    table = tmp_path / "t.json"
    table.write_text(json.dumps({"rows": rows_under(DEFAULT_COEFFICIENTS)}))

    code = testbed.main(["report", "--table", str(table)])

    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert set(answer) == {"first_estimates", "fitted", "coefficients"}


def test_failing_system_command_is_named():
    with pytest.raises(NotReadyError, match="ip netns del"):
        network.run(["ip", "netns", "del", f"no-such-{os.getpid()}"])


@needs_root
@pytest.mark.server
def test_real_tcp_crosses_the_link_and_nothing_is_left_behind():
    cell = Cell(
        capacity_mbps=8.0, rtt_ms=20.0, loss_ratio=0.0, burst_pkts=1.0, buffer_bdp=2.0,
        algorithm="cubic", streams=2, cross_flows=1, window_bytes=None, duration_s=6.0, seed=1,
    )  # fmt: skip

    measured = measure_cell(cell)

    # Rates of a busy machine say little; that bytes crossed and the bottleneck held, they do say.
    payload = 8.0 * 1448 / 1500
    assert 0.02 * payload < measured.goodput_mbps < 1.05 * payload
    assert measured.cross_mbps > 0.0
    assert measured.srtt_ms > 20.0
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert f"-{os.getpid()}" not in names.stdout


@needs_root
@pytest.mark.server
def test_link_is_removed_even_when_the_run_fails():
    config = ChannelConfig(rate_mbps=(5.0,), delay_ms=1.0, buffer_bytes=30_000)

    with pytest.raises(ZeroDivisionError), network.emulated_network(config, config) as link:
        raise ZeroDivisionError

    assert "offered" in link.counters["forward"]
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert link.sender not in names.stdout


@needs_root
@pytest.mark.server
def test_compressed_streams_cross_the_link_beside_plain_ones():
    pytest.importorskip("zstandard")
    channel = ChannelConfig(rate_mbps=(8.0,), delay_ms=5.0, buffer_bytes=60_000)
    groups = (
        StreamGroup(algorithm="cubic", streams=2, codec="zstd-3"),
        StreamGroup(algorithm="cubic", streams=1),
    )
    config = EndpointConfig(address=network.ADDRESSES[1], groups=groups, duration_s=3.0)

    sent, received, counters = transfer(channel, channel, config)

    compressed, plain = (group["encode_ratio"] for group in sent["groups"])
    assert compressed > 2.0
    assert plain == 1.0
    arrived = [sum(counts) for counts in received["bytes_per_s"]]
    assert min(arrived) > 0
    # No more payload arrived than the delivered packets can hold.
    assert sum(arrived) <= counters["forward"]["delivered"] * 1460


def test_codec_outside_the_ladder_is_refused_before_anything_runs():
    with pytest.raises(ValidationError, match="zstd-99"):
        StreamGroup(algorithm="cubic", streams=1, codec="zstd-99")
