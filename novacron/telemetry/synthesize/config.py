"""What the generator can be asked for: sites, time grid, fault rates, dirt."""

from datetime import UTC, datetime
from typing import Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

MONDAY: Final = datetime(2024, 1, 1, tzinfo=UTC)


class SiteConfig(BaseModel):
    """A data centre: a place on the globe and the hypervisors in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, pattern=r"^[a-z0-9_]+$")
    """Short name, unique in the fleet; every random stream of the site hangs on it."""
    lat_deg: float = Field(ge=-90, le=90)
    """Latitude, north positive."""
    lon_deg: float = Field(ge=-180, le=180)
    """Longitude, east positive; also sets the local hour of the daily cycle."""
    nodes: int = Field(default=2, ge=0, le=1000)
    """Hypervisors at the site, named `<site>-n00`, `<site>-n01` ..."""


class FleetConfig(BaseModel):
    """A fleet of sites, all joined by directed links, watched over a span of time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sites: tuple[SiteConfig, ...] = Field(min_length=2)
    """The first `acp_voters` sites form the consensus group; sites added at the end of a longer
    list change nothing at the others."""
    start: AwareDatetime = MONDAY
    """Start of the first interval, UTC."""
    hours: float = Field(default=48.0, gt=0, le=24 * 366)
    """Length of the span; a longer one only adds samples at the end."""
    step_s: float = Field(default=60.0, ge=1, le=3600)
    """Length of an interval; a sample stands at the end of its interval."""
    acp_voters: int = Field(default=3, ge=2, le=99)
    """Sites whose answers a commit waits for: a majority of them, the node's own included."""
    faults_per_entity_day: float = Field(default=1.0, ge=0, le=24)
    """Mean number of injected faults per link or node and day; 0 for none."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [site.name for site in self.sites]
        if len(set(names)) != len(names):
            raise ValueError(f"site names repeat: {names}")
        if self.acp_voters > len(self.sites):
            raise ValueError(f"acp_voters {self.acp_voters} exceeds {len(self.sites)} sites")
        if self.hours * 3600 < self.step_s:
            raise ValueError("hours is shorter than one step_s")
        return self


class DirtConfig(BaseModel):
    """Share of rows to spoil, by kind; all zero leaves a table as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    duplicate_ratio: float = Field(default=0.002, ge=0, le=0.2)
    """Rows sent twice."""
    late_ratio: float = Field(default=0.002, ge=0, le=0.2)
    """Rows that arrive after the next one of their entity."""
    dropped_ratio: float = Field(default=0.002, ge=0, le=0.2)
    """Rows that never arrive."""
    percent_ratio: float = Field(default=0.002, ge=0, le=0.2)
    """Rows whose ratio was sent in percent."""
    sentinel_ratio: float = Field(default=0.002, ge=0, le=0.2)
    """Rows with a sentinel (-1 or 1.8e6) in place of a measurement."""


def fleet_small(*, hours: float = 48.0) -> FleetConfig:
    """Return three sites with two nodes each: six links, six nodes, one sample a minute."""
    return FleetConfig(
        hours=hours,
        sites=(
            SiteConfig(name="fra", lat_deg=50.1, lon_deg=8.7),
            SiteConfig(name="ams", lat_deg=52.4, lon_deg=4.9),
            SiteConfig(name="nyc", lat_deg=40.7, lon_deg=-74.0),
        ),
    )


def fleet_demo(*, hours: float = 14 * 24.0) -> FleetConfig:
    """Return five sites on four continents: twenty links, twenty nodes, two weeks by the minute."""
    return FleetConfig(
        hours=hours,
        sites=(
            SiteConfig(name="fra", lat_deg=50.1, lon_deg=8.7, nodes=6),
            SiteConfig(name="ams", lat_deg=52.4, lon_deg=4.9, nodes=4),
            SiteConfig(name="nyc", lat_deg=40.7, lon_deg=-74.0, nodes=4),
            SiteConfig(name="sgp", lat_deg=1.4, lon_deg=103.8, nodes=3),
            SiteConfig(name="sao", lat_deg=-23.5, lon_deg=-46.6, nodes=3),
        ),
    )
