"""Scores one set of the bandwidth benchmark: every forecaster on the same origins.

Legend: N origins, T samples, H steps ahead, Q = 3 served levels (.1, .5, .9).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.bandwidth_sets import BenchmarkSet
from benchmarks.results_format import Metric
from novacron.models.bandwidth.config import SERVED_LEVELS
from novacron.models.bandwidth.model import BandwidthModel
from novacron.models.bandwidth.windows import WindowSet, cut_windows
from novacron.models.baselines import (
    BandConfig,
    FlatOracle,
    Forecaster,
    HarmonicMean,
    LastValue,
    MeanSoFar,
    fit_band,
    fit_ewma,
    fit_holt_winters,
    fit_ridge,
    future,
)
from novacron.models.conformal import replay
from novacron.models.metrics import Interval, group_ratio, wql_terms
from novacron.telemetry.traces import Trace

Floats = NDArray[np.float64]

COLD_SAMPLES: Final = 8
"""Origins with fewer samples are scored apart, as cold starts."""

_SECONDS_PER_DAY: Final = 86_400.0
_ROWS_AT_ONCE: Final = 8192
_BOOTSTRAP_SEED: Final = 2024
BASELINES: Final = ("last", "ewma", "harmonic", "holt_winters", "ridge", "mean_so_far")
MEMBERS: Final = ("lstm", "lightgbm")


@dataclass(kw_only=True, slots=True)
class Losses:
    """What one forecaster lost at every origin: error_NH and wql_NH in Mbit/s, hits_NHQ shares."""

    error: list[Floats] = field(default_factory=list)
    wql: list[Floats] = field(default_factory=list)
    below: list[Floats] = field(default_factory=list)
    near: list[Floats] = field(default_factory=list)

    def add(self, actual_NH: Floats, q_NHQ: Floats) -> None:
        """Score one trace."""
        away_NH = np.abs(actual_NH - q_NHQ[..., 1])
        self.error.append(away_NH)
        self.wql.append(wql_terms(actual_NH, q_NHQ, SERVED_LEVELS))
        self.below.append(
            np.stack([actual_NH < q_NHQ[..., 0], actual_NH <= q_NHQ[..., 2]], axis=2).astype(
                np.float64
            )
        )
        self.near.append((away_NH <= 0.2 * actual_NH).astype(np.float64))


@dataclass(kw_only=True, slots=True)
class SetScores:
    """Everything that was scored on one set; rows are origins, in the same order everywhere."""

    name: str
    by_name: dict[str, Losses]
    actual: list[Floats] = field(default_factory=list)
    group: list[NDArray[np.int64]] = field(default_factory=list)
    known: list[NDArray[np.int64]] = field(default_factory=list)

    def rows(self, name: str, what: str) -> Floats:
        """Return one loss of one forecaster for all origins."""
        return np.concatenate(getattr(self.by_name[name], what))


def fit_baselines(train: tuple[Trace, ...], horizon: int) -> dict[str, Forecaster]:
    """Fit every baseline of one path class on its training part."""
    warm = COLD_SAMPLES
    ewma = fit_ewma(train, horizon=horizon, warm=warm)
    plain = BandConfig(half_life=ewma.half_life)
    relative = BandConfig(half_life=ewma.half_life, relative=True)
    return {
        "last": LastValue(horizon=horizon),
        "ewma": ewma,
        "harmonic": HarmonicMean(horizon=horizon),
        "holt_winters": fit_holt_winters(train, horizon=horizon, warm=warm),
        "ridge": fit_ridge(train, horizon=horizon, warm=warm),
        "mean_so_far": MeanSoFar(horizon=horizon),
        "band": fit_band(train, plain, horizon=horizon, warm=warm),
        "relative_band": fit_band(train, relative, horizon=horizon, warm=warm),
    }


def score_set(chosen: BenchmarkSet, model: BandwidthModel) -> SetScores:
    """Forecast every origin of every test trace with every forecaster."""
    horizon, seeds = model.config.horizon, len(model.config.seeds)
    names = [*BASELINES, "band", "relative_band", "oracle", *MEMBERS]
    names += [f"lstm_{place}" for place in range(seeds)] + ["offline", "blend"]
    scores = SetScores(name=chosen.name, by_name={name: Losses() for name in names})
    first_group = 0
    for path_class, traces in chosen.test.items():
        fitted = fit_baselines(chosen.train[path_class], horizon)
        usable = [trace for trace in traces if len(trace) > horizon]
        forecasts = [_model_forecasts(model, path_class, trace) for trace in usable]
        part = model.classes[path_class]
        adapted = replay(
            part.calibration,
            [
                (own["raw"], np.asarray(trace.bandwidth_mbps)[1 : len(own["raw"]) + 1])
                for own, trace in zip(forecasts, usable, strict=True)
            ],
            gamma=model.config.conformal.gamma,
        )
        for number, (trace, own, blend_THQ) in enumerate(
            zip(usable, forecasts, adapted, strict=True)
        ):
            own["blend"] = np.where(own.pop("fallback")[:, None, None], own["offline"], blend_THQ)
            own |= {name: f.forecast(trace.bandwidth_mbps) for name, f in fitted.items()}
            _score_trace(scores, trace, own, horizon)
            scores.group.append(_groups(chosen, trace, first_group + number, horizon))
        first_group += len(usable)
    return scores


def _model_forecasts(model: BandwidthModel, path_class: str, trace: Trace) -> dict[str, Floats]:
    """Forecast all origins of a trace that have a future, a few thousand at a time."""
    windows = cut_windows([trace], model.config.features, model.config.horizon)
    parts: dict[str, list[Floats]] = {}
    for chunk in _chunks(windows):
        for name, values in model.by_member(path_class, chunk.channels).items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _chunks(windows: WindowSet) -> Iterator[WindowSet]:
    for start in range(0, len(windows), _ROWS_AT_ONCE):
        yield windows.take(np.arange(start, min(start + _ROWS_AT_ONCE, len(windows))))


def _score_trace(
    scores: SetScores, trace: Trace, forecasts: Mapping[str, Floats], horizon: int
) -> None:
    actual_NH = future(np.asarray(trace.bandwidth_mbps), horizon)
    scores.actual.append(actual_NH)
    scores.known.append(np.arange(1, len(actual_NH) + 1))
    oracle = FlatOracle(horizon=horizon).of_future(actual_NH)
    for name, losses in scores.by_name.items():
        q_NHQ = oracle if name == "oracle" else forecasts[name][: len(actual_NH)]
        losses.add(actual_NH, q_NHQ)


def _groups(chosen: BenchmarkSet, trace: Trace, number: int, horizon: int) -> NDArray[np.int64]:
    rows = len(trace) - horizon
    if not chosen.by_day:
        return np.full(rows, number)
    offset_s = 0.0
    if trace.start is not None:
        midnight = trace.start.replace(hour=0, minute=0, second=0, microsecond=0)
        offset_s = (trace.start - midnight).total_seconds()
    days = (np.asarray(trace.t_s)[:rows] + offset_s) // _SECONDS_PER_DAY
    return np.asarray(days, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Turns the losses of a set into metrics with intervals."""

    scores: SetScores

    def ratio(self, upper_N: Floats, lower_N: Floats, rows_N: NDArray[np.bool_]) -> Interval:
        """Ratio of sums over the chosen origins, whole groups resampled."""
        group_N = np.concatenate(self.scores.group)[rows_N]
        rng = np.random.default_rng(_BOOTSTRAP_SEED)
        return group_ratio(upper_N[rows_N], lower_N[rows_N], group_N, rng)

    def metric(self, name: str, found: Interval, baseline: str) -> Metric:
        """Name an interval."""
        return Metric(
            name=name,
            set=self.scores.name,
            value=found.value,
            lo=found.lo,
            hi=found.hi,
            n=found.n,
            baseline=baseline,
        )

    def all(self) -> list[Metric]:
        """Return every metric of the set."""
        known_N = np.concatenate(self.scores.known)
        warm_N, cold_N = known_N >= COLD_SAMPLES, known_N < COLD_SAMPLES
        return [
            *self._headline(warm_N),
            *self._wapes(warm_N),
            *self._by_horizon(warm_N),
            *self._cold(cold_N),
            Metric(
                name="origins",
                set=self.scores.name,
                value=float(warm_N.sum()),
                n=len(np.unique(np.concatenate(self.scores.group))),
                baseline="none",
            ),
        ]

    def _pair(
        self, name: str, rows_N: NDArray[np.bool_], suffix: str = "", step: int | None = None
    ) -> list[Metric]:
        pick = slice(None) if step is None else slice(step, step + 1)
        rows = self.scores.rows
        pairs = (
            ("wape_ratio_to_ewma", "error", "ewma", "EWMA"),
            ("wql_ratio_to_ewma_band", "wql", "band", "EWMA band"),
        )
        return [
            self.metric(
                metric + suffix,
                self.ratio(
                    rows(name, what)[:, pick].sum(axis=1),
                    rows(beside, what)[:, pick].sum(axis=1),
                    rows_N,
                ),
                baseline,
            )
            for metric, what, beside, baseline in pairs
        ]

    def _headline(self, warm_N: NDArray[np.bool_]) -> list[Metric]:
        found = self._pair("blend", warm_N)
        found += [self._coverage("blend", "coverage_80", warm_N)]
        for member in MEMBERS:
            found += self._pair(member, warm_N, f"_{member}")
            found += [self._coverage(member, f"coverage_80_{member}", warm_N)]
        found += [self._coverage("offline", "coverage_80_offline", warm_N)]
        found += self._seeds(warm_N)
        rows = self.scores.rows
        stronger = self.ratio(
            rows("blend", "wql").sum(axis=1), rows("relative_band", "wql").sum(axis=1), warm_N
        )
        return [*found, self.metric("wql_ratio_to_relative_band", stronger, "EWMA relative band")]

    def _seeds(self, warm_N: NDArray[np.bool_]) -> list[Metric]:
        """Median and range over the LSTM seeds, each alone."""
        names = [name for name in self.scores.by_name if name.startswith("lstm_")]
        naive = self.scores.rows("ewma", "error")[warm_N].sum()
        ratios = [self.scores.rows(name, "error")[warm_N].sum() / naive for name in names]
        return [
            Metric(
                name="wape_ratio_to_ewma_lstm_over_seeds",
                set=self.scores.name,
                value=float(np.median(ratios)),
                lo=float(min(ratios)),
                hi=float(max(ratios)),
                n=len(ratios),
                baseline="EWMA; lo and hi are the range over seeds",
            )
        ]

    def _coverage(self, name: str, metric: str, rows_N: NDArray[np.bool_]) -> Metric:
        below_NHQ = self.scores.rows(name, "below")
        inside_N = (below_NHQ[..., 1] - below_NHQ[..., 0]).mean(axis=1)
        found = self.ratio(inside_N, np.ones(len(inside_N)), rows_N)
        return self.metric(metric, found, "0.8 nominal")

    def _wapes(self, warm_N: NDArray[np.bool_]) -> list[Metric]:
        total_N = np.concatenate(self.scores.actual).sum(axis=1)
        found = []
        for name in ("blend", *BASELINES, "oracle"):
            error_N = self.scores.rows(name, "error").sum(axis=1)
            found.append(
                self.metric(f"wape_{name}", self.ratio(error_N, total_N, warm_N), "sum of actual")
            )
        for name in ("blend", "band"):
            loss_N = self.scores.rows(name, "wql").sum(axis=1)
            found.append(
                self.metric(f"wql_{name}", self.ratio(loss_N, total_N, warm_N), "sum of actual")
            )
        for name in ("blend", "ewma"):
            near_N = self.scores.rows(name, "near").mean(axis=1)
            share = self.ratio(near_N, np.ones(len(near_N)), warm_N)
            found.append(self.metric(f"share_within_20_{name}", share, "share of forecasts"))
        best = min(BASELINES, key=lambda name: self.scores.rows(name, "error")[warm_N].sum())
        blend_N = self.scores.rows("blend", "error").sum(axis=1)
        best_N = self.scores.rows(best, "error").sum(axis=1)
        found.append(
            self.metric("wape_ratio_to_best_baseline", self.ratio(blend_N, best_N, warm_N), best)
        )
        return found

    def _by_horizon(self, warm_N: NDArray[np.bool_]) -> list[Metric]:
        steps = self.scores.actual[0].shape[1]
        return [
            metric
            for step in range(steps)
            for metric in self._pair("blend", warm_N, f"_h{step + 1}", step)
        ]

    def _cold(self, cold_N: NDArray[np.bool_]) -> list[Metric]:
        return self._pair("blend", cold_N, "_cold") if cold_N.any() else []


def has_skill(metrics: list[Metric], name: str) -> bool:
    """Tell whether a set shows skill: better than the best of all baselines, interval included.

    The best baseline is the one with the least error on the same rows, so the verdict is strict.
    """
    found = [m for m in metrics if m.set == name and m.name == "wape_ratio_to_best_baseline"]
    return bool(found) and found[0].hi is not None and found[0].hi < 1.0
