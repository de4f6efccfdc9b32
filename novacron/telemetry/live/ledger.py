"""What a log of samples leads to: the rings of each table, the rows so far, and what was lost."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np

from novacron.errors import UnreadableInputError
from novacron.telemetry.live.config import StoreConfig
from novacron.telemetry.live.log_blocks import DATA, NOTE, Block, Damage, read_blocks
from novacron.telemetry.live.rings import Rows, SampleRings
from novacron.telemetry.live.row_codec import decode_rows, encode_rows
from novacron.telemetry.live.segments import snapshot_path

LOSSES: Final = ("damaged_bytes", "damaged_rows", "torn_bytes", "torn_rows", "snapshots")
"""`torn` was cut off the end: a batch that was being written when its process died, whose sender
was not told that it was kept. `damaged` changed on the disk afterwards. `snapshots` could not be
read, and an older one was taken."""


class Ledger:
    """Applies blocks in order; the same blocks lead to the same ledger everywhere.

    Args:
        config: Sizes of the rings.
    """

    def __init__(self, config: StoreConfig) -> None:
        self.rings = {
            table: SampleRings(
                metrics,
                samples=config.samples_per_entity,
                max_entities=config.entities_of(table),
            )
            for table, metrics in config.metrics.items()
        }
        self.n_rows = 0
        """Rows ever accepted, lost ones too: the number of the next one."""
        self.losses: Counter[str] = Counter(dict.fromkeys(LOSSES, 0))

    def apply(self, part: Block | Damage) -> None:
        """Take in what comes next in the log."""
        if isinstance(part, Damage):
            self.losses["damaged_bytes"] += part.n_bytes
            return
        if part.kind == NOTE:
            self.losses.update(json.loads(part.payload))
            return
        if part.kind != DATA:
            return
        # Rows are numbered, so that a gap says how many are missing.
        self.losses["damaged_rows"] += max(0, part.first_row - self.n_rows)
        self.n_rows = part.first_row + part.n_rows
        self._add(part)

    def _add(self, part: Block) -> None:
        table = json.loads(part.payload[4 : 4 + int.from_bytes(part.payload[:4], "little")])
        rings = self.rings.get(table["table"])
        if rings is None:
            # The table is not taken any more.
            return
        rows = decode_rows(part.payload, part.n_rows, rings.metrics)[1]
        if len(rows.entities) > rings.max_entities:
            rows = _newest_entities(rows, rings.max_entities)
        rings.add(rows)

    def encode(self) -> bytes:
        """Return the ledger as the content of a snapshot."""
        told = {
            "n_rows": self.n_rows,
            "losses": dict(self.losses),
            "evictions": {table: rings.evictions for table, rings in self.rings.items()},
        }
        parts = [Block(NOTE, 0, 0, json.dumps(told).encode("ascii"))]
        for table, rings in self.rings.items():
            rows = rings.content()
            payload = encode_rows(table, rings.metrics, rows)
            parts.append(Block(DATA, 0, len(rows), payload))
        return b"".join(part.encode() for part in parts)

    @classmethod
    def read(cls, directory: Path, number: int, config: StoreConfig) -> "Ledger | None":
        """Return the ledger of a snapshot; None where it is damaged."""
        parts: list[Block] = []
        for _, part in read_blocks(snapshot_path(directory, number).read_bytes()):
            if not isinstance(part, Block):
                return None
            parts.append(part)
        if not parts or parts[0].kind != NOTE:
            return None
        ledger = cls(config)
        try:
            for part in parts[1:]:
                ledger._add(part)
            told = json.loads(parts[0].payload)
        except (UnreadableInputError, ValueError):
            return None
        ledger.n_rows = int(told["n_rows"])
        ledger.losses.update(told["losses"])
        for table, evictions in told["evictions"].items():
            if table in ledger.rings:
                ledger.rings[table].evictions += int(evictions)
        return ledger

    def describe(self) -> dict[str, Any]:
        """Return counts as JSON values."""
        tables = {
            table: {
                "entities": len(rings),
                "max_entities": rings.max_entities,
                "samples_per_entity": rings.samples,
                "metrics": list(rings.metrics),
                "bytes": rings.nbytes,
                "evictions": rings.evictions,
            }
            for table, rings in self.rings.items()
        }
        return {"rows": self.n_rows, "tables": tables, "lost": dict(self.losses)}


def _newest_entities(rows: Rows, limit: int) -> Rows:
    """Keep the last entities, the ones heard of latest, where the bound was lowered since."""
    first = len(rows.entities) - limit
    kept = rows.take(np.asarray(rows.code_N >= first))
    return Rows(rows.entities[first:], kept.code_N - np.int32(first), kept.ts_us_N, kept.x_NC)
