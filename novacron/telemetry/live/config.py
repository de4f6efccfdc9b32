"""Settings of the sample store."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from novacron.contracts.telemetry import SCHEMAS
from novacron.telemetry.live.rings import ring_bytes
from novacron.telemetry.validate import ValidationConfig


class StoreConfig(BaseModel):
    """What is kept of live samples, and how safely."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples_per_entity: int = Field(default=128, ge=2, le=4096)
    """Newest samples kept of each entity; at least the history that a model reads."""
    max_entities: int = Field(default=50_000, ge=1)
    """Entities of each table; beyond it the one that was silent for longest is let go of."""
    max_bytes: int = Field(default=512 * 2**20, ge=2**16)
    """Bytes of the ring buffers of all tables; it may hold fewer than `max_entities`."""
    link_metrics: tuple[str, ...] = ("bandwidth_mbps", "rtt_ms", "loss_ratio", "jitter_ms")
    node_metrics: tuple[str, ...] = ("cpu_ratio", "mem_ratio", "disk_ratio", "net_ratio")
    """Metrics kept of each table; all are checked, the others are left out. Empty: the table is
    not taken."""
    segment_bytes: int = Field(default=64 * 2**20, ge=2**12)
    """Size at which a file of the log ends, a snapshot is written and older files go."""
    fsync: Literal["block", "interval", "never"] = "interval"
    """When the disk is waited for. A killed process loses nothing that was acknowledged under any
    of them, since the kernel has it; a machine that loses power loses nothing under `block`, what
    came within `fsync_interval_s` under `interval`, and what the kernel had not written under
    `never`."""
    fsync_interval_s: float = Field(default=1.0, gt=0)
    validation: ValidationConfig = ValidationConfig()
    """How far clocks may be off, and how much disorder is taken."""
    max_quarantine_bytes: int = Field(default=64 * 2**20, ge=0)
    """Bytes of rejected samples that a process keeps; further ones are counted alone."""

    @model_validator(mode="after")
    def _names_metrics(self) -> Self:
        for table, metrics in self.metrics.items():
            known = [field.name for field in SCHEMAS[table].metrics]
            unknown = sorted(set(metrics) - set(known))
            if unknown or len(set(metrics)) != len(metrics):
                raise ValueError(
                    f"{table}_metrics: {unknown or 'one is listed twice'}; known: {known}"
                )
        if not any(self.metrics.values()):
            raise ValueError("link_metrics and node_metrics are both empty")
        if min(self.entities_of(table) for table in self.metrics) < 1:
            raise ValueError("max_bytes holds not even one entity of each table")
        return self

    @property
    def metrics(self) -> dict[str, tuple[str, ...]]:
        """Metrics kept of each table that is taken."""
        given = {"link": self.link_metrics, "node": self.node_metrics}
        return {table: metrics for table, metrics in given.items() if metrics}

    def entities_of(self, table: str) -> int:
        """Return how many entities of a table are held at most."""
        share = self.max_bytes // len(self.metrics)
        fitting = share // ring_bytes(self.samples_per_entity, len(self.metrics[table]))
        return min(self.max_entities, fitting)
