"""One ingestion from files to a checked grid: read, validate, quarantine, join, report.

The results appear in the output directory only when they are complete, and `ingest.json` appears
last: a directory with it is whole, one without it is not.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from novacron.contracts.fields import SampleSchema
from novacron.errors import ConfigError
from novacron.telemetry.arrow import check_columns
from novacron.telemetry.blocks import US, RawBlock, Vocabularies, Vocabulary
from novacron.telemetry.join import JoinConfig, Joiner, joined_schema
from novacron.telemetry.outputs import GridWriter, publish, sole_writer
from novacron.telemetry.quality import QualityReport, QualityTally
from novacron.telemetry.quality_page import render_page
from novacron.telemetry.quarantine import Quarantine, Rejection
from novacron.telemetry.readers import ReadConfig, Source, open_source
from novacron.telemetry.sorting import TimeSorted
from novacron.telemetry.validate import ValidationConfig, Validator, to_us

GRID_FILE: Final = "grid.parquet"
QUARANTINE_FILE: Final = "quarantine.jsonl"
QUALITY_FILE: Final = "quality.json"
QUALITY_PAGE: Final = "quality.html"
REPORT_FILE: Final = "ingest.json"
_PART_DIR: Final = ".ingest-part"


class IngestConfig(BaseModel):
    """Everything about an ingestion but its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: ReadConfig = ReadConfig()
    validation: ValidationConfig = ValidationConfig()
    join: JoinConfig = JoinConfig()
    order: Literal["time", "any"] = "time"
    """Whether each source is roughly sorted by time; "any" sorts it on disk first, and then no
    clock goes back."""
    row_group_rows: int = Field(default=131_072, ge=1)
    """Rows of a row group of the grid file."""
    quarantine_flush_rows: int = Field(default=5_000, ge=1)
    """Rejected rows that may wait in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestProgress:
    """Where an ingestion stands, told after each block."""

    source: str
    rows_read: int
    rows_rejected: int
    reasons: dict[str, int]
    """Rejected rows so far, by reason."""
    sources_done: int
    sources: int


class SourceReport(BaseModel):
    """What came of one source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    columns: tuple[str, ...]
    rows_read: int
    rows_rejected: int


class IngestReport(BaseModel):
    """What an ingestion did; `rows_read` is always accepted plus rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    made_at: AwareDatetime
    """What the clock said at the start."""
    sources: tuple[SourceReport, ...]
    rows_read: int
    rows_accepted: int
    rows_rejected: int
    reasons: dict[str, int]
    entities: int
    steps: int
    gap_steps: int
    grid_breaks: int
    completeness_ratio: float
    grid: Path
    quarantine: Path
    quality: Path
    quality_page: Path
    config: IngestConfig


def ingest(
    sources: Sequence[Path | Source],
    schema: SampleSchema,
    out_dir: Path,
    config: IngestConfig | None = None,
    progress: Callable[[IngestProgress], None] | None = None,
    *,
    now: Callable[[], datetime],
) -> IngestReport:
    """Read, check and join telemetry into `out_dir`.

    Writes `grid.parquet` (form of `joined_schema`), `quarantine.jsonl`, `quality.json`,
    `quality.html` and, last, `ingest.json`. Sources are read side by side in order of time, so
    each must be roughly sorted by it unless `config.order` is "any"; several may bring different
    columns of the same entities. The same sources and configuration give the same grid and
    quarantine, byte for byte. A run that was killed leaves earlier results untouched or no
    `ingest.json`; run it again.

    Args:
        sources: Files, or sources opened by the caller.
        schema: The table their rows belong to.
        out_dir: Made if it does not exist; earlier results in it are replaced.
        config: The defaults if None.
        progress: Called after each block.
        now: The clock; asked once, at the start.

    Raises:
        NotFoundError: A file does not exist.
        SchemaError: A column is unknown, missing or of the wrong type.
        UnreadableInputError: A file is damaged or of an unknown format.
        ConfigError: No source, a source named twice, or another run is writing to `out_dir`.
    """
    config = config or IngestConfig()
    moment = now()
    opened = _open_all(sources, schema, config.read)
    out_dir.mkdir(parents=True, exist_ok=True)
    with sole_writer(out_dir):
        part = out_dir / _PART_DIR
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            if config.order == "any":
                opened = _sorted_by_time(opened, part)
            with _Run(opened, schema, part, config, moment) as run:
                run.read_all(progress)
                report, quality = run.report(out_dir)
            (part / QUALITY_FILE).write_text(quality.model_dump_json(indent=1) + "\n")
            (part / QUALITY_PAGE).write_text(render_page(quality), encoding="utf-8")
            (part / REPORT_FILE).write_text(report.model_dump_json(indent=1) + "\n")
            publish(
                part,
                out_dir,
                (GRID_FILE, QUARANTINE_FILE, QUALITY_FILE, QUALITY_PAGE, REPORT_FILE),
            )
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return report


def _open_all(
    sources: Sequence[Path | Source], schema: SampleSchema, config: ReadConfig
) -> list[Source]:
    partial = len(sources) > 1
    opened: list[Source] = [
        open_source(source, schema, config, partial=partial)
        if isinstance(source, Path)
        else source
        for source in sources
    ]
    names = [source.name for source in opened]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled or not opened:
        raise ConfigError(
            field="sources",
            got=doubled or "none",
            expected="at least one source, each of another name",
            remedy="Name each file once.",
        )
    together = {name for source in opened for name in source.columns}
    check_columns(sorted(together), schema, source="all sources together")
    return opened


def _sorted_by_time(sources: list[Source], part: Path) -> list[Source]:
    folders = [part / f"source-{index:05d}" for index in range(len(sources))]
    for folder in folders:
        folder.mkdir()
    return [TimeSorted(source, folder) for source, folder in zip(sources, folders, strict=True)]


class _Run:
    """The parts of one ingestion and the files it writes to."""

    def __init__(
        self,
        sources: list[Source],
        schema: SampleSchema,
        part: Path,
        config: IngestConfig,
        moment: datetime,
    ) -> None:
        self._sources = sources
        self._config = config
        self._schema = schema
        self._moment = moment
        vocabularies = Vocabularies(entities=Vocabulary(config.validation.max_entities))
        self._codes = [vocabularies.sources.code(source.name) for source in sources]
        self._validators = [
            Validator(schema, config.validation, now=lambda: moment, vocabularies=vocabularies)
            for _ in sources
        ]
        self._joiner = Joiner(schema, config.join, vocabularies)
        self._quality = QualityTally(schema, vocabularies)
        self._rows_read = [0] * len(sources)
        self._rows_rejected = dict.fromkeys((source.name for source in sources), 0)
        self._quarantine = Quarantine(
            part / QUARANTINE_FILE, flush_rows=config.quarantine_flush_rows
        )
        self._grid = GridWriter(part / GRID_FILE, joined_schema(schema), config.row_group_rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._quarantine.close()
        self._grid.close()

    def read_all(self, progress: Callable[[IngestProgress], None] | None) -> None:
        """Read all sources to their ends, always the one that is furthest behind."""
        ceiling_us = to_us(self._moment) + round(self._config.validation.max_future_s * US)
        for code, source in zip(self._codes, self._sources, strict=True):
            first_us = source.first_ts_us()
            if first_us is not None and first_us > ceiling_us:
                # These rows will be refused; what comes after them may be of any age.
                first_us = 0
            self._joiner.open(code, source.columns, first_us)
        streams: dict[int, Iterator[RawBlock]] = {}
        done = 0
        while (turn := self._joiner.next_source()) is not None:
            if turn not in streams:
                streams[turn] = self._sources[turn].blocks()
            raw = next(streams[turn], None)
            if raw is None:
                self._joiner.close(turn)
                del streams[turn]
                done += 1
            else:
                self._take(turn, raw)
            self._write_closed()
            if progress is not None:
                progress(
                    IngestProgress(
                        source=self._sources[turn].name,
                        rows_read=sum(self._rows_read),
                        rows_rejected=self._quarantine.total,
                        reasons={str(key): n for key, n in self._quarantine.counts.items()},
                        sources_done=done,
                        sources=len(self._sources),
                    )
                )

    def report(self, out_dir: Path) -> tuple[IngestReport, QualityReport]:
        """Sum up after the last row; paths are those the files will be moved to."""
        quality = self._quality.report(
            joiner=self._joiner,
            clocks=[validator.clocks for validator in self._validators],
            step_s=self._config.join.step_s,
            now=self._moment,
        )
        report = IngestReport(
            table=self._schema.name,
            made_at=self._moment,
            sources=tuple(
                SourceReport(
                    name=source.name,
                    columns=source.columns,
                    rows_read=rows,
                    rows_rejected=self._rows_rejected[source.name],
                )
                for source, rows in zip(self._sources, self._rows_read, strict=True)
            ),
            rows_read=quality.rows_read,
            rows_accepted=quality.rows_accepted,
            rows_rejected=quality.rows_rejected,
            reasons=quality.reasons,
            entities=quality.entities_total,
            steps=quality.steps,
            gap_steps=quality.gap_steps,
            grid_breaks=quality.grid_breaks,
            completeness_ratio=quality.completeness_ratio,
            grid=out_dir / GRID_FILE,
            quarantine=out_dir / QUARANTINE_FILE,
            quality=out_dir / QUALITY_FILE,
            quality_page=out_dir / QUALITY_PAGE,
            config=self._config,
        )
        return report, quality

    def _take(self, code: int, raw: RawBlock) -> None:
        self._rows_read[code] += raw.batch.num_rows + len(raw.malformed)
        checked = self._validators[code].check(raw)
        self._reject(checked.rejected)
        self._quality.accept(checked.accepted)
        self._reject(self._joiner.add(code, checked.accepted), withdrawn=True)

    def _write_closed(self) -> None:
        for joined in self._joiner.drain():
            self._reject(joined.rejected, withdrawn=True)
            self._quality.join(joined.batch)
            self._grid.write(joined.batch)

    def _reject(self, rejections: Iterable[Rejection], *, withdrawn: bool = False) -> None:
        rejections = list(rejections)
        self._quarantine.add(rejections)
        self._quality.reject(rejections, withdrawn=withdrawn)
        for rejection in rejections:
            self._rows_rejected[rejection.source] += 1
