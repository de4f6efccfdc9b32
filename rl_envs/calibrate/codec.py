"""Measures ratio and speed of every codec on every corpus, single threaded, in CPU time."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from novacron.errors import MissingDependencyError
from novacron.params.groups import CODECS
from rl_envs.calibrate.corpora import Corpus

CHUNK_BYTES: Final = (1024, 8192, 65_536, 524_288, 2_097_152)
MIN_TIMED_S: Final = 0.01
"""Fast codecs are repeated until this much CPU time has been measured."""

Coder = Callable[[bytes], bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One point of the curves; speeds in MB of uncompressed data per CPU-second."""

    corpus: str
    delta: bool
    codec: str
    chunk_bytes: int
    ratio: float
    compress_mb_s: float
    decompress_mb_s: float


def coders(codec: str) -> tuple[Coder, Coder]:
    """Return compressor and decompressor of one entry of the codec ladder.

    Raises:
        MissingDependencyError: The codec's library is not installed.
    """
    if codec == "none":
        return lambda data: bytes(bytearray(data)), lambda data: bytes(bytearray(data))
    try:
        import lz4.frame
        import zstandard
    except ImportError as cause:
        raise MissingDependencyError(
            f"Measuring codecs needs {cause.name}.",
            remedy="Install it with `pip install novacron-ml[codecs]`.",
        ) from cause
    family, level = codec.split("-", 1)
    if family == "zstd":
        compressor = zstandard.ZstdCompressor(level=int(level))
        return compressor.compress, zstandard.ZstdDecompressor().decompress
    # Levels from 3 on select lz4's high-compression search.
    depth = int(level) if family == "lz4hc" else 0
    return (
        lambda data: lz4.frame.compress(data, compression_level=depth),
        lz4.frame.decompress,
    )


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return CPU seconds of one run and its result, repeated while it is too short to time."""
    repeats, spent_s, result = 0, 0.0, None
    while spent_s < MIN_TIMED_S:
        started_s = time.process_time()
        result = run()
        spent_s += time.process_time() - started_s
        repeats += 1
    return spent_s / repeats, result


def _xor(now: Sequence[bytes], before: Sequence[bytes]) -> list[bytes]:
    return [
        np.bitwise_xor(
            np.frombuffer(a, dtype=np.uint8), np.frombuffer(b, dtype=np.uint8)
        ).tobytes()
        for a, b in zip(now, before, strict=True)
    ]


def _chunks(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def measure_point(corpus: Corpus, codec: str, chunk_bytes: int, *, delta: bool) -> Measurement:
    """Compress and decompress one corpus in independent chunks.

    With `delta` the XOR against the earlier version is part of both times. A corpus without an
    earlier version is measured plain: that is what the encoder sends when it has no baseline.
    """
    compress, decompress = coders(codec)
    plain = _chunks(corpus.data, chunk_bytes)
    compress_s, packed = _timed(lambda: [compress(chunk) for chunk in plain])
    decompress_s, _ = _timed(lambda: [decompress(chunk) for chunk in packed])
    if delta and corpus.before is not None:
        before = _chunks(corpus.before, chunk_bytes)
        xor_s, changes = _timed(lambda: _xor(plain, before))
        compress_s, packed = _timed(lambda: [compress(chunk) for chunk in changes])
        decompress_s, _ = _timed(lambda: [decompress(chunk) for chunk in packed])
        compress_s, decompress_s = compress_s + xor_s, decompress_s + xor_s
    megabytes = len(corpus.data) * 1e-6
    return Measurement(
        corpus=corpus.name,
        delta=delta,
        codec=codec,
        chunk_bytes=chunk_bytes,
        ratio=len(corpus.data) / sum(map(len, packed)),
        compress_mb_s=megabytes / compress_s,
        decompress_mb_s=megabytes / decompress_s,
    )


def measure(
    corpora: Sequence[Corpus],
    *,
    codecs: Sequence[str] = CODECS,
    chunk_sizes: Sequence[int] = CHUNK_BYTES,
    progress: Callable[[Measurement], None] = lambda _: None,
) -> list[Measurement]:
    """Measure every point of the table; the delta variant only where there is a version."""
    points = []
    for corpus, codec, size in itertools.product(corpora, codecs, chunk_sizes):
        for delta in (False, True) if corpus.before is not None else (False,):
            point = measure_point(corpus, codec, size, delta=delta)
            progress(point)
            points.append(point)
    return points


def table_of(
    corpora: Sequence[Corpus],
    points: Sequence[Measurement],
    *,
    codecs: Sequence[str] = CODECS,
    chunk_sizes: Sequence[int] = CHUNK_BYTES,
) -> dict[str, Any]:
    """Return the JSON body: corpora with their split and statistics, then arrays [C][V][L][S]."""
    found = {(p.corpus, p.delta, p.codec, p.chunk_bytes): p for p in points}

    def grid(field: str) -> list[Any]:
        def cell(corpus: Corpus, delta: bool, codec: str, size: int) -> float:
            key = (corpus.name, delta and corpus.before is not None, codec, size)
            return float(f"{getattr(found[key], field):.4g}")

        return [
            [
                [[cell(corpus, delta, codec, size) for size in chunk_sizes] for codec in codecs]
                for delta in (False, True)
            ]
            for corpus in corpora
        ]

    return {
        "corpora": [
            {
                "name": corpus.name,
                "split": corpus.split,
                "has_version": corpus.before is not None,
                "bytes": len(corpus.data),
                "entropy_ratio": round(corpus.entropy_ratio, 4),
                "zero_page_ratio": round(corpus.zero_page_ratio, 4),
                "changed_byte_ratio": round(corpus.changed_byte_ratio, 4),
            }
            for corpus in corpora
        ],
        "codecs": list(codecs),
        "chunk_bytes": list(chunk_sizes),
        "ratio": grid("ratio"),
        "compress_mb_s": grid("compress_mb_s"),
        "decompress_mb_s": grid("decompress_mb_s"),
    }
