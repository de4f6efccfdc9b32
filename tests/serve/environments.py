"""Environments of clients that cannot live beside the endpoint, each made once and kept.

They are outside the repository: in NOVACRON_CACHE_DIR, XDG_CACHE_HOME or ~/.cache.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Read before a fixture gives the tests another HOME: pip finds its settings there.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def cache_dir():
    home = ENVIRONMENT.get("XDG_CACHE_HOME") or str(Path(ENVIRONMENT["HOME"]) / ".cache")
    return Path(ENVIRONMENT.get("NOVACRON_CACHE_DIR") or str(Path(home) / "novacron-ml"))


def run(*command, **more):
    return subprocess.run(
        command,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=480,
        **more,
    )


def python_with(name, *requirements):
    """Return the Python of an environment with these; the test is skipped where pip cannot."""
    digest = hashlib.sha256(repr((requirements, sys.version)).encode()).hexdigest()[:12]
    folder = cache_dir() / f"{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    python, finished = folder / "env" / "bin" / "python", folder / "finished"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            made = run(sys.executable, "-m", "venv", "--clear", str(folder / "env"))
            assert made.returncode == 0, made.stderr
            got = run(str(python), "-m", "pip", "install", "-q", *requirements)
            if got.returncode:
                pytest.skip(f"pip cannot install {requirements[0]}: {got.stderr[-300:]}")
            finished.touch()
    return str(python)
