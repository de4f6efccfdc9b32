"""The servers: how each is installed, started, asked and stopped."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from benchmarks.serving import bodies
from benchmarks.serving.bodies import Form

APPS: Final = Path(__file__).parent / "peer_apps"
ROOT: Final = Path(__file__).parents[2]
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
START_S: Final = 180.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A server that answers: its port and the roots of its process tree."""

    port: int
    roots: Callable[[], Iterable[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A server in an environment of its own.

    `command` gets the environment's Python, the port and the folder with the model; `requirements`
    are empty where it runs in this project's own environment.
    """

    name: str
    requirements: tuple[str, ...]
    form: Form
    command: Callable[[str, int, Path], list[str]]
    files: Callable[[Path, int], Mapping[str, str]] = field(default=lambda _folder, _port: {})
    cwd: Path | None = None


def python_of(peer: Peer, home: Path) -> str:
    """Return the Python of a peer's environment, which is made once and kept under `home`.

    Raises:
        subprocess.CalledProcessError: pip cannot install it.
    """
    if not peer.requirements:
        return sys.executable
    digest = hashlib.sha256(repr((peer.requirements, sys.version)).encode()).hexdigest()[:12]
    folder = home / f"{peer.name}-{digest}"
    python, finished = folder / "env" / "bin" / "python", folder / "finished"
    if not finished.exists():
        folder.mkdir(parents=True, exist_ok=True)
        make = [sys.executable, "-m", "venv", "--clear", str(folder / "env")]
        install = [str(python), "-m", "pip", "install", "-q", *peer.requirements]
        for command in (make, install):
            subprocess.run(command, check=True)  # noqa: S603 - the commands above
        finished.touch()
    return str(python)


@contextmanager
def running(peer: Peer, *, home: Path, port: int, work: Path) -> Iterator[Running]:
    """Start a peer, wait until it answers, and stop its whole process group in the end.

    Raises:
        RuntimeError: It does not answer; the end of its log says why.
    """
    python = python_of(peer, home)
    folder = work / peer.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in peer.files(work, port).items():
        (folder / name).write_text(text)
    environment = os.environ | ONE_THREAD | {
        "MODEL": str(work / "model.txt"),
        "HOME": str(folder),
        "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "BENTOML_DO_NOT_TRACK": "true",
        "PYTHONPATH": str(ROOT) if not peer.requirements else "",
    }  # fmt: skip
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 - a command of the table below
            peer.command(python, port, folder),
            env=environment,
            cwd=peer.cwd or folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(peer, process, port, log)
        yield Running(port=port, roots=lambda: (process.pid,))
    finally:
        _stop(process)


def _wait(peer: Peer, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    headers, body = peer.form.request(bodies.make_rows()[:1])
    deadline_s = time.monotonic() + START_S
    while True:
        try:
            reply = httpx.post(
                f"http://127.0.0.1:{port}{peer.form.path}",
                headers=headers,
                content=body,
                timeout=10,
            )
            if reply.is_success:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise RuntimeError(f"{peer.name} does not answer: {log.read_text()[-2000:]}")
        time.sleep(0.3)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            break
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue
    process.wait(10)


def _bare(*more: str) -> Callable[[str, int, Path], list[str]]:
    def command(python: str, port: int, folder: Path) -> list[str]:
        return [python, "-m", "benchmarks.serving.bare_app", str(port),
                str(folder.parent / "mlflow_model"), *more]  # fmt: skip

    return command


def _mlserver_files(work: Path, port: int) -> dict[str, str]:
    return {
        "settings.json": f'{{"http_port": {port}, "grpc_port": {port + 1}, '
        f'"metrics_port": {port + 2}, "parallel_workers": 0, "debug": false}}',
        "model-settings.json": '{"name": "lgb", "implementation": '
        '"mlserver_lightgbm.LightGBMModel", "max_batch_size": 64, "max_batch_time": 0.002, '
        f'"parameters": {{"uri": "{work / "model.txt"}"}}}}',
    }


FASTAPI: Final = Peer(
    name="fastapi",
    requirements=("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "lightgbm==4.7.0"),
    form=bodies.PLAIN,
    command=lambda python, port, _: [
        python, "-m", "uvicorn", "fastapi_app:app", "--port", str(port), "--no-access-log",
        "--log-level", "warning", "--app-dir", str(APPS),
    ],
)  # fmt: skip
PEERS: Final = (
    Peer(
        name="mlflow",
        requirements=("mlflow==3.17.2", "lightgbm==4.7.0"),
        form=bodies.MLFLOW,
        command=lambda python, port, folder: [
            python, "-m", "mlflow", "models", "serve", "-m", str(folder.parent / "mlflow_model"),
            "-p", str(port), "--env-manager", "local",
        ],
    ),
    Peer(
        name="mlserver",
        requirements=("mlserver==1.7.1", "mlserver-lightgbm==1.7.1", "uvloop<0.22"),
        form=bodies.OIP_JSON,
        command=lambda python, _port, folder: [
            str(Path(python).with_name("mlserver")), "start", str(folder)
        ],
        files=_mlserver_files,
    ),
    Peer(
        name="litserve",
        requirements=("litserve==0.2.19", "lightgbm==4.7.0"),
        form=bodies.PLAIN,
        command=lambda python, port, _: [python, str(APPS / "litserve_app.py"), str(port)],
    ),
    Peer(
        name="bentoml",
        requirements=("bentoml==1.4.40", "lightgbm==4.7.0"),
        form=bodies.BENTO,
        command=lambda python, port, _: [
            str(Path(python).with_name("bentoml")), "serve", "bentoml_app:Forest",
            "--port", str(port), "--host", "127.0.0.1", "--working-dir", str(APPS),
        ],
    ),
)  # fmt: skip
BARE: Final = Peer(
    name="gateway_uvicorn",
    requirements=(),
    form=bodies.OIP_BINARY,
    command=_bare(),
)
RAW: Final = Peer(
    name="raw_listener",
    requirements=(),
    form=bodies.OIP_BINARY,
    command=_bare("--raw"),
)
