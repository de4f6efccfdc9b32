"""Walks one telemetry sample through every room of the library, in one process, without Ray.

Run: python examples/one_sample.py      (under a minute: it also trains a small forecaster)
"""

import dataclasses
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from novacron.contracts.protobuf import encode_samples
from novacron.contracts.telemetry import LINK_SCHEMA, LinkSample
from novacron.features.stream import StreamingFeatures
from novacron.models.bandwidth.config import BandwidthConfig, LstmConfig, TwinConfig
from novacron.models.bandwidth.fit import fit_bandwidth
from novacron.registry.card import CardMetric, ModelCard
from novacron.registry.config import RegistryConfig
from novacron.registry.gate import GateRules, MetricRule
from novacron.registry.records import Audit
from novacron.registry.store import ModelStore
from novacron.telemetry.arrow import batch_from_samples, to_reading_batch
from novacron.telemetry.blocks import RawBlock
from novacron.telemetry.decode import decode_batch
from novacron.telemetry.synthesize.traces import generate_traces
from novacron.telemetry.validate import ValidationConfig, Validator

SEED, STEP_S = 7, 5.0
NOW = datetime(2026, 1, 5, 3, tzinfo=UTC)
*others, followed = generate_traces(SEED, n_links=13, hours=1.0, step_s=STEP_S)


def link_sample(step: int) -> LinkSample:
    """Return what the followed link reported at one step of its trace."""
    return LinkSample(
        ts=datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=float(followed.t_s[step])),
        link_id=followed.trace_id,
        bandwidth_mbps=float(followed.bandwidth_mbps[step]),
    )


# 1 arrive: bytes become typed samples; the tables of novacron.contracts say what a field may be.
wire = encode_samples([link_sample(step) for step in range(60)], LINK_SCHEMA)
samples = decode_batch(wire, LINK_SCHEMA, "application/x-protobuf")
print(
    f"1 arrive    {len(wire)} bytes of protobuf are {len(samples)} samples of {samples[0].link_id}"
)

# 2 check: a row is accepted or rejected with its reason, and every row is one or the other.
sent = batch_from_samples([*samples, samples[-1]], LINK_SCHEMA)  # the last one twice
batch = to_reading_batch(sent, LINK_SCHEMA, LINK_SCHEMA.names)
validator = Validator(LINK_SCHEMA, ValidationConfig(), now=lambda: NOW)
checked = validator.check(
    RawBlock(source="example", rows=np.arange(len(samples) + 1), batch=batch)
)
reason = checked.rejected[0].reason
print(f"2 check     {len(checked.accepted)} accepted, {len(checked.rejected)} rejected: {reason}")

# 3 shape: one feature function for training, streams and requests.
config = BandwidthConfig(
    seeds=(SEED,), lstm=LstmConfig(epochs=2, tuning_epochs=1), twin=TwinConfig(rounds=40)
)
stream = StreamingFeatures(config.features)
for sample in samples:
    values = {"bandwidth_mbps": sample.bandwidth_mbps}
    features = stream.push(sample.link_id, sample.ts.timestamp(), values)
print(f"3 shape     {len(features)} features of the newest sample, {len(stream)} link in memory")

with tempfile.TemporaryDirectory() as folder:
    # 4 learn: on the other links only; the one we follow is never seen.
    fitted = fit_bandwidth(
        {"synthetic": others}, config, checkpoint_dir=Path(folder, "checkpoints")
    )
    best = next(metric for metric in fitted.metrics if metric.name == "wape_ratio_to_ewma/blend")
    print(f"4 learn     WAPE is {best.value:.3f} of EWMA's ({best.lo:.3f} .. {best.hi:.3f})")

    # 5 keep: bundle, card and digests in the registry; the gate decides who is champion.
    fitted.model.save(Path(folder, "bundle"))
    card = ModelCard(
        name="bandwidth",
        kind=fitted.model.kind,
        created_at=NOW,
        data_sha256=f"generated:{SEED}",
        data_source=f"generator seed {SEED}",
        code_version="example",
        config=config.model_dump(mode="json"),
        seeds=config.seeds,
        metrics=(CardMetric(**dataclasses.asdict(best)),),
        features_hash=fitted.model.features_hash,
        versions={},
        intended_use="to show the way of a sample",
        limits=("Trained on twelve generated links.",),
    )
    store = ModelStore.connect(RegistryConfig(root=Path(folder, "registry")))
    store.register("bandwidth", Path(folder, "bundle"), card)
    rules = GateRules(required=(MetricRule(name=best.name, set=best.set, limit=1.5, min_n=2),))
    store.promote("bandwidth", "challenger", rules, audit=Audit(who="example", at=NOW))
    champion = store.load("bandwidth", "champion")
    print(f"5 keep      version {champion.version} is champion, files checked by digest")

    # 6 answer: one request is prepared alone, then predicted; the endpoint does just this.
    history = np.array([[sample.bandwidth_mbps for sample in samples]])  # [rows, steps]
    rows = champion.model.prepare({"bandwidth_mbps": history})
    answer = champion.model.predict(rows)
    print("6 answer    next steps, Mbit/s:")
    for step in range(config.horizon):
        low, mid, high = answer["quantiles_mbps"][0, step]
        actual = followed.bandwidth_mbps[len(samples) + step]
        print(f"            {low:7.1f} .. {mid:7.1f} .. {high:7.1f}   actual {actual:7.1f}")
