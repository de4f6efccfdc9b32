import os
from pathlib import Path

import numpy as np
import pytest

from novacron.features.matrix import request_features, trace_features
from novacron.features.spec import BANDWIDTH, LINK_FULL
from novacron.features.stream import StreamingFeatures
from novacron.telemetry.datasets.throughput import load_traces


@pytest.fixture(scope="module")
def data_dir():
    folder = os.environ.get("NOVACRON_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NOVACRON_DATA_DIR names no folder with the public data sets")
    return Path(folder)


def channels_of(trace, steps):
    measured = {
        "bandwidth_mbps": trace.bandwidth_mbps,
        "rtt_ms": trace.rtt_ms,
        "loss_ratio": trace.loss_ratio,
        "jitter_ms": trace.jitter_ms,
    }
    return {name: x_T[:steps] for name, x_T in measured.items() if x_T is not None}


@pytest.mark.data
@pytest.mark.parametrize("spec", [LINK_FULL, BANDWIDTH])
@pytest.mark.parametrize("set_name", ["fcc", "5g", "telstra"])
def test_all_paths_agree_on_a_real_trace_with_its_outages_and_gaps(data_dir, set_name, spec):
    trace = max(load_traces(data_dir, set_name), key=lambda trace: len(trace.t_s))
    channels = channels_of(trace, 400)
    ts_s = trace.t_s[:400]
    stream = StreamingFeatures(spec)

    whole = trace_features(spec, channels, ts_s)

    for at, t_s in enumerate(ts_s):
        live = stream.push(trace.trace_id, t_s, {name: x_T[at] for name, x_T in channels.items()})
        np.testing.assert_allclose(live, whole[at], rtol=1e-9, atol=1e-12)
        if at % 20 == 0:
            tensors = {name: x_T[None, : at + 1] for name, x_T in channels.items()}
            asked = request_features(spec, tensors, ts_s[at : at + 1])
            np.testing.assert_allclose(asked[0], whole[at], rtol=1e-9, atol=1e-12)
    assert not np.isnan(whole[-1, spec.names.index("bandwidth_mbps__ewma_4")])
