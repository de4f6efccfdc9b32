"""Lines of samples for tests of the sample store, and a store with a clock that stands still."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np

from novacron.telemetry.live.config import StoreConfig
from novacron.telemetry.live.store import SampleStore

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = START + timedelta(days=1)


def sample(second, link="a", mbps=None, **more):
    """A link sample `second` seconds after START; its bandwidth is that second if not given."""
    ts = (START + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
    mbps = float(second) if mbps is None else mbps
    return {"ts": ts, "link_id": link, "bandwidth_mbps": mbps} | more


def lines(samples):
    return b"".join(json.dumps(one).encode() + b"\n" for one in samples)


_OPENED = []


def open_store(directory, **settings):
    _OPENED.append(SampleStore(directory, StoreConfig(**settings), now=lambda: NOW))
    return _OPENED[-1]


def close_stores():
    """Close every store that was opened; for a fixture."""
    while _OPENED:
        _OPENED.pop().close()


def seconds(store, link="a", steps=4096):
    """The seconds after START that a store holds of a link."""
    ts_us = store.window("link", link, steps).ts_us
    return ((ts_us - int(START.timestamp() * 1e6)) / 1e6).tolist()


def same(one, other, links, steps=4096):
    """Whether two stores hold exactly the same of some links."""
    for link in links:
        a, b = one.window("link", link, steps), other.window("link", link, steps)
        if not np.array_equal(a.ts_us, b.ts_us):
            return False
        if any(
            not np.array_equal(a.metrics[name], b.metrics[name], equal_nan=True)
            for name in a.metrics
        ):
            return False
    return True
