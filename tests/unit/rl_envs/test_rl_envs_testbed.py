import dataclasses
import json
import os
import subprocess
import threading

import pytest
from pydantic import ValidationError

from novacron.errors import NotReadyError, SchemaError
from rl_envs.physics.tcp_coefficients import DEFAULT_COEFFICIENTS, FIRST_ESTIMATES
from rl_envs.tables import TESTBED_TABLE
from rl_envs.testbed import __main__ as testbed
from rl_envs.testbed import network, priority
from rl_envs.testbed.cell import (
    Cell,
    CellRun,
    Conditions,
    measure_cell,
    predict_cell,
    predict_cells,
    row_of,
    transfer,
)
from rl_envs.testbed.channel import ChannelConfig
from rl_envs.testbed.emulator import STALL_S, LinkClock
from rl_envs.testbed.endpoint import EndpointConfig, StreamGroup, _start_order
from rl_envs.testbed.fit import choices, fit, measured_cells, report
from rl_envs.testbed.grid import expand, grid, group_key
from rl_envs.testbed.schedule import ATTEMPTS, cores_of, disturbed, measure_grid
from rl_envs.testbed.ship import rows_sha256, ship

POSSIBLE = not network.missing()
needs_root = pytest.mark.skipif(not POSSIBLE, reason="needs Linux, root, /dev/net/tun and bbr")


def test_clock_of_the_link_stands_still_during_a_stall(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = LinkClock()
    now[0] = 100.3

    clock.woke(meant_s=100.1)

    assert clock.now_s() == pytest.approx(100.1 + STALL_S)
    assert clock.stood_s == clock.worst_s == pytest.approx(0.2 - STALL_S)


def test_connections_of_both_groups_begin_in_turn():
    groups = (StreamGroup(algorithm="bbr", streams=2), StreamGroup(algorithm="cubic", streams=4))
    config = EndpointConfig(address="10.0.0.1", groups=groups, duration_s=1.0)

    assert _start_order(config) == [1, 0, 1, 1, 0, 1]


def test_priority_says_what_was_granted(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(priority.os, "sched_setscheduler", refuse)
    monkeypatch.setattr(priority.os, "nice", refuse)

    assert priority.take_priority(10) == "ordinary"


def test_grid_halves_every_kind_by_groups_and_repeats_no_cell():
    planned = grid()
    halves = {}
    for entry in planned:
        halves.setdefault(group_key(entry.cell), set()).add(entry.half)

    assert len({json.dumps(dataclasses.asdict(cell.cell)) for cell in planned}) == len(planned)
    assert all(len(sides) == 1 for sides in halves.values())
    for kind in {cell.kind for cell in planned}:
        assert {cell.half for cell in planned if cell.kind == kind} == {"fit", "report"}
    assert all(cell.cell.duration_s >= 45 for cell in planned)


def test_every_cell_has_two_seeds_and_lossy_ones_four():
    seeds = {}
    for entry in expand(grid()):
        seeds.setdefault((entry.kind, dataclasses.replace(entry.cell, seed=0)), []).append(
            entry.cell.seed
        )

    assert {(kind == "loss_limited", len(found)) for (kind, _), found in seeds.items()} == {
        (True, 4),
        (False, 2),
    }


CALM = Conditions(
    emulator_cpu_ratio=0.1, lag_p99_ms=0.5, lag_p999_ms=0.5, lag_worst_ms=1.0, load_1min=1.0,
    beside=0, priority="real time 30",
)  # fmt: skip


def run_of(cell, coefficients=DEFAULT_COEFFICIENTS, **conditions):
    return CellRun(
        measured=predict_cell(cell, coefficients),
        mbps_per_s=(1.0, 2.0),
        conditions=dataclasses.replace(CALM, **conditions),
    )


def nothing(*_):
    """Progress that nobody watches."""


def test_interrupted_grid_goes_on_where_it_stopped(tmp_path):
    path, seen = tmp_path / "table.json", []
    cells = expand(grid()[:2])

    def measure(cell, beside):
        del beside
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(cell)
        return run_of(cell)

    with pytest.raises(KeyboardInterrupt):
        measure_grid(path, cells=cells, progress=nothing, measure=measure)
    before = len(json.loads(path.read_text())["rows"])
    seen.clear()
    count = measure_grid(path, cells=cells, progress=nothing, measure=measure)

    assert before == 4
    assert count == len(cells) - 4
    assert len(json.loads(path.read_text())["rows"]) == len(cells)


def test_cells_run_side_by_side_within_their_budget(tmp_path):
    running, most = [], []
    cells = expand(grid()[:6])
    gate = threading.Barrier(2, timeout=5)

    def measure(cell, beside):
        del beside
        running.append(cell)
        most.append(sum(cores_of(other) for other in running))
        if len(most) <= 2:
            gate.wait()
        running.remove(cell)
        return run_of(cell)

    count = measure_grid(
        tmp_path / "t.json", cells=cells, progress=nothing, measure=measure, jobs=4,
        budget_cores=0.5,
    )  # fmt: skip

    assert count == len(cells)
    assert max(most) <= 0.5


def test_disturbed_and_failed_runs_are_repeated(tmp_path):
    cells, tries = expand(grid()[:1])[:2], []

    def measure(cell, beside):
        del beside
        tries.append(cell)
        if cell.seed == 1 and tries.count(cell) == 1:
            raise NotReadyError("An end failed.")
        return run_of(cell, lag_p99_ms=50.0 if cell.seed == 2 else 0.5)

    measure_grid(tmp_path / "t.json", cells=cells, progress=nothing, measure=measure)

    rows = {
        row["cell"]["seed"]: row for row in json.loads((tmp_path / "t.json").read_text())["rows"]
    }
    assert (rows[1]["attempts"], rows[1]["disturbed"]) == (2, False)
    assert (rows[2]["attempts"], rows[2]["disturbed"]) == (ATTEMPTS, True)


def test_lateness_decides_what_is_disturbed():
    assert not disturbed(CALM)
    assert disturbed(dataclasses.replace(CALM, lag_p99_ms=3.0))
    assert disturbed(dataclasses.replace(CALM, lag_p999_ms=30.0))


def rows_under(coefficients, **conditions):
    return [
        {"kind": planned.kind, "half": planned.half, "disturbed": bool(conditions)}
        | row_of(planned.cell, run_of(planned.cell, coefficients, **conditions))
        for planned in grid()
    ]


def test_cells_predicted_together_equal_cells_predicted_alone():
    cells = [planned.cell for planned in grid()[::9]]

    together = predict_cells(cells)

    for index, cell in enumerate(cells):
        assert predict_cell(cell).goodput_mbps == together["goodput_mbps"][index]


def test_law_measured_against_itself_has_no_error():
    cells = measured_cells(rows_under(DEFAULT_COEFFICIENTS))

    errors = report(cells)

    assert {error.kind for error in errors} == {cell.kind for cell in grid()}
    assert max(error.goodput_p90 for error in errors) < 1e-5
    assert max(choice.regret for choice in choices(cells)) < 0.011


def test_fit_finds_coefficients_that_made_the_measurements():
    true = dataclasses.replace(FIRST_ESTIMATES, bbr_utilisation_ratio=0.85, loss_based_odds=0.25)
    cells = measured_cells(rows_under(true))

    fitted = fit(cells)

    before = max(error.goodput_median for error in report(cells, FIRST_ESTIMATES))
    after = max(error.goodput_median for error in report(cells, fitted))
    assert before > 0.05
    assert after < 0.02


def test_runs_of_a_busy_machine_are_not_used():
    with pytest.raises(SchemaError, match="disturbed"):
        measured_cells(rows_under(DEFAULT_COEFFICIENTS, lag_p99_ms=50.0))


@pytest.fixture(scope="module")
def shipped_table():
    return json.loads(TESTBED_TABLE.read_text())


def test_shipped_table_is_the_whole_grid_as_it_was_measured(shipped_table):
    rows = shipped_table["rows"]
    planned = {json.dumps(dataclasses.asdict(entry.cell)) for entry in expand(grid())}

    assert {json.dumps(dataclasses.asdict(Cell(**row["cell"]))) for row in rows} == planned
    assert rows_sha256(rows) == shipped_table["rows_sha256"]
    assert all(row["conditions"]["priority"].startswith("real time") for row in rows)


def test_shipped_coefficients_are_what_the_fit_finds(shipped_table):
    fitted = dataclasses.asdict(fit(measured_cells(shipped_table["rows"])))

    for name, value in dataclasses.asdict(DEFAULT_COEFFICIENTS).items():
        assert value == pytest.approx(fitted[name], rel=0.03), name


def test_law_stays_near_cells_that_no_fit_has_seen(shipped_table):
    errors = {row.kind: row for row in report(measured_cells(shipped_table["rows"]))}

    assert errors["loss_limited"].goodput_median < 0.06
    assert errors["saturated"].goodput_median < 0.02
    assert max(errors[k].goodput_median for k in ("shallow_buffer", "cross_traffic")) < 0.12
    assert max(row.srtt_median for row in errors.values()) < 0.15
    assert max(row.retransmit_median for row in errors.values()) < 0.03


def test_table_is_shipped_with_its_origin(tmp_path):
    source, destination = tmp_path / "measured.json", tmp_path / "shipped.json"
    source.write_text(json.dumps({"rows": rows_under(DEFAULT_COEFFICIENTS)[:3]}))

    ship(source, destination)

    body = json.loads(destination.read_text())
    assert len(body["rows"]) == 3
    assert {"command", "date", "machine", "versions", "rows_sha256"} < set(body)


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


def test_report_and_fit_print_what_the_shipped_table_says(capsys):
    assert testbed.main(["report"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert testbed.main(["fit"]) == 0
    fitted = json.loads(capsys.readouterr().out)

    assert set(answer) == {"coefficients", "errors", "choices"}
    assert set(fitted) == set(answer["coefficients"])


def test_failing_system_command_is_named():
    with pytest.raises(NotReadyError, match="ip netns del"):
        network.run(["ip", "netns", "del", f"no-such-{os.getpid()}"])


@needs_root
@pytest.mark.server
def test_real_tcp_crosses_the_link_and_nothing_is_left_behind():
    cell = Cell(
        capacity_mbps=8.0, rtt_ms=20.0, loss_ratio=0.0, burst_pkts=1.0, buffer_bdp=2.0,
        algorithm="cubic", streams=2, cross_flows=1, window_bytes=None, duration_s=8.0, seed=1,
    )  # fmt: skip

    run = measure_cell(cell)
    measured = run.measured

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
