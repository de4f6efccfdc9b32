"""The serving benchmark end to end in its quick form, and the parts that turn it into figures."""

import asyncio
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.results_format import BenchmarkResult
from benchmarks.serving.__main__ import main
from benchmarks.serving.bench import Bench
from benchmarks.serving.bodies import OIP_BINARY, check_answers, make_rows
from benchmarks.serving.cpu import TreeClock
from benchmarks.serving.load import Load, run_load
from benchmarks.serving.peers import Running
from benchmarks.serving.report import Measured, to_result

ONE = "1 row, 64 connections"


def load(requests, seconds=1.0, latency_s=0.001, failed=0):
    return Load(
        requests=requests, failed=failed, seconds=seconds, latency_s=(latency_s,) * requests
    )


def measured(server, cpu_s, requests=100, **changes):
    fields = {
        "server": server,
        "case": ONE,
        "load": load(requests),
        "cpu_s": cpu_s,
        "idle_ratio": 0.0,
        "beside": load(100),
        "beside_cpu_s": 0.2,
    }
    return Measured(**fields | changes)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_quick_form_checks_answers_and_writes_a_result_with_its_baseline(tmp_path):
    main(["--quick", "--out", str(tmp_path), "--runs", str(tmp_path / "runs")])

    result = BenchmarkResult.model_validate(json.loads((tmp_path / "serving.json").read_text()))
    found = {(metric.name, metric.set) for metric in result.metrics}
    assert ("cpu_ratio", f"raw_listener: {ONE}") in found
    assert all(metric.value > 0 for metric in result.metrics)
    assert "0 counted requests failed." in result.notes
    assert not [note for note in result.notes if "was not measured" in note]


def test_a_cheaper_server_is_so_many_times_cheaper_by_ratios_to_the_same_calibrator():
    runs = [measured("novacron", 0.1), measured("mlflow", 0.4)]
    slow_machine = measured("mlflow", 0.8, beside_cpu_s=0.4)

    result = to_result([*runs, slow_machine], [0.02], {}, [], command="x")

    values = {(metric.name, metric.set): metric.value for metric in result.metrics}
    assert values["cpu_ratio", f"novacron: {ONE}"] == pytest.approx(2.0)
    assert values["cpu_times_cheaper", f"novacron against mlflow: {ONE}"] == pytest.approx(4.0)


def test_what_a_cluster_burns_without_requests_is_taken_off():
    assert measured("ray", 0.3, idle_ratio=0.1).cpu_us == pytest.approx(2000)


def bench_of(store):
    running = Running(port=0, roots=lambda: ())
    return Bench(work=store, rounds=1, seconds=1, say=print, calibrator=running, store=store)


def test_a_killed_run_goes_on_after_the_parts_it_finished(tmp_path):
    first, second = bench_of(tmp_path), bench_of(tmp_path)

    def measure(bench, server):
        bench.measured.append(measured(server, 0.1, requests=5000))
        bench.facts["seen"] = [server]

    first.part("novacron", lambda: measure(first, "novacron"))
    second.part("novacron", lambda: pytest.fail("measured twice"))

    assert second.facts == {"seen": ["novacron"]}
    assert second.measured[0].cpu_ratio == first.measured[0].cpu_ratio
    assert second.measured[0].p99_ratio == pytest.approx(first.measured[0].p99_ratio)


def test_a_server_that_does_not_run_is_said_and_leaves_no_figures(tmp_path):
    bench = bench_of(tmp_path)

    def fails():
        bench.measured.append(measured("mlflow", 0.1))
        raise RuntimeError("no port")

    bench.part("mlflow", fails)

    assert bench.measured == []
    assert bench.missing == ["mlflow was not measured: no port"]
    assert list(tmp_path.iterdir()) == []


def test_wrong_answers_stop_the_benchmark():
    with pytest.raises(AssertionError):
        check_answers([np.ones(3)], np.array([1.0, 1.0, 1.1]))


def test_requests_rotate_over_distinct_rows():
    bodies = OIP_BINARY.bodies(make_rows(), n_rows=1, host="x")

    assert len(set(bodies)) == 1000


def test_cpu_of_children_that_have_ended_still_counts():
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True)\ninput()"
    parent = subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    clock = TreeClock(lambda: (parent.pid,))
    parent.stdout.readline()
    before_s = clock.read_s()
    parent.communicate(b"\n")

    assert before_s >= 0.2
    assert clock.read_s() == before_s
    assert TreeClock(lambda: (os.getpid(),)).read_s() > 0


async def _answer(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"length: ")[2].split()[0]))
            status = b"500 No" if b"bad" in head else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")
    except asyncio.IncompleteReadError:
        writer.close()


def test_the_load_counts_every_request_and_those_that_failed():
    async def ask(path):
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        body = f"POST {path} HTTP/1.1\r\nContent-Length: 1\r\n\r\nx".encode()
        began_s = time.perf_counter()
        done = await run_load(port, [body], connections=3, seconds=0.2)
        server.close()
        return done, time.perf_counter() - began_s

    good, seconds = asyncio.run(ask("/good"))
    bad, _ = asyncio.run(ask("/bad"))

    assert good.requests == len(good.latency_s) > 3
    assert (good.failed, bad.failed) == (0, bad.requests)
    assert sum(good.latency_s) <= 3 * seconds
