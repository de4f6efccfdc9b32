"""Histograms of a stream in fixed memory: of magnitudes, and of rows over time."""

from typing import Final

import numpy as np

from novacron.telemetry.blocks import FloatArray, IntArray

_BINS_AN_OCTAVE: Final = 8
# A float64 shifted right by this has its exponent and the three leading bits of its mantissa.
_SHIFT: Final = 49
_LOWEST: Final = 2.0**-24
_HIGHEST: Final = 2.0**40
_FIRST_KEY: Final = int(np.array(_LOWEST).view(np.int64)) >> _SHIFT
_N_BINS: Final = (int(np.array(_HIGHEST).view(np.int64)) >> _SHIFT) - _FIRST_KEY
_MAX_TIME_BINS: Final = 96


class MagnitudeTally:
    """Count, range, mean and a histogram of absolute values with eight bins an octave.

    Bin 0 holds what is below 2^-24, zeros included; values from 2^40 on share the last bin.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.minimum = np.inf
        self.maximum = -np.inf
        self.total = 0.0
        self.counts: IntArray = np.zeros(_N_BINS + 2, np.int64)

    @property
    def present(self) -> int:
        """How many values were not NaN."""
        return int(self.counts.sum())

    def add(self, values: FloatArray) -> None:
        """Count values; NaN means missing."""
        self.rows += len(values)
        known = values[~np.isnan(values)]
        if len(known) == 0:
            return
        self.minimum = min(self.minimum, float(known.min()))
        self.maximum = max(self.maximum, float(known.max()))
        self.total += float(known.sum())
        key = (np.abs(known).view(np.int64) >> _SHIFT) - (_FIRST_KEY - 1)
        np.clip(key, 0, _N_BINS + 1, out=key)
        self.counts += np.bincount(key, minlength=_N_BINS + 2)

    def quantile(self, share: float) -> float | None:
        """Return a quantile of the magnitudes, exact to the width of a bin."""
        if self.present == 0:
            return None
        reached = np.cumsum(self.counts)
        index = int(np.searchsorted(reached, share * reached[-1]))
        low, high = bin_edges(index)
        middle = low if index == 0 else (low + high) / 2
        return float(np.clip(middle, self.minimum, self.maximum))

    def octaves(self) -> list[tuple[float, float, int]]:
        """Return the histogram by octave as (low, high, count), without empty ends."""
        edges = [(0.0, _LOWEST, int(self.counts[0]))]
        for start in range(1, _N_BINS + 1, _BINS_AN_OCTAVE):
            low = bin_edges(start)[0]
            count = int(self.counts[start : start + _BINS_AN_OCTAVE].sum())
            edges.append((low, 2 * low, count))
        edges.append((_HIGHEST, max(_HIGHEST, self.maximum), int(self.counts[-1])))
        filled = [index for index, (_, _, count) in enumerate(edges) if count]
        return edges[filled[0] : filled[-1] + 1] if filled else []


def bin_edges(index: int) -> tuple[float, float]:
    """Return lower and upper edge of a bin of `MagnitudeTally`."""
    if index == 0:
        return 0.0, _LOWEST
    keys = np.array([index - 1 + _FIRST_KEY, index + _FIRST_KEY], np.int64) << _SHIFT
    low, high = keys.view(np.float64)
    return float(low), float(high)


class TimeTally:
    """Rows over time in at most 96 bins, whose width doubles as the time span grows."""

    def __init__(self, width_us: int = 1_000_000) -> None:
        self.width_us = width_us
        self._first = 0
        self._counts: IntArray = np.empty(0, np.int64)

    @property
    def start_us(self) -> int:
        """Start of the first bin."""
        return self._first * self.width_us

    @property
    def counts(self) -> list[int]:
        """Rows in each bin."""
        return [int(count) for count in self._counts]

    def add(self, ts_us: IntArray) -> None:
        """Count rows by their timestamps, microseconds since 1970."""
        if len(ts_us) == 0:
            return
        low, high = int(ts_us.min()), int(ts_us.max())
        if len(self._counts):
            low = min(low, self.start_us)
            high = max(high, self.start_us + len(self._counts) * self.width_us - 1)
        while high // self.width_us - low // self.width_us >= _MAX_TIME_BINS:
            self._double()
        first = low // self.width_us
        counts = np.bincount(
            ts_us // self.width_us - first, minlength=high // self.width_us - first + 1
        )
        if len(self._counts):
            offset = self._first - first
            counts[offset : offset + len(self._counts)] += self._counts
        self._first, self._counts = first, counts

    def _double(self) -> None:
        self.width_us *= 2
        index = (np.arange(len(self._counts)) + self._first) // 2
        self._first //= 2
        if len(index):
            self._counts = np.bincount(index - self._first, weights=self._counts).astype(np.int64)
