"""Small programs whose memory is measured: each builds its state, then changes a part on request.

Run as a child process: `python -m rl_envs.calibrate.workloads <name>`. It writes `ready` when its
state stands and after each slice of work, and does a slice for every line it reads.
"""

import json
import random
import sqlite3
import string
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np

Slice = Callable[[], None]

_WORDS: Final = [
    "alpha", "bridge", "carrier", "delta", "engine", "folder", "garden", "harbor", "island",
    "journal", "kernel", "ledger", "market", "number", "orange", "packet", "quorum", "router",
    "signal", "tunnel", "update", "vector", "window", "yellow", "zone",
]  # fmt: skip


def _key_value(rng: random.Random) -> Slice:
    """A cache of short values under string keys, overwritten at random."""
    letters = string.ascii_letters + string.digits
    table = {f"user:{i:07d}:session": "".join(rng.choices(letters, k=64)) for i in range(60_000)}
    keys = list(table)

    def work() -> None:
        for key in rng.sample(keys, 3000):
            table[key] = "".join(rng.choices(letters, k=64))

    return work


def _documents(rng: random.Random) -> Slice:
    """Parsed and serialised documents, edited in place."""

    def make(i: int) -> dict[str, object]:
        return {
            "id": i, "title": " ".join(rng.choices(_WORDS, k=6)), "price": rng.random() * 100,
            "tags": rng.sample(_WORDS, 4), "stock": rng.randrange(1000),
        }  # fmt: skip

    documents = [make(i) for i in range(12_000)]
    texts = [json.dumps(document) for document in documents]

    def work() -> None:
        for i in rng.sample(range(len(documents)), 1500):
            documents[i]["stock"] = rng.randrange(1000)
            texts[i] = json.dumps(documents[i])

    return work


def _ledger(rng: random.Random) -> Slice:
    """Fixed-size binary records whose balances and counters move."""
    size = struct.calcsize("<QdIIQ")
    records = bytearray(size * 400_000)
    for i in range(400_000):
        struct.pack_into("<QdIIQ", records, i * size, i, rng.gauss(1000, 200), i % 97, 0, 17 * i)

    def work() -> None:
        for _ in range(20_000):
            at = rng.randrange(400_000) * size
            number, balance, branch, count, stamp = struct.unpack_from("<QdIIQ", records, at)
            balance += rng.gauss(0, 5)
            struct.pack_into("<QdIIQ", records, at, number, balance, branch, count + 1, stamp + 3)

    return work


def _arrays(rng: random.Random) -> Slice:
    """A heat-equation grid in double precision: every page of the moving part changes."""
    generator = np.random.default_rng(rng.randrange(2**32))
    grid = generator.normal(20.0, 5.0, (1200, 1200)).round(3)

    def work() -> None:
        part = grid[:400]
        part[1:-1, 1:-1] += 0.1 * (
            part[:-2, 1:-1] + part[2:, 1:-1] + part[1:-1, :-2] + part[1:-1, 2:]
            - 4.0 * part[1:-1, 1:-1]
        )  # fmt: skip

    return work


def _queue(rng: random.Random) -> Slice:
    """Messages that arrive at one end and leave at the other."""
    queue: deque[bytes] = deque()

    def message() -> bytes:
        body = " ".join(rng.choices(_WORDS, k=rng.randrange(5, 40)))
        return f"{rng.randrange(10**9):09d}|{body}".encode()

    for _ in range(60_000):
        queue.append(message())

    def work() -> None:
        for _ in range(4000):
            queue.popleft()
            queue.append(message())

    return work


def _database(rng: random.Random) -> Slice:
    """An in-memory SQL database with an index, updated row by row."""
    base = sqlite3.connect(":memory:")
    base.execute("create table orders (id integer primary key, who text, item text, paid real)")
    base.execute("create index by_who on orders (who)")
    rows = (
        (i, f"customer{rng.randrange(4000)}", rng.choice(_WORDS), rng.random() * 500)
        for i in range(120_000)
    )
    base.executemany("insert into orders values (?, ?, ?, ?)", rows)

    def work() -> None:
        ids = [(rng.random() * 500, rng.randrange(120_000)) for _ in range(4000)]
        base.executemany("update orders set paid = ? where id = ?", ids)

    return work


WORKLOADS: Final = {
    "key_value": _key_value,
    "documents": _documents,
    "ledger": _ledger,
    "arrays": _arrays,
    "queue": _queue,
    "database": _database,
}


def main() -> int:
    """Build the named workload and serve slices of work until standard input closes."""
    work = WORKLOADS[sys.argv[1]](random.Random(7))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        work()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
