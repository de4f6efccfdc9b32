"""CPU and time of a request here and in the servers a user would choose otherwise, side by side.

`python -m benchmarks.serving`: each server in turn beside a hand-written FastAPI that stays up, so
that a busy machine slows both; answers are checked before anything is timed. A run that was killed
goes on after the last part that it finished.
"""

import argparse
import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from benchmarks.results_format import RESULTS_DIR, write_result
from benchmarks.serving import ours, peers
from benchmarks.serving.bench import Bench, Case
from benchmarks.serving.bodies import (
    OIP_BINARY,
    PLAIN,
    Floats,
    Form,
    check_answers,
    make_model,
    make_rows,
)
from benchmarks.serving.load import Load
from benchmarks.serving.peers import Peer, Running
from benchmarks.serving.report import to_result
from ray_jobs.cluster_state import free_ports

CHECKED_ROWS: Final = 50
COMMAND: Final = "python -m benchmarks.serving"
IDLE_S: Final = 10.0
RAY_PARTS: Final = (
    "novacron",
    "novacron_through_serve",
    "serve_batched",
    "serve_naive",
    "scaling",
)


def check_server(running: Running, form: Form, wanted: Floats) -> None:
    """Ask for some rows alone and for all together, and compare with the model's own answers."""
    rows = make_rows()
    url = f"http://127.0.0.1:{running.port}{form.path}"
    with httpx.Client(timeout=60) as client:

        def ask(part: Floats) -> Floats:
            headers, body = form.request(part)
            reply = client.post(url, headers=headers, content=body).raise_for_status()
            told = {name.lower(): value for name, value in reply.headers.items()}
            return form.answers(told, reply.content)

        check_answers([ask(rows[i : i + 1]) for i in range(CHECKED_ROWS)], wanted[:CHECKED_ROWS])
        check_answers([ask(rows)], wanted)


def wanted_answers(work: Path) -> Floats:
    """Return the model's own answers to all the rows."""
    import lightgbm

    booster = lightgbm.Booster(model_file=work / "model.txt")
    return np.asarray(booster.predict(make_rows(), num_threads=1), dtype=np.float64)


def in_process_cpu_s(work: Path, *, repeats: int) -> list[float]:
    """Return the CPU seconds of predicting 1,000 rows in this process."""
    import time

    import lightgbm

    booster = lightgbm.Booster(model_file=work / "model.txt")
    rows = make_rows()
    found = []
    for shift in range(repeats):
        shifted = np.roll(rows, -50 * shift, axis=0)
        began_s = time.process_time()
        booster.predict(shifted, num_threads=1)
        found.append(time.process_time() - began_s)
    return found


def measure_peer(bench: Bench, peer: Peer, home: Path) -> None:
    """Measure a server that is one process group."""
    port = free_ports(3)[0]
    with peers.running(peer, home=home, port=port, work=bench.work) as running:
        check_server(running, peer.form, wanted_answers(bench.work))
        bench.compare(peer.name, running, peer.form)


def measure_serve(bench: Bench, app: str) -> None:
    """Measure Ray Serve without this project, on a cluster of its own."""
    config = ours.plain_config(app, free_ports(1)[0])
    with ours.cluster_with(
        config, bench.work / app, ha_proxy=False, ready_path="/-/healthz"
    ) as cluster:
        check_server(cluster.running, PLAIN, wanted_answers(bench.work))
        bench.compare(f"serve_{app}", cluster.running, PLAIN, idle_s=IDLE_S)


def measure_endpoint(bench: Bench) -> None:
    """Measure this project's endpoint, over binary REST and over gRPC."""
    wanted = wanted_answers(bench.work)
    port, grpc_port = free_ports(2)
    config = ours.endpoint_config(bench.work / "registry", port, grpc_port, max_replicas=1)
    with ours.cluster_with(
        config, bench.work / "novacron", ha_proxy=True, ready_path="/v2/health/ready"
    ) as cluster:
        check_server(cluster.running, OIP_BINARY, wanted)
        check_answers([ours.ask_grpc(cluster.grpc_port)], wanted[:CHECKED_ROWS])
        bench.compare("novacron", cluster.running, OIP_BINARY, idle_s=IDLE_S)

        def over_grpc(case: Case) -> Load:
            bodies = ours.grpc_bodies(make_rows(), n_rows=case.n_rows)
            return asyncio.run(
                ours.run_grpc_load(
                    cluster.grpc_port, bodies, in_flight=case.connections, seconds=bench.seconds
                )
            )

        bench.compare("novacron_grpc", cluster.running, OIP_BINARY, load=over_grpc, idle_s=IDLE_S)


def measure_through_serve(bench: Bench) -> None:
    """Measure the endpoint as Serve passes requests to it, without the short path."""
    port, grpc_port = free_ports(2)
    config = ours.endpoint_config(
        bench.work / "registry", port, grpc_port, max_replicas=1, short_path=False
    )
    with ours.cluster_with(
        config, bench.work / "through_serve", ha_proxy=True, ready_path="/v2/health/ready"
    ) as cluster:
        check_server(cluster.running, OIP_BINARY, wanted_answers(bench.work))
        bench.compare("novacron_through_serve", cluster.running, OIP_BINARY, idle_s=IDLE_S)


def measure_scaling(bench: Bench) -> None:
    """Put a step of load on the endpoint and count what is lost while it scales."""
    port, grpc_port = free_ports(2)
    config = ours.endpoint_config(bench.work / "registry", port, grpc_port, max_replicas=2)
    with ours.cluster_with(
        config, bench.work / "scaling", ha_proxy=True, ready_path="/v2/health/ready"
    ) as cluster:
        host = f"127.0.0.1:{cluster.running.port}"
        bodies = OIP_BINARY.bodies(make_rows(), n_rows=1, host=host)
        bench.facts["scaling"] = asdict(ours.load_step(cluster, bodies, seconds=60.0, calm_s=90.0))


def parts_of(bench: Bench, home: Path) -> dict[str, Callable[[], None]]:
    """Return every part of the benchmark by name, in the order in which they run."""
    alone = {
        peer.name: partial(measure_peer, bench, peer, home)
        for peer in (peers.BARE, peers.RAW, *peers.PEERS)
    }
    return {
        **alone,
        "novacron": partial(measure_endpoint, bench),
        "novacron_through_serve": partial(measure_through_serve, bench),
        "serve_batched": partial(measure_serve, bench, "batched"),
        "serve_naive": partial(measure_serve, bench, "naive"),
        "scaling": partial(measure_scaling, bench),
    }


def measure_all(bench: Bench, home: Path, only: Sequence[str]) -> None:
    """Measure every server in turn, or those named and those that are done already."""
    parts = parts_of(bench, home)
    python_home = os.environ["HOME"]
    for name, measure in parts.items():
        if only and name not in only and not bench.is_done(name):
            bench.missing.append(f"{name} was not measured in this run.")
            continue
        if name in RAY_PARTS and not (bench.work / "registry").exists():
            ours.prepare_environment(bench.work / "home", bench.work / "model.txt")
            ours.register(bench.work / "mlflow_model", bench.work / "registry")
        bench.part(name, measure)
    os.environ["HOME"] = python_home


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result; `--quick` takes FastAPI and the bare data plane alone."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--quick", action="store_true", help="no Ray, a part of a second each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/serving"))
    parser.add_argument("--fresh", action="store_true", help="measure finished parts again")
    parser.add_argument("--only", default="", help="parts to measure now, with commas")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR)
    given = parser.parse_args(arguments)
    os.environ |= peers.ONE_THREAD
    quick: bool = given.quick
    rounds, seconds = (1, 0.3) if quick else (given.rounds, given.seconds)
    runs: Path = given.runs.resolve()
    store = runs / f"parts-{rounds}x{seconds:g}s"
    if given.fresh or quick:
        shutil.rmtree(store, ignore_errors=True)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serving-")))
        size = {"trees": 10, "n_rows": 1_000} if quick else {}
        ours.write_mlflow_model(make_model(work / "model.txt", **size), work / "mlflow_model")
        # The quick form installs nothing: FastAPI is here because Ray needs it.
        fastapi = replace(peers.FASTAPI, requirements=()) if quick else peers.FASTAPI
        home, port = runs / "peers", free_ports(1)[0]
        calibrator = stack.enter_context(peers.running(fastapi, home=home, port=port, work=work))
        check_server(calibrator, PLAIN, wanted_answers(work))
        bench = Bench(
            work=work,
            rounds=rounds,
            seconds=seconds,
            say=_say,
            calibrator=calibrator,
            store=store,
        )
        if quick:
            bench.part("raw_listener", lambda: measure_peer(bench, peers.RAW, home))
        else:
            measure_all(bench, home, [one for one in given.only.split(",") if one])
        in_process = in_process_cpu_s(work, repeats=20)
        result = to_result(
            bench.measured,
            in_process,
            bench.facts,
            bench.missing,
            command=f"{COMMAND} --rounds {rounds} --seconds {seconds:g}",
        )
    path = write_result(result, given.out)
    if not bench.missing:
        shutil.rmtree(store, ignore_errors=True)
    _say(f"wrote {path}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the progress of a command


if __name__ == "__main__":
    main()
