"""`BandwidthPredictor`: predictive bandwidth allocation for people - samples in, predictions out."""

import hashlib
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.errors import (
    ArtifactError,
    NotReadyError,
    OutOfRangeError,
    SchemaError,
    UnknownNameError,
)
from novacron.features.live import hold_last
from novacron.models.bandwidth.allocation import Allocation, PathQuantiles, allocate, confidence_of
from novacron.models.bandwidth.channels import (
    LONG_BIN_S,
    LONG_S,
    ChannelForecaster,
    coarse,
    fit_channel,
)
from novacron.models.bandwidth.model import BandwidthModel
from novacron.models.bandwidth.modes import Mode, ModeConfig, ModeDetector
from novacron.models.bandwidth.prediction import Expected, PathPrediction, to_expected
from novacron.models.base import Tensors
from novacron.models.bundles import load_bundle
from novacron.telemetry.traces import MEASURED, Trace

Floats = NDArray[np.float64]

CHANNELS_FILE: Final = "channels.json"
MODEL_FOLDER: Final = "model"
LONG: Final = "long"
"""Key of the forecaster of bandwidth a quarter of an hour ahead, beside those of the channels."""
MODEL_NAME: Final = "bandwidth"
COVERAGE: Final = 0.8
KEPT_S: Final = 4 * 3600.0
"""Samples are kept this long, and at least as many as the model reads."""
_LEAST_LONG_BINS: Final = 9


@dataclass
class _Path:
    path_class: str
    detector: ModeDetector
    rows: deque[tuple[float, float, float, float, float]] = field(default_factory=deque)


class BandwidthPredictor:
    """Follows paths sample by sample and predicts each.

    Untrained it refuses to answer. `load` reads what `save` wrote; a model from the registry is
    handed over as `model`. Round trip, loss, jitter and the quarter of an hour need `fit_channels`.

    Args:
        model: A fitted bandwidth model.
        channels: Forecasters by channel, and `long`.
        version: The model's version, for the answers.
        modes: Bounds of the modes.
    """

    def __init__(
        self,
        model: BandwidthModel | None = None,
        *,
        channels: Mapping[str, ChannelForecaster] | None = None,
        version: str = "unregistered",
        modes: ModeConfig | None = None,
    ) -> None:
        self._model = model
        self._channels = dict(channels or {})
        self._version = version
        self._modes = modes or ModeConfig()
        self._paths: dict[str, _Path] = {}

    @classmethod
    def load(cls, directory: Path, *, version: str = "unregistered") -> Self:
        """Return a predictor from what `save` wrote, or from a bundle of the registry.

        Raises:
            ArtifactError: A part is damaged, or the bundle is of another kind.
            FeatureMismatchError: It was fitted on other features than this code computes.
        """
        inner = directory / MODEL_FOLDER
        model = load_bundle(inner if inner.is_dir() else directory)
        if not isinstance(model, BandwidthModel):
            raise ArtifactError(
                f"The bundle is of kind {model.kind!r}, not 'bandwidth'.", remedy="Name another."
            )
        stored = directory / CHANNELS_FILE
        channels: dict[str, ChannelForecaster] = {}
        if stored.exists():
            try:
                found = json.loads(stored.read_text())
            except ValueError as cause:
                raise ArtifactError(f"{CHANNELS_FILE} is not JSON: {cause}.") from cause
            channels = {name: ChannelForecaster.from_dict(one) for name, one in found.items()}
        return cls(model, channels=channels, version=version)

    def save(self, directory: Path) -> None:
        """Write model and channels into an empty or missing directory."""
        self._fitted().save(directory / MODEL_FOLDER)
        text = json.dumps({name: one.to_dict() for name, one in sorted(self._channels.items())})
        (directory / CHANNELS_FILE).write_text(text + "\n")

    def fit_channels(self, traces: Sequence[Trace]) -> Self:
        """Fit forecasters of what the traces measured beside bandwidth, and of the quarter hour.

        A channel that no two traces measured long enough is left out. Returns itself.
        """
        horizon = self._fitted().config.horizon
        for channel in MEASURED:
            paths = [
                values[np.isfinite(values)]
                for values in (getattr(trace, channel) for trace in traces)
                if values is not None
            ]
            self._keep(channel, channel, paths, horizon)
        minutes = [
            coarse(trace.t_s, trace.bandwidth_mbps)
            for trace in traces
            if len(trace) > 1 and trace.step_s <= LONG_BIN_S
        ]
        self._keep(LONG, "bandwidth_mbps", minutes, round(LONG_S / LONG_BIN_S))
        return self

    def _keep(self, key: str, channel: str, paths: Sequence[Floats], horizon: int) -> None:
        try:
            self._channels[key] = fit_channel(paths, channel, horizon=horizon)
        except SchemaError:
            self._channels.pop(key, None)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels that are forecast beside bandwidth."""
        return tuple(sorted(self._channels))

    def observe(
        self,
        path_id: str,
        at: datetime,
        bandwidth_mbps: float,
        *,
        rtt_ms: float | None = None,
        loss_ratio: float | None = None,
        jitter_ms: float | None = None,
        path_class: str = "",
    ) -> Mode:
        """Take in one sample of a path and return its mode.

        Args:
            path_id: Any name; a new one starts a path.
            at: Time of the sample, with its zone.
            bandwidth_mbps: Bandwidth.
            rtt_ms: Round trip, where measured; so are the next two.
            loss_ratio: Loss, 0..1.
            jitter_ms: Jitter.
            path_class: Class of the path, at its first sample; empty: the pooled model answers.

        Raises:
            SchemaError: The time has no zone.
            OutOfRangeError: A value is outside its range, or time does not increase.
        """
        if at.tzinfo is None:
            raise SchemaError(field="at", got=at.isoformat(), expected="a time with its zone")
        given = {
            "bandwidth_mbps": bandwidth_mbps,
            "rtt_ms": rtt_ms,
            "loss_ratio": loss_ratio,
            "jitter_ms": jitter_ms,
        }
        for name, value in given.items():
            if value is not None:
                _require_in_range(name, value)
        at_s = at.timestamp()
        path = self._paths.get(path_id)
        if path is not None and at_s <= path.rows[-1][0]:
            raise OutOfRangeError(
                field="at", got=at.isoformat(), expected="a time after the path's newest sample"
            )
        if path is None:
            path = _Path(path_class=path_class, detector=ModeDetector(self._modes))
            self._paths[path_id] = path
        row = [np.nan if value is None else float(value) for value in given.values()]
        path.rows.append((at_s, row[0], row[1], row[2], row[3]))
        self._forget(path, at_s)
        if rtt_ms is not None:
            path.detector.observe(at_s, rtt_ms, bandwidth_mbps)
        return path.detector.mode

    def _forget(self, path: _Path, now_s: float) -> None:
        most = 96 if self._model is None else self._model.config.features.history
        while len(path.rows) > most and now_s - path.rows[0][0] > KEPT_S:
            path.rows.popleft()

    def predict(self, path_id: str) -> PathPrediction:
        """Predict a path from its samples.

        Raises:
            NotReadyError: Not trained.
            UnknownNameError: No sample of that path was seen.
        """
        model, path = self._fitted(), self._known(path_id)
        table = np.array(path.rows)
        t_s, bandwidth_T = table[:, 0], table[:, 1]
        step_s = float(np.median(np.diff(t_s))) if len(t_s) > 1 else 1.0
        q_H3, fallback = _answer(model, path, table)
        channels = {
            name: self._expected(name, table[:, place], step_s)
            for place, name in enumerate(MEASURED, start=2)
            if name in self._channels and np.isfinite(table[:, place]).any()
        }
        quarter, missing = self._quarter(t_s, bandwidth_T, step_s)
        made_at = datetime.fromtimestamp(t_s[-1], UTC)
        text = f"{path_id}|{made_at.isoformat()}|{self._version}|{model.features_hash}"
        steps = len(q_H3)
        return PathPrediction(
            prediction_id=hashlib.sha256(text.encode()).hexdigest()[:16],
            path_id=path_id,
            mode=path.detector.mode,
            predicted_bandwidth_mbps=float(q_H3[0, 1]),
            bandwidth=to_expected(q_H3, step_s, fallback or MODEL_NAME),
            predicted_latency_ms=_first(channels.get("rtt_ms")),
            predicted_loss_ratio=_first(channels.get("loss_ratio")),
            predicted_jitter_ms=_first(channels.get("jitter_ms")),
            channels=channels,
            quarter_hour=quarter,
            quarter_hour_missing=missing,
            confidence=confidence_of(*(float(value) for value in q_H3[0])),
            coverage=COVERAGE,
            is_cold=len(bandwidth_T) < model.config.cold_start_samples,
            fallback=fallback,
            samples=len(bandwidth_T),
            horizon_s=steps * step_s,
            made_at=made_at,
            valid_until=made_at + timedelta(seconds=step_s),
            model_name=MODEL_NAME,
            model_version=self._version,
            features_hash=model.features_hash,
        )

    def allocate(self, path_id: str) -> Allocation:
        """Say how many streams, how much buffer and what pacing a path needs at the next step.

        Raises:
            NotReadyError: Not trained, or the round trip of the path was never measured.
            UnknownNameError: No sample of that path was seen.
        """
        found = self.predict(path_id)
        rtt = found.channels.get("rtt_ms")
        if rtt is None:
            raise NotReadyError(
                f"The round trip of {path_id!r} is not forecast.",
                remedy="Give rtt_ms to observe(), and fit_channels() on traces that have it.",
            )
        loss, jitter = found.channels.get("loss_ratio"), found.channels.get("jitter_ms")
        path = PathQuantiles(
            low_mbps=found.bandwidth.lower[0],
            median_mbps=found.bandwidth.value[0],
            high_mbps=found.bandwidth.upper[0],
            rtt_ms=rtt.upper[0],
            loss_ratio=0.0 if loss is None else loss.value[0],
            jitter_ms=0.0 if jitter is None else jitter.upper[0],
        )
        return allocate(path)

    def _fitted(self) -> BandwidthModel:
        if self._model is None:
            raise NotReadyError(
                "The bandwidth predictor is not trained.",
                remedy="load() a bundle, or pass a model of novacron.models.bandwidth.fit "
                "(`novacron train --model bandwidth`).",
            )
        return self._model

    def _known(self, path_id: str) -> _Path:
        if path_id not in self._paths:
            raise UnknownNameError(
                kind="path",
                got=path_id,
                known=tuple(self._paths) or ("none yet: observe() first",),
            )
        return self._paths[path_id]

    def _expected(self, name: str, value_T: Floats, step_s: float) -> Expected:
        made = self._channels[name]
        known_T = value_T[np.isfinite(value_T)]
        return to_expected(made.forecast(known_T)[-1], step_s, made.point.name)

    def _quarter(
        self, t_s: Floats, bandwidth_T: Floats, step_s: float
    ) -> tuple[Expected | None, str]:
        made = self._channels.get(LONG)
        if made is None:
            return None, "no forecaster was fitted for it"
        if step_s > LONG_BIN_S:
            return None, f"samples every {step_s:.0f} s: the next steps reach that far"
        minutes = coarse(t_s, bandwidth_T)
        if len(minutes) < _LEAST_LONG_BINS:
            return None, f"{len(minutes)} whole minutes of samples, {_LEAST_LONG_BINS} are needed"
        return to_expected(made.forecast(minutes)[-1], LONG_BIN_S, made.point.name), ""


def _require_in_range(name: str, value: float) -> None:
    spec = LINK_SCHEMA[name]
    low, high = spec.low or 0.0, spec.high or np.inf
    if not np.isfinite(value) or not low <= value <= high:
        raise OutOfRangeError(field=name, got=value, expected=spec.expected)


def _answer(model: BandwidthModel, path: _Path, table: Floats) -> tuple[Floats, str]:
    """Return the model's quantiles q_H3 of the next steps, and what answered instead of it."""
    newest = table[-model.config.features.history :]
    columns = ("bandwidth_mbps", *MEASURED)
    tensors: dict[str, NDArray[np.generic]] = {}
    for place, name in enumerate(columns, start=1):
        if name not in model.config.features.channels:
            continue
        value_T = newest[:, place]
        held_T = hold_last(value_T)
        if held_T is not None:
            tensors[name] = held_T[None]
    if path.path_class:
        tensors["path_class"] = np.array([path.path_class], dtype=object)
    prepared: Tensors = model.prepare(tensors)
    out = model.predict(prepared)
    return np.asarray(out["quantiles_mbps"][0], dtype=np.float64), str(out["fallback"][0])


def _first(expected: Expected | None) -> float | None:
    return None if expected is None else expected.value[0]
