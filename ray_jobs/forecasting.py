"""Forecasts for every row of link telemetry, from the samples of its link up to that row.

Shape legend: N rows, T samples of a window, H steps of the horizon.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from novacron.errors import InvalidInputError
from novacron.models.base import ServableModel
from novacron.registry.records import LoadedModel
from novacron.telemetry.blocks import US, RowBlock, Vocabularies

Floats = NDArray[np.float64]

TARGET: Final = "bandwidth_mbps"
_CHANNELS: Final[tuple[str, ...]] = ("bandwidth_mbps", "rtt_ms", "loss_ratio", "jitter_ms")
_COVERAGE: Final = 0.8
_MAX_GAP_STEPS: Final = 3.0
"""A pause longer than this many steps starts the history of a link anew."""

FORECAST_SCHEMA: Final = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("entity_id", pa.string()),
        ("target", pa.string()),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("made_at", pa.timestamp("us", tz="UTC")),
        ("horizon_s", pa.list_(pa.float64())),
        ("valid_until", pa.timestamp("us", tz="UTC")),
        ("value", pa.list_(pa.float64())),
        ("lower", pa.list_(pa.float64())),
        ("upper", pa.list_(pa.float64())),
        ("coverage", pa.float64()),
        ("fallback", pa.string()),
        ("features_hash", pa.string()),
    ]
)
"""The columns of `novacron.contracts.forecast.Forecast`, one row for each."""


@dataclass(slots=True)
class _Link:
    """What is kept of a link between blocks: its newest samples, oldest first."""

    ts_us: NDArray[np.int64]
    channels: dict[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Window:
    """The window of one row: `length` samples that end at `stop` of its link's series."""

    row: int
    link: int
    stop: int
    length: int
    channels: tuple[str, ...]


class LinkForecaster:
    """Forecasts the rows of blocks in order, carrying each link's history along.

    Args:
        loaded: The model with its name and version.
        history: Samples of a full window; shorter ones are what the link has so far.
        step_s: Seconds between samples; None measures it for each link.
        path_class: What kind of paths these are, for models that tell kinds apart.
        vocabularies: Those the blocks are encoded with.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        history: int,
        step_s: float | None,
        path_class: str | None = None,
        vocabularies: Vocabularies,
    ) -> None:
        self._loaded = loaded
        self._path_class = path_class
        self._history = history
        self._step_us = None if step_s is None else step_s * US
        self._vocabularies = vocabularies
        self._links: dict[int, _Link] = {}
        known = {spec.name for spec in loaded.model.inputs}
        self._channels = tuple(name for name in _CHANNELS if name in known)

    def forecast(self, block: RowBlock) -> pa.RecordBatch:
        """Return one forecast for each row, in the order of the rows, as `FORECAST_SCHEMA`.

        Raises:
            InvalidInputError: The step between samples is not known.
        """
        series, windows, steps_us = self._extend(block)
        answers = self._predict(series, windows)
        return self._to_batch(block, steps_us, answers)

    def _extend(
        self, block: RowBlock
    ) -> tuple[dict[int, _Link], list[_Window], NDArray[np.float64]]:
        """Append the block to each link's history and lay out the window of each row."""
        series: dict[int, _Link] = {}
        windows: list[_Window] = []
        steps_us = np.empty(len(block))
        order = np.argsort(block.entities, kind="stable")
        cuts = np.flatnonzero(np.diff(block.entities[order])) + 1
        usual_us = self._usual_step_us(block)
        for rows in np.split(order, cuts) if len(order) else []:
            code = int(block.entities[rows[0]])
            link = self._joined(self._links.get(code), block, rows)
            step_us = self._step_us or _median_step_us(link.ts_us) or usual_us
            steps_us[rows] = _known_step_us(step_us)
            windows += self._windows(code, link, rows, steps_us[rows[0]])
            series[code] = link
            self._links[code] = _tail(link, self._history - 1)
        return series, windows, steps_us

    def _joined(self, before: _Link | None, block: RowBlock, rows: NDArray[Any]) -> _Link:
        ts_us = block.ts_us[rows]
        channels = {
            name: block.metrics[name][rows]
            if name in block.metrics
            else np.full(len(rows), np.nan)
            for name in self._channels
        }
        if before is not None:
            ts_us = np.concatenate([before.ts_us, ts_us])
            channels = {
                name: np.concatenate([before.channels[name], values])
                for name, values in channels.items()
            }
        held = {name: _hold_last(values) for name, values in channels.items()}
        return _Link(ts_us=ts_us, channels=held)

    def _windows(
        self, code: int, link: _Link, rows: NDArray[Any], step_us: float
    ) -> Iterator[_Window]:
        """Yield the window of each new row: after the last pause, and only whole channels."""
        n = len(link.ts_us)
        index = np.arange(n)
        pause = np.concatenate([[True], np.diff(link.ts_us) > _MAX_GAP_STEPS * step_us])
        begun = np.maximum.accumulate(np.where(pause, index, 0))
        lengths = np.minimum(index - begun + 1, self._history)
        missing_before = {
            name: np.concatenate([[0], np.cumsum(np.isnan(link.channels[name]))])
            for name in self._channels
        }
        for row, at in zip(rows, range(n - len(rows), n), strict=True):
            length = int(lengths[at])
            stop = at + 1
            channels = tuple(
                name
                for name in self._channels
                if missing_before[name][stop] == missing_before[name][stop - length]
            )
            yield _Window(row=int(row), link=code, stop=stop, length=length, channels=channels)

    def _predict(
        self, series: dict[int, _Link], windows: list[_Window]
    ) -> dict[str, NDArray[Any]]:
        """Answer all windows in one model call, in the order of their rows."""
        model: ServableModel = self._loaded.model
        groups: dict[tuple[int, tuple[str, ...]], list[_Window]] = {}
        for window in windows:
            groups.setdefault((window.length, window.channels), []).append(window)
        prepared: list[dict[str, NDArray[Any]]] = []
        rows: list[int] = []
        for (length, channels), members in groups.items():
            tensors: dict[str, NDArray[Any]] = {
                name: np.stack(
                    [
                        series[one.link].channels[name][one.stop - length : one.stop]
                        for one in members
                    ]
                )
                for name in channels
            }
            if self._path_class is not None:
                tensors["path_class"] = np.full(len(members), self._path_class, dtype=object)
            prepared.append(model.prepare(tensors))
            rows += [one.row for one in members]
        if not prepared:
            return {}
        joined = {name: np.concatenate([one[name] for one in prepared]) for name in prepared[0]}
        back = np.argsort(np.array(rows))
        return {name: values[back] for name, values in model.predict(joined).items()}

    def _to_batch(
        self, block: RowBlock, steps_us: Floats, answers: dict[str, NDArray[Any]]
    ) -> pa.RecordBatch:
        if len(block) == 0:
            return pa.RecordBatch.from_pylist([], schema=FORECAST_SCHEMA)
        value_NH = answers["value_mbps"]  # noqa: N806 - shape suffix
        horizon_us = steps_us[:, None] * np.arange(1, value_NH.shape[1] + 1)
        entity = self._vocabularies.entities.decode(block.entities)
        name, version = self._loaded.name, self._loaded.version
        words = zip(entity.to_pylist(), block.ts_us.tolist(), strict=True)
        ids = [f"{name}-{version}-{word}-{ts_us}" for word, ts_us in words]

        def same(value: object) -> pa.Array:
            return pa.repeat(value, len(block))

        columns: list[pa.Array] = [
            pa.array(ids),
            entity,
            same(TARGET),
            same(name),
            same(version),
            pa.array(block.ts_us).cast(pa.timestamp("us", tz="UTC")),
            _lists(horizon_us / US),
            pa.array(block.ts_us + horizon_us[:, -1].astype(np.int64)).cast(
                pa.timestamp("us", tz="UTC")
            ),
            _lists(value_NH),
            _lists(answers["lower_mbps"]),
            _lists(answers["upper_mbps"]),
            same(_COVERAGE),
            pa.array(answers["fallback"].tolist(), pa.string()),
            same(self._loaded.model.features_hash),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=FORECAST_SCHEMA)

    def _usual_step_us(self, block: RowBlock) -> float | None:
        """Return the step of the block's busiest link, for links with one sample only."""
        if len(block) == 0:
            return None
        busiest = np.bincount(block.entities).argmax()
        return _median_step_us(block.ts_us[block.entities == busiest])


def _hold_last(values: Floats) -> Floats:
    """Fill each missing sample with the one before; those before the first stay missing."""
    known = np.where(np.isnan(values), 0, np.arange(len(values)))
    filled: Floats = values[np.maximum.accumulate(known)]
    return filled


def _median_step_us(ts_us: NDArray[np.int64]) -> float | None:
    return float(np.median(np.diff(ts_us))) if len(ts_us) > 1 else None


def _known_step_us(step_us: float | None) -> float:
    if step_us is None:
        raise InvalidInputError(
            field="step_s",
            got="links with one sample each",
            expected="the seconds between samples",
            remedy="Give --step-s.",
        )
    return step_us


def _tail(link: _Link, samples: int) -> _Link:
    keep = slice(max(len(link.ts_us) - samples, 0), None)
    # Copies, so that a link keeps its tail and not the whole block alive.
    return _Link(
        ts_us=link.ts_us[keep].copy(),
        channels={name: values[keep].copy() for name, values in link.channels.items()},
    )


def _lists(values_NH: Floats) -> pa.ListArray:  # noqa: N803 - shape suffix
    n, width = values_NH.shape
    offsets = pa.array(np.arange(0, (n + 1) * width, width, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(values_NH.reshape(-1)))
