"""Real servers for the registry's tests: each is started in its own folder and stopped by pid."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

START_S = 150


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def postgres_binaries() -> Path:
    """The folder of `initdb` and `postgres`; skips the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    if not found and on_path is None:
        pytest.skip("no PostgreSQL server: install Debian's package `postgresql`")
    return found[-1].parent if found else Path(on_path).resolve().parent


def unprivileged() -> dict[str, object]:
    """Arguments of Popen for a user that may run PostgreSQL: it refuses root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextmanager
def stopped_at_the_end(process: subprocess.Popen, sign: signal.Signals) -> Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(sign)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(answers, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)


@contextmanager
def postgres_server(password: str) -> Iterator[str]:
    """A PostgreSQL server on a free port; yields the URI of an empty database."""
    binaries, account = postgres_binaries(), unprivileged()
    # Not pytest's own folder: another user must be able to enter it.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if account:
            os.chown(folder, account["user"], account["group"])
        (folder / "password").write_text(password)
        (folder / "password").chmod(0o644)
        log, port = folder / "server.log", free_port()
        initdb = [binaries / "initdb", "-D", folder / "data", "-U", "ml", "--no-sync"]
        initdb += ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "-E", "UTF8"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **account)
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", folder, "-c", "fsync=off"]
        with log.open("w") as output:
            process = subprocess.Popen(
                [binaries / "postgres", "-D", folder / "data", *options],
                stdout=output,
                stderr=output,
                cwd=folder,
                **account,
            )
        ready = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        # SIGINT is PostgreSQL's fast shutdown: it drops the clients and ends cleanly.
        with stopped_at_the_end(process, signal.SIGINT):
            wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, process, log)
            yield f"postgresql://ml:{password}@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder)


def http_answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code < 500
    except httpx.HTTPError:
        return False


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """An MLflow server that keeps records and files itself; yields its address."""
    port, log = free_port(), folder / "server.log"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "files")]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    with stopped_at_the_end(process, signal.SIGTERM):
        wait_until(lambda: http_answers(f"{url}/health"), process, log)
        yield url


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """An S3-like server with an empty bucket `models`; yields its address."""
    pytest.importorskip("boto3", reason="no S3 client: pip install boto3")
    pytest.importorskip("moto.server", reason="no S3 server: pip install 'moto[server]'")
    port, log = free_port(), folder / "s3.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=output,
            cwd=folder,
        )
    url = f"http://127.0.0.1:{port}"
    with stopped_at_the_end(process, signal.SIGTERM):
        wait_until(lambda: http_answers(url), process, log)
        httpx.put(f"{url}/models").raise_for_status()
        yield url
