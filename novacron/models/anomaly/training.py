"""Series to fit the detector on and to measure it with: generated nodes, or stored node telemetry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from novacron.contracts.telemetry import NODE_SCHEMA
from novacron.errors import DatasetNotFoundError, SchemaError, UnreadableInputError
from novacron.models.anomaly.baselines import baseline_surprise
from novacron.models.anomaly.config import AnomalyConfig
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.episodes import EpisodeGrouper
from novacron.models.anomaly.injections import INJECTION_KINDS, inject
from novacron.models.anomaly.inputs import ANY_VALUE, Data
from novacron.models.anomaly.measures import EventCounts, Measure, count_events, summarise
from novacron.models.anomaly.stream import day_samples
from novacron.telemetry.synthesize.config import fleet_small
from novacron.telemetry.synthesize.fleet import generate_fleet

Floats = NDArray[np.float64]

GENERATED_METRICS: Final = (
    "cpu_ratio",
    "mem_ratio",
    "latency_mean_ms",
    "throughput_rps",
    "disk_ratio",
)
INJECTED_SIZE: Final = 6.0
QUIET_SHARE: Final = 0.25
GRACE_S: Final = 6 * 3600.0
"""After an anomaly, while things go back to normal, an alert is neither right nor wrong."""


class FitConfig(BaseModel):
    """The `fit` block of a training: what is generated, and the detector's own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0)
    """Of the generated nodes; held-out ones come from the seed after it."""
    days: int = Field(default=14, ge=4, le=366)
    """Length of each generated series."""
    nodes: int = Field(default=6, ge=1, le=6)
    """Nodes, with five metrics each."""
    step_s: float = Field(default=300.0, ge=30, le=3600)
    """Seconds between samples."""
    detector: AnomalyConfig = AnomalyConfig()
    """The detector's own settings."""


def generated_normal(seed: int, *, days: int, nodes: int, step_s: float) -> dict[str, Floats]:
    """Return metrics of generated nodes without faults, by `generator SEED/NODE/METRIC`."""
    config = fleet_small(hours=24.0 * days)
    config = config.model_copy(update={"step_s": step_s, "faults_per_entity_day": 0.0})
    table = generate_fleet(config, seed=seed).nodes.to_pandas()
    return {
        f"generator {seed}/{node}/{metric}": group.sort_values("ts")[metric].to_numpy(np.float64)
        for node, group in list(table.groupby("node_id", sort=True))[:nodes]
        for metric in GENERATED_METRICS
    }


def stored_nodes(folder: Path) -> dict[str, pd.DataFrame]:
    """Read node telemetry from the Parquet files of a folder, one frame a node.

    Raises:
        DatasetNotFoundError: The folder has no Parquet file.
        UnreadableInputError: A file is not Parquet.
        SchemaError: A file lacks `ts` or `node_id`.
    """
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise DatasetNotFoundError(
            f"{folder} has no Parquet file.",
            remedy="Name a folder of node telemetry, as `python -m ray_jobs.ingest` writes it.",
        )
    known = [field.name for field in NODE_SCHEMA.fields]
    parts = []
    for path in paths:
        try:
            table = pq.read_table(path)
        except pa.ArrowException as cause:
            raise UnreadableInputError(
                field=path.name, got=str(cause), expected="a Parquet file"
            ) from cause
        if not {"ts", "node_id"} <= set(table.column_names):
            raise SchemaError(
                field=path.name,
                got=", ".join(table.column_names),
                expected="node telemetry with ts and node_id",
            )
        parts.append(table.select([n for n in known if n in table.column_names]).to_pandas())
    frame = pd.concat(parts).sort_values("ts").drop_duplicates(["node_id", "ts"])
    return {str(name): group for name, group in frame.groupby("node_id", sort=True)}


def with_times(series: Mapping[str, Floats], step_s: float) -> dict[str, Data]:
    """Return series as `AnomalyDetector.fit` takes them."""
    return {
        name: {"ts": step_s * np.arange(len(value_T), dtype=np.float64), ANY_VALUE: value_T}
        for name, value_T in series.items()
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class InjectedScores:
    """Measures on injected copies, of a detector and of the z-score in the same wrapper."""

    detector: Mapping[str, Measure]
    zscore: Mapping[str, Measure]
    series: int


def score_injected(
    detector: AnomalyDetector, series: Mapping[str, Floats], *, step_s: float, seed: int
) -> InjectedScores:
    """Inject one anomaly of each kind into copies of normal series and count what is found.

    The z-score gets the threshold that raises as many episodes on the copies' quiet lead as the
    alert budget allows, which is what its own users would do.
    """
    day = day_samples(step_s)
    mine: list[EventCounts] = []
    theirs: list[EventCounts] = []
    for number, (name, value_T) in enumerate(sorted(series.items())):
        for place, kind in enumerate(INJECTION_KINDS):
            rng = np.random.default_rng([seed, number, place])
            quiet = int(QUIET_SHARE * len(value_T))
            changed_T, (made,) = inject(
                value_T, rng, day_samples=day, quiet_samples=quiet, kinds=(kind,),
                size=INJECTED_SIZE,
            )  # fmt: skip
            ts_s = step_s * np.arange(len(value_T), dtype=np.float64)
            judged = (float(ts_s[quiet]), float(ts_s[-1]))
            event = (float(ts_s[made.start]), float(ts_s[min(made.end + 1, len(ts_s) - 1)]))
            data = {"ts": ts_s, ANY_VALUE: changed_T}
            found = [alert.at_s for alert in detector.detect(data, entity_id=name).alerts]
            mine.append(count_events(found, judged, [event], grace_s=GRACE_S))
            zscore_T = baseline_surprise("zscore", changed_T, day, seed)
            other = _zscore_alerts(ts_s, zscore_T, detector.config, quiet)
            theirs.append(count_events(other, judged, [event], grace_s=GRACE_S))
    rng = np.random.default_rng(seed)
    return InjectedScores(
        detector=summarise(mine, rng), zscore=summarise(theirs, rng), series=len(mine)
    )


def _zscore_alerts(
    ts_s: Floats, score_T: Floats, config: AnomalyConfig, quiet: int
) -> Sequence[float]:
    days = float(ts_s[quiet] - ts_s[0]) / 86_400
    allowed = config.budget.episodes_per_series_day * days
    threshold = 12.0
    for candidate in np.arange(6.0, 1.0, -0.1):
        grouper = EpisodeGrouper(config.episodes)
        if len(grouper.push(ts_s[:quiet], score_T[:quiet], float(candidate))) > allowed:
            break
        threshold = float(candidate)
    judged_T = np.where(np.arange(len(ts_s)) >= quiet, score_T, -np.inf)
    raised = EpisodeGrouper(config.episodes).push(ts_s, judged_T, threshold)
    return [float(ts_s[one.row]) for one in raised]
