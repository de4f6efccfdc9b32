"""Speed of the full link feature set on one core, beside a plain pandas script doing the same.

Both compute `LINK_FULL` for the same links, in turns, timed by the CPU time of this process; the
answers are compared before anything is reported. Legend: T samples of a link, W steps of a window.
"""

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.results_format import Metric
from novacron.errors import NovacronError
from novacron.features.matrix import request_features, trace_features
from novacron.features.spec import CALENDAR_NAMES, LINK_FULL, SPIKE_SIGMAS
from novacron.features.stream import StreamingFeatures

Series = NDArray[np.float64]

_LINK_ROWS = 10_000
_MISSING_RATIO = 0.01
# The pandas script is slow, so it gets the first rows of each link.
_PANDAS_ROWS = 3_000
_STREAM_LINKS = 500
_STREAM_STEPS = 10
_REQUESTS = 50
_SET = "generated links, 4 channels, 60 steps, 1 % of samples missing"


def measure_features(rows: int, seed: int) -> tuple[Metric, ...]:
    """Measure the batch, streaming and request paths of the full link feature set.

    Args:
        rows: Rows of the batch path, in links of at most 10,000 rows each, at least three links.
        seed: Of the generated links and of the resampling.

    Returns:
        Rows per CPU second of batch path, stream and requests of one row, and the ratio of the CPU
        time of a row in pandas to a row here, with intervals over links.

    Raises:
        NovacronError: The two disagree on any feature.
    """
    rng = np.random.default_rng(seed)
    link_rows = max(5 * LINK_FULL.history, min(rows // 3, _LINK_ROWS))
    shared = min(link_rows, _PANDAS_ROWS)
    ours_s, pandas_s, stream_s, request_s = [], [], [], []
    for link in range(max(3, rows // link_rows) + 1):
        channels, ts_s = _generate_link(rng, link_rows)
        head = {name: x_T[:shared] for name, x_T in channels.items()}
        features, batch_s = _timed(partial(trace_features, LINK_FULL, channels, ts_s))
        expected, script_s = _timed(partial(pandas_features, head, ts_s[:shared]))
        _require_equal(features[:shared], expected)
        if link == 0:
            continue  # the first round only warms up
        ours_s.append(batch_s / link_rows)
        pandas_s.append(script_s / shared)
        stream_s.append(_time_stream(channels, ts_s))
        request_s.append(_time_requests(channels, ts_s))
    ratio = np.array(pandas_s) / np.array(ours_s)
    beside = "plain pandas script"
    return (
        _metric("features_batch_rows_per_s", 1 / np.array(ours_s), beside, rng),
        _metric("features_pandas_rows_per_s", 1 / np.array(pandas_s), "the script itself", rng),
        _metric("features_cpu_time_ratio_pandas_to_batch", ratio, beside, rng),
        _metric("features_stream_rows_per_s", 1 / np.array(stream_s), "batch path", rng),
        _metric("features_request_rows_per_s", 1 / np.array(request_s), "batch path", rng),
    )


def _metric(name: str, values: Series, baseline: str, rng: np.random.Generator) -> Metric:
    means = rng.choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Metric(
        name=name,
        set=_SET,
        value=float(values.mean()),
        lo=float(low),
        hi=float(high),
        n=len(values),
        baseline=baseline,
    )


def _timed(work: Callable[[], Series]) -> tuple[Series, float]:
    start = time.process_time()
    answer = work()
    return answer, time.process_time() - start


def _generate_link(rng: np.random.Generator, rows: int) -> tuple[dict[str, Series], Series]:
    wave_T = 1 + 0.3 * np.sin(2 * np.pi * np.arange(rows) / rng.uniform(5, 30))
    channels = {
        "bandwidth_mbps": 100 * wave_T * rng.gamma(20, 0.05, rows),
        "rtt_ms": 30 / wave_T + rng.gamma(2, 2, rows),
        "loss_ratio": rng.beta(2, 50, rows),
        "jitter_ms": rng.gamma(2, 2, rows),
    }
    for x_T in channels.values():
        x_T[rng.random(rows) < _MISSING_RATIO] = np.nan
    return channels, 1.7e9 + 60 * np.arange(rows, dtype=np.float64)


def _time_stream(channels: dict[str, Series], ts_s: Series) -> float:
    """Return the CPU seconds of one sample when a fleet of links pushes a step at once."""
    stream = StreamingFeatures(LINK_FULL)
    names = [f"link-{link}" for link in range(_STREAM_LINKS)]
    spent_s = 0.0
    for at in range(_STREAM_STEPS):
        values = {name: np.full(_STREAM_LINKS, x_T[at]) for name, x_T in channels.items()}
        now_s = np.full(_STREAM_LINKS, ts_s[at])
        spent_s += _timed(partial(stream.push_many, names, now_s, values))[1]
    return spent_s / (_STREAM_STEPS * _STREAM_LINKS)


def _time_requests(channels: dict[str, Series], ts_s: Series) -> float:
    """Return the CPU seconds of a request of one row."""
    spent_s = 0.0
    for at in range(_REQUESTS):
        part = slice(at, at + LINK_FULL.history)
        tensors = {name: x_T[None, part] for name, x_T in channels.items()}
        ask = partial(request_features, LINK_FULL, tensors, ts_s[part][-1:])
        spent_s += _timed(ask)[1]
    return spent_s / _REQUESTS


def _require_equal(got: Series, expected: Series) -> None:
    got, expected = (x_TF[LINK_FULL.history - 1 :] for x_TF in (got, expected))
    close = np.isclose(got, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
    # pandas leaves skewness and kurtosis of fewer than 3 and 4 samples out.
    shape_F = ["skewness" in name or "kurtosis" in name for name in LINK_FULL.names]
    close |= np.isnan(expected) & shape_F
    if not close.all():
        names = [
            name for name, same in zip(LINK_FULL.names, close.T, strict=True) if not all(same)
        ]
        raise NovacronError(
            f"The pandas script and the feature library disagree on {', '.join(names[:5])}.",
            remedy="One of the two changed its meaning; the speeds are not comparable.",
        )


def pandas_features(channels: dict[str, Series], ts_s: Series) -> Series:
    """Compute `LINK_FULL` as a notebook would: rolling methods, and functions of one window.

    Only rows with a full window of history are meant to be compared.
    """
    columns: dict[str, pd.Series] = {}
    for channel in LINK_FULL.channels:
        series = pd.Series(channels[channel])
        found = _lag_columns(series) | _rolling_columns(series) | _window_columns(series)
        columns |= {f"{channel}__{name}": column for name, column in found.items()}
    return pd.DataFrame(columns | _calendar_columns(ts_s))[list(LINK_FULL.names)].to_numpy()


def _lag_columns(series: pd.Series) -> dict[str, pd.Series]:
    columns = {f"lag_{k}": series.shift(k) for k in LINK_FULL.lags}
    columns |= {f"diff_{k}": series.diff(k) for k in LINK_FULL.differences}
    return columns | {"change_ratio_1": series / series.shift(1).replace(0, np.nan) - 1}


def _rolling_columns(series: pd.Series) -> dict[str, pd.Series]:
    columns: dict[str, pd.Series] = {}
    for w in LINK_FULL.rolling:
        rolling = series.rolling(w, min_periods=1)
        # pandas corrects skewness and kurtosis for the sample size; this takes it back.
        n = rolling.count()
        corrected = rolling.kurt() * (n - 2) * (n - 3) / (n - 1)
        columns |= {
            f"mean_{w}": rolling.mean(),
            f"std_{w}": rolling.std(ddof=0),
            f"min_{w}": rolling.min(),
            f"max_{w}": rolling.max(),
            f"skewness_{w}": rolling.skew() * (n - 2) / np.sqrt(n * (n - 1)),
            f"kurtosis_{w}": (corrected - 6) / (n + 1),
        }
        columns |= {f"q{100 * q:g}_{w}": rolling.quantile(q) for q in LINK_FULL.quantiles}
    return columns


def _window_columns(series: pd.Series) -> dict[str, pd.Series]:
    windows = series.rolling(LINK_FULL.history)
    answers = [_window_answers(window.to_numpy()) for window in windows]
    return dict(pd.DataFrame(answers).items())  # type: ignore[arg-type]


def _window_answers(x_W: Series) -> dict[str, float]:
    steps = LINK_FULL.history
    if len(x_W) < steps:
        return {}
    present = np.flatnonzero(~np.isnan(x_W))
    x_P = x_W[present]
    age_P = steps - 1 - present
    answers: dict[str, float] = {}
    for half_life in LINK_FULL.ewma_half_lives:
        answers[f"ewma_{half_life:g}"] = np.average(x_P, weights=0.5 ** (age_P / half_life))
    spikes = age_P[x_P > x_P.mean() + SPIKE_SIGMAS * x_P.std()]
    answers["steps_since_spike"] = spikes.min() if len(spikes) else steps
    answers["spike_count"] = len(spikes)
    answers["present_count"] = len(present)
    answers["steps_since_present"] = age_P.min()
    return answers | _spectrum_answers(x_P, present)


def _spectrum_answers(x_P: Series, present: NDArray[np.intp]) -> dict[str, float]:
    steps = LINK_FULL.history
    time_P = present - present.mean()
    centred_P = x_P - x_P.mean()
    residual_W = np.zeros(steps)
    residual_W[present] = centred_P - time_P * (time_P @ centred_P) / (time_P @ time_P)
    hann_W = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(steps) / steps)
    power = np.abs(np.fft.rfft(residual_W * hann_W)) ** 2
    power[0] = 0
    peak = int(power.argmax())
    left, right = (math.sqrt(power[at]) if at < len(power) else 0.0 for at in (peak - 1, peak + 1))
    beside = max(left, right) / math.sqrt(power[peak])
    shift = min(max((2 * beside - 1) / (beside + 1), 0.0), 0.5)
    shares = power[1:] / power.sum()
    return {
        "dominant_cycles_per_step": min(peak + math.copysign(shift, right - left), steps / 2)
        / steps,
        "dominant_power_share": power[peak - 1 : peak + 2].sum() / power.sum(),
        "spectral_entropy": -(shares * np.log(shares)).sum() / math.log(steps / 2),
    }


def _calendar_columns(ts_s: Series) -> dict[str, pd.Series]:
    when = pd.Series(pd.to_datetime(ts_s, unit="s", utc=True))
    day = (when - when.dt.floor("D")).dt.total_seconds() / 86_400
    week = (when.dt.dayofweek + day) / 7
    day_turn, week_turn = 2 * np.pi * day.to_numpy(), 2 * np.pi * week.to_numpy()
    columns = (
        when.dt.hour.to_numpy(),
        np.sin(day_turn),
        np.cos(day_turn),
        when.dt.dayofweek.to_numpy(),
        np.sin(week_turn),
        np.cos(week_turn),
        (when.dt.dayofweek >= 5).to_numpy(),
    )
    return {
        name: pd.Series(column, dtype=float)
        for name, column in zip(CALENDAR_NAMES, columns, strict=True)
    }
