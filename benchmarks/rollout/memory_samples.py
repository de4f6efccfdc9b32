"""The samples of the memory benchmark: links with gaps, missing metrics and some disorder."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.features.matrix import trace_features
from novacron.features.spec import BANDWIDTH, LINK_FULL

SPECS: Final = (BANDWIDTH, LINK_FULL)
LINKS: Final = 60
SAMPLES: Final = 150
START: Final = datetime(2026, 3, 1, tzinfo=UTC)
_OPTIONAL: Final = ("rtt_ms", "loss_ratio", "jitter_ms")


def entities() -> list[str]:
    """Return the names of the links."""
    return [f"link-{number:03d}" for number in range(LINKS)]


def samples(seed: int) -> list[dict[str, Any]]:
    """Return all samples, link by link, each in order of time; seconds after START under `second`."""
    rng = np.random.default_rng(seed)
    found = []
    for link in entities():
        second = np.cumsum(rng.integers(1, 6, SAMPLES))
        for at in second.tolist():
            one: dict[str, Any] = {"second": at, "link_id": link}
            one["bandwidth_mbps"] = float(rng.gamma(2.0, 40.0))
            for name, scale in zip(_OPTIONAL, (30.0, 0.01, 4.0), strict=True):
                if rng.random() > 0.1:
                    one[name] = float(rng.gamma(2.0, scale))
            one["loss_ratio"] = min(one.get("loss_ratio", 0.0), 1.0)
            found.append(one)
    return found


def sample_lines(seed: int) -> list[bytes]:
    """Return the samples as JSON lines in the order of their arrival: some come seconds late."""
    rng = np.random.default_rng([seed, 1])
    rows = samples(seed)
    delay = np.where(rng.random(len(rows)) < 0.05, rng.uniform(5, 40, len(rows)), 0.0)
    order = np.argsort([row["second"] for row in rows] + delay, kind="stable")
    return [_line(rows[place]) for place in order]


def expected_features(seed: int) -> tuple[NDArray[np.float64], ...]:
    """Return the features at the last sample of each link, computed as training does."""
    rows = samples(seed)
    found = []
    for spec in SPECS:
        last = []
        for link in entities():
            own = [row for row in rows if row["link_id"] == link]
            columns = {
                name: np.array([row.get(name, np.nan) for row in own], dtype=np.float64)
                for name in spec.channels
            }
            ts_s = START.timestamp() + np.array([row["second"] for row in own], dtype=np.float64)
            last.append(trace_features(spec, columns, ts_s)[-1])
        found.append(np.stack(last))
    return tuple(found)


def _line(row: dict[str, Any]) -> bytes:
    ts = (START + timedelta(seconds=row["second"])).isoformat()
    told = {name: value for name, value in row.items() if name != "second"}
    return json.dumps({"ts": ts, **told}).encode() + b"\n"
