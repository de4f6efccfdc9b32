"""The whole fleet over time, as the telemetry tables and the labels of its faults."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from novacron.contracts.fields import SampleSchema
from novacron.contracts.telemetry import DWCP_MODES, LINK_SCHEMA, NODE_SCHEMA
from novacron.telemetry.arrow import arrow_schema
from novacron.telemetry.digest import tables_sha256
from novacron.telemetry.synthesize.config import FleetConfig, SiteConfig
from novacron.telemetry.synthesize.faults import (
    LINK_FAULTS,
    NODE_FAULTS,
    Fault,
    label_table,
    schedule,
)
from novacron.telemetry.synthesize.links import LinkProfile, LinkState, simulate_link
from novacron.telemetry.synthesize.nodes import NodeProfile, NodeState, simulate_node
from novacron.telemetry.synthesize.processes import site_activity
from novacron.telemetry.synthesize.streams import Clock, Series, Streams

EARTH_RADIUS_KM: Final = 6371.0
FIBRE_KM_PER_MS: Final = 200.0
"""Light in glass: two thirds of its speed in vacuum."""
ROUTE_STRETCH: Final = (1.4, 2.2)
"""Fibre length over great-circle length: routes follow cables and coasts."""
_NEAR_KM, _FAR_KM = 500.0, 3000.0
_LINK_METRICS: Final = (
    "bandwidth_mbps",
    "rtt_ms",
    "loss_ratio",
    "jitter_ms",
    "cwnd_pkts",
    "queue_depth_pkts",
    "retransmits",
    "streams",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """What was generated: `links` and `nodes` are telemetry tables ordered by time, then entity.

    `labels` has one row per injected fault, see `novacron.telemetry.synthesize.faults`.
    """

    seed: int
    config: FleetConfig
    links: pa.Table
    nodes: pa.Table
    labels: pa.Table

    def sha256(self) -> str:
        """Return the digest of all three tables."""
        shown = self.labels.drop_columns("shows_in")
        return tables_sha256({"links": self.links, "nodes": self.nodes, "labels": shown})


def generate_fleet(config: FleetConfig, *, seed: int) -> Fleet:
    """Generate the telemetry of a fleet; the same seed and config give the same bytes anywhere.

    A longer span begins with the rows of a shorter one; a node or a last site more leaves the rows
    of the others as they were.
    """
    streams = Streams(seed)
    clock = Clock(
        start=config.start, step_s=config.step_s, n=int(config.hours * 3600 // config.step_s)
    )
    activity = {site.name: _activity(site, clock, streams) for site in config.sites}
    link_profiles = _link_profiles(config, streams)
    link_faults = _faults(config, streams, clock, [p.link_id for p in link_profiles], LINK_FAULTS)
    links = {
        profile.link_id: simulate_link(
            profile,
            clock,
            streams,
            src_activity=activity[profile.src],
            dst_activity=activity[profile.dst],
            faults=link_faults[profile.link_id],
        )
        for profile in link_profiles
    }
    node_profiles = [profile for site in config.sites for profile in _node_profiles(site, streams)]
    node_faults = _faults(config, streams, clock, [p.node_id for p in node_profiles], NODE_FAULTS)
    nodes = {
        profile.node_id: simulate_node(
            profile,
            clock,
            streams,
            activity=activity[profile.site],
            voter_links=_voter_links(config, profile.site, links),
            answers_needed=_answers_needed(config, profile.site),
            faults=node_faults[profile.node_id],
        )
        for profile in node_profiles
    }
    return Fleet(
        seed=seed,
        config=config,
        links=_link_table(clock, link_profiles, links),
        nodes=_node_table(clock, nodes),
        labels=label_table({"link": _flat(link_faults), "node": _flat(node_faults)}, clock),
    )


def _activity(site: SiteConfig, clock: Clock, streams: Streams) -> Series:
    peak_h = 14 + float(streams.of(site.name, "peak hour").normal(0, 1))
    rng = streams.of(site.name, "activity")
    return site_activity(rng, clock, lon_deg=site.lon_deg, peak_h=peak_h)


def great_circle_km(a: SiteConfig, b: SiteConfig) -> float:
    """Return the distance between two sites by the haversine formula."""
    lat_a, lat_b = np.radians([a.lat_deg, b.lat_deg])
    half_lat, half_lon = (lat_b - lat_a) / 2, np.radians(b.lon_deg - a.lon_deg) / 2
    chord = np.sin(half_lat) ** 2 + np.cos(lat_a) * np.cos(lat_b) * np.sin(half_lon) ** 2
    return float(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(chord)))


def _link_profiles(config: FleetConfig, streams: Streams) -> list[LinkProfile]:
    """Return a directed link for each ordered pair; longer links are thinner."""
    profiles = []
    for src in config.sites:
        for dst in config.sites:
            if src is dst:
                continue
            link_id = f"{src.name}>{dst.name}"
            rng = streams.of(link_id, "profile")
            km = great_circle_km(src, dst)
            class_mbps = 4000.0 if km < _NEAR_KM else 1500.0 if km < _FAR_KM else 600.0
            capacity_mbps = class_mbps * float(np.exp(0.3 * rng.standard_normal()))
            stretch = float(rng.uniform(*ROUTE_STRETCH))
            profiles.append(
                LinkProfile(
                    link_id=link_id,
                    src=src.name,
                    dst=dst.name,
                    capacity_mbps=capacity_mbps,
                    propagation_ms=2 * km * stretch / FIBRE_KM_PER_MS,
                    base_loss_ratio=float(10 ** rng.uniform(-5.5, -4)) * (1 + km / 2000),
                    demand_mbps=capacity_mbps * float(rng.uniform(0.2, 0.45)),
                    cross_mean_ratio=float(rng.uniform(0.15, 0.3)),
                    cross_period_s=float(rng.uniform(600, 1800)),
                )
            )
    return profiles


def _node_profiles(site: SiteConfig, streams: Streams) -> list[NodeProfile]:
    profiles = []
    for number in range(site.nodes):
        node_id = f"{site.name}-n{number:02d}"
        rng = streams.of(node_id, "profile")
        profiles.append(
            NodeProfile(
                node_id=node_id,
                site=site.name,
                lon_deg=site.lon_deg,
                cores=float(rng.choice([16, 32, 64])),
                service_ms=float(rng.uniform(4, 25)),
                load_ratio=float(rng.uniform(0.25, 0.5)),
                mem_base_ratio=float(rng.uniform(0.3, 0.55)),
            )
        )
    return profiles


def _faults(
    config: FleetConfig,
    streams: Streams,
    clock: Clock,
    entity_ids: Sequence[str],
    kinds: Iterable[str],
) -> dict[str, tuple[Fault, ...]]:
    return {
        entity_id: schedule(
            streams,
            clock,
            entity_id=entity_id,
            kinds=tuple(kinds),
            per_day=config.faults_per_entity_day,
        )
        for entity_id in entity_ids
    }


def _flat(by_id: Mapping[str, tuple[Fault, ...]]) -> list[Fault]:
    return [fault for faults in by_id.values() for fault in faults]


def _voter_links(
    config: FleetConfig, site: str, links: Mapping[str, LinkState]
) -> list[LinkState]:
    voters = [voter.name for voter in config.sites[: config.acp_voters] if voter.name != site]
    return [links[f"{site}>{voter}"] for voter in voters]


def _answers_needed(config: FleetConfig, site: str) -> int:
    """Return how many other voters make a majority, the own site counted if it votes."""
    own = any(voter.name == site for voter in config.sites[: config.acp_voters])
    return config.acp_voters // 2 + (0 if own else 1)


def _link_table(
    clock: Clock, profiles: Sequence[LinkProfile], links: Mapping[str, LinkState]
) -> pa.Table:
    columns: dict[str, list[NDArray[Any]]] = {
        name: [getattr(links[p.link_id], name) for p in profiles] for name in _LINK_METRICS
    }
    columns["mode"] = [np.array(DWCP_MODES)[links[p.link_id].mode] for p in profiles]
    for name in ("link_id", "src", "dst"):
        columns[name] = [np.full(clock.n, getattr(p, name)) for p in profiles]
    reported = [links[p.link_id].reported for p in profiles]
    return _interleaved(LINK_SCHEMA, clock, columns, reported)


def _node_table(clock: Clock, nodes: Mapping[str, NodeState]) -> pa.Table:
    metrics = [field.name for field in NODE_SCHEMA.metrics]
    columns: dict[str, list[NDArray[Any]]] = {
        name: [state.metrics[name] for state in nodes.values()] for name in metrics
    }
    columns["node_id"] = [np.full(clock.n, node_id) for node_id in nodes]
    reported = [state.reported for state in nodes.values()]
    return _interleaved(NODE_SCHEMA, clock, columns, reported)


def _interleaved(
    schema: SampleSchema,
    clock: Clock,
    columns: Mapping[str, Sequence[NDArray[Any]]],
    reported: Sequence[NDArray[np.bool_]],
) -> pa.Table:
    """Merge per-entity columns [T] into rows ordered by time, then entity; drop the unreported."""
    stored = arrow_schema(schema)
    if not reported:
        return stored.empty_table()
    kept = np.stack(reported, axis=1).reshape(-1)
    ends = np.repeat(clock.ends, len(reported))[kept]
    arrays = [pa.array(ends).cast(stored.field("ts").type)]
    for field in list(stored)[1:]:
        values = np.stack(columns[field.name], axis=1).reshape(-1)[kept]
        arrays.append(pa.array(values, from_pandas=True).cast(field.type))
    return pa.table(arrays, schema=stored)
