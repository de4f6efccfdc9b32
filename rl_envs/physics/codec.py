"""Measured codec curves: ratio and speeds by data, delta, codec and chunk size.

Curves are points, not a smooth law: the ratio is not monotone in the level on real data.
Shape legend: C corpora, V variants (0 plain, 1 XOR delta), L codecs, S chunk sizes, N batch.
"""

from dataclasses import dataclass

import numpy as np

from novacron.errors import OutOfRangeError, SchemaError
from rl_envs.physics.quantities import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecPoint:
    """Curves read at the operating point of each row, arrays [N]; speeds in MB per CPU-second.

    Speeds count uncompressed bytes.
    """

    ratio: FloatArray
    compress_mb_s: FloatArray
    decompress_mb_s: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecCurves:
    """Tables of measured points, float64 [C, V, L, S], on the chunk sizes `chunk_bytes` [S].

    Raises:
        SchemaError: A table has another shape.
        OutOfRangeError: A ratio or speed is not positive, or chunk sizes do not increase.
    """

    corpora: tuple[str, ...]
    codecs: tuple[str, ...]
    chunk_bytes: FloatArray
    ratio_CVLS: FloatArray
    compress_mb_s_CVLS: FloatArray
    decompress_mb_s_CVLS: FloatArray

    def __post_init__(self) -> None:
        """Check shapes and signs once, so that reading needs no checks."""
        wanted = (len(self.corpora), 2, len(self.codecs), self.chunk_bytes.size)
        for name in ("ratio_CVLS", "compress_mb_s_CVLS", "decompress_mb_s_CVLS"):
            table = getattr(self, name)
            if table.shape != wanted:
                raise SchemaError(field=name, got=table.shape, expected=str(wanted))
            if not (np.isfinite(table) & (table > 0)).all():
                raise OutOfRangeError(field=name, got="a value <= 0", expected="positive numbers")
        if not (np.diff(self.chunk_bytes) > 0).all():
            raise OutOfRangeError(
                field="chunk_bytes", got=self.chunk_bytes.tolist(), expected="increasing sizes"
            )

    def restricted_to(self, chunk_bytes: FloatArray) -> "CodecCurves":
        """Return the same curves on those of their chunk sizes that are asked for."""
        kept = np.isin(self.chunk_bytes, chunk_bytes)
        return CodecCurves(
            corpora=self.corpora,
            codecs=self.codecs,
            chunk_bytes=self.chunk_bytes[kept],
            ratio_CVLS=self.ratio_CVLS[..., kept],
            compress_mb_s_CVLS=self.compress_mb_s_CVLS[..., kept],
            decompress_mb_s_CVLS=self.decompress_mb_s_CVLS[..., kept],
        )

    def at(
        self, corpus_N: IntArray, delta_N: IntArray, codec_N: IntArray, chunk_bytes_N: FloatArray
    ) -> CodecPoint:
        """Read the curves, linear in log(value) over log(chunk size), held flat beyond the ends.

        >>> ones = np.ones((1, 2, 1, 2))
        >>> curves = CodecCurves(corpora=("a",), codecs=("x",), chunk_bytes=np.array([1e3, 1e5]),
        ...     ratio_CVLS=ones * [2.0, 8.0], compress_mb_s_CVLS=ones, decompress_mb_s_CVLS=ones)
        >>> zero = np.zeros(3, dtype=int)
        >>> sizes = np.array([1e2, 1e4, 1e9])
        >>> curves.at(zero, zero, zero, sizes).ratio.round(6).tolist()
        [2.0, 4.0, 8.0]
        """
        below = np.searchsorted(self.chunk_bytes, chunk_bytes_N, side="right") - 1
        below = np.clip(below, 0, self.chunk_bytes.size - 2)
        low, high = self.chunk_bytes[below], self.chunk_bytes[below + 1]
        share = np.clip(np.log(chunk_bytes_N / low) / np.log(high / low), 0.0, 1.0)

        def read(table: FloatArray) -> FloatArray:
            left = table[corpus_N, delta_N, codec_N, below]
            right = table[corpus_N, delta_N, codec_N, below + 1]
            value: FloatArray = left * np.exp(share * np.log(right / left))
            return value

        return CodecPoint(
            ratio=read(self.ratio_CVLS),
            compress_mb_s=read(self.compress_mb_s_CVLS),
            decompress_mb_s=read(self.decompress_mb_s_CVLS),
        )
