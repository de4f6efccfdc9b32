"""The bytes that codecs are measured on, all made on this host: nothing is downloaded or shipped.

Memory images and dirty pages of child processes, shared libraries, generated logs, random bytes.
"""

import random
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from novacron.errors import NotReadyError

Bytes = NDArray[np.uint8]
Split = Literal["train", "validation", "test", "ood"]

PAGE: Final = 4096
SNAPSHOT_LIMIT: Final = 512 * 2**20
EXTENT: Final = 65_536
"""Samples are made of extents of this size, so that matches inside 64 KiB survive sampling."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Bytes to compress, with their earlier version where there is one.

    `zero_page_ratio` counts the pages of zeros that were left out: no codec is needed for them.
    """

    name: str
    split: Split
    data: bytes
    before: bytes | None = None
    zero_page_ratio: float = 0.0

    @property
    def entropy_ratio(self) -> float:
        """Byte entropy over 8 bit."""
        counts = np.bincount(np.frombuffer(self.data, dtype=np.uint8), minlength=256)
        share = counts[counts > 0] / len(self.data)
        return float(-(share * np.log2(share)).sum() / 8.0)

    @property
    def changed_byte_ratio(self) -> float:
        """Share of bytes that differ from the earlier version; 1 where there is none."""
        if self.before is None:
            return 1.0
        now = np.frombuffer(self.data, dtype=np.uint8)
        return float(np.mean(now != np.frombuffer(self.before, dtype=np.uint8)))


def _regions(pid: int) -> list[tuple[int, int]]:
    """Writable private memory of a process: heap and anonymous maps, as (start, end)."""
    regions = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split()
        anonymous = len(fields) == 5 or fields[5] == "[heap]"
        if fields[1] == "rw-p" and anonymous:
            start, end = (int(part, 16) for part in fields[0].split("-"))
            regions.append((start, end))
    return regions


def _snapshot(pid: int, limit_bytes: int) -> dict[int, Bytes]:
    """Read the pages of each region, largest regions first, up to a limit."""
    snapshot: dict[int, Bytes] = {}
    left = limit_bytes
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end in sorted(_regions(pid), key=lambda r: r[0] - r[1]):
            size = min(end - start, left)
            if size < PAGE:
                break
            memory.seek(start)
            raw = np.frombuffer(memory.read(size), dtype=np.uint8)
            snapshot[start] = raw[: raw.size // PAGE * PAGE].reshape(-1, PAGE)
            left -= size
    return snapshot


@contextmanager
def _running(name: str) -> Iterator[subprocess.Popen[str]]:
    """Run a workload until its state stands; it ends with the block."""
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "rl_envs.calibrate.workloads", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        _await_ready(child, name)
        yield child
    finally:
        child.kill()
        child.communicate()


def _await_ready(child: subprocess.Popen[str], name: str) -> None:
    line = child.stdout.readline() if child.stdout else ""
    if line != "ready\n":
        raise NotReadyError(
            f"The workload {name} ended before its state stood.",
            remedy=f"Run `python -m rl_envs.calibrate.workloads {name}` to see why.",
        )


def _sample(pages: Bytes, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose the indices of pages that make `size` bytes out of whole extents."""
    per_extent = EXTENT // PAGE
    starts = np.arange(0, max(len(pages) - per_extent, 1), per_extent)
    count = min(size // EXTENT, len(starts))
    chosen = np.sort(rng.choice(starts, count, replace=False))
    index = (chosen[:, None] + np.arange(per_extent)).ravel()
    return index[index < len(pages)]


def process_corpora(
    name: str, splits: tuple[Split, Split], size: int, rng: np.random.Generator
) -> list[Corpus]:
    """Return the memory image of a workload, and the pages that slices of its work made dirty."""
    with _running(name) as child:
        before = _snapshot(child.pid, SNAPSHOT_LIMIT)
        for _ in range(3):
            if child.stdin:
                child.stdin.write("\n")
                child.stdin.flush()
            _await_ready(child, name)
        after = _snapshot(child.pid, SNAPSHOT_LIMIT)
    image = np.concatenate(list(after.values()))
    used = image[image.any(axis=1)]
    old, new = [], []
    for start, pages in after.items():
        earlier = before.get(start, pages[:0])
        both = min(len(earlier), len(pages))
        dirty = (earlier[:both] != pages[:both]).any(axis=1)
        old.append(earlier[:both][dirty])
        new.append(pages[:both][dirty])
    dirty_old, dirty_new = np.concatenate(old), np.concatenate(new)
    in_image, in_dirty = _sample(used, size, rng), _sample(dirty_new, size, rng)
    return [
        Corpus(
            name=f"memory_{name}",
            split=splits[0],
            data=used[in_image].tobytes(),
            zero_page_ratio=1.0 - len(used) / len(image),
        ),
        Corpus(
            name=f"dirty_{name}",
            split=splits[1],
            data=dirty_new[in_dirty].tobytes(),
            before=dirty_old[in_dirty].tobytes(),
        ),
    ]


def library_bytes(folders: list[Path], size: int) -> bytes:
    """Return the first bytes of each shared library found, `size` in all."""
    found = sorted(path for folder in folders for path in folder.rglob("*.so*") if path.is_file())
    large = [path for path in found if path.stat().st_size > 4 * EXTENT][:32]
    share = max(size // max(len(large), 1), EXTENT)
    parts = [path.open("rb").read(share) for path in large]
    return b"".join(parts)[:size]


def log_bytes(style: str, size: int, seed: int) -> bytes:
    """Return log lines of one service in one of three styles: service, json, web."""
    rng = random.Random(seed)
    paths = ["/api/v1/vms", "/api/v1/vms/{}/migrate", "/health", "/api/v1/nodes/{}", "/metrics"]
    lines: list[str] = []
    total, clock = 0, 1_700_000_000.0
    while total < size:
        clock += rng.expovariate(40.0)
        took, who = rng.lognormvariate(2.5, 0.8), rng.randrange(5000)
        stamp = f"{int(clock) % 86400:05d}.{int(clock * 1000) % 1000:03d}"
        if style == "json":
            line = (
                f'{{"t":{clock:.3f},"level":"info","vm":"vm-{who:05d}","ms":{took:.2f},'
                f'"event":"{rng.choice(["sync", "commit", "ack", "retry"])}"}}'
            )
        elif style == "web":
            address = f"10.{rng.randrange(8)}.{rng.randrange(256)}.{rng.randrange(256)}"
            path = rng.choice(paths).format(who)
            status = rng.choice([200, 200, 304, 404])
            line = f'{address} - [{stamp}] "GET {path}" {status} {rng.randrange(90_000)}'
        else:
            stage = rng.choice(["transport", "encoder", "consensus"])
            line = f"{stamp} INFO  {stage}: chunk {rng.randrange(10**6)} of vm-{who} {took:.1f} ms"
        lines.append(line)
        total += len(line) + 1
    return "\n".join(lines).encode()[:size]


PROCESS_SPLITS: Final[dict[str, tuple[Split, Split]]] = {
    "key_value": ("train", "train"),
    "arrays": ("train", "train"),
    "documents": ("validation", "validation"),
    "ledger": ("train", "train"),
    "queue": ("test", "test"),
    "database": ("test", "test"),
}
"""A workload is on one side of the split with both of its corpora."""


def host_corpora(size: int, seed: int) -> list[Corpus]:
    """Make every corpus of this host, `size` bytes of each (less where there is less)."""
    rng = np.random.default_rng(seed)
    corpora = [
        corpus
        for name, splits in PROCESS_SPLITS.items()
        for corpus in process_corpora(name, splits, size, rng)
    ]
    own = Path(sysconfig.get_paths()["platlib"])
    system = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    corpora += [
        Corpus(name="libraries_python", split="train", data=library_bytes([own / "numpy"], size)),
        Corpus(name="libraries_system", split="test", data=library_bytes([system], size)),
        Corpus(name="logs_service", split="train", data=log_bytes("service", size, seed)),
        Corpus(name="logs_json", split="validation", data=log_bytes("json", size, seed)),
        Corpus(name="logs_web", split="test", data=log_bytes("web", size, seed)),
        Corpus(name="random", split="ood", data=rng.bytes(size)),
    ]
    return [corpus for corpus in corpora if len(corpus.data) >= EXTENT]
