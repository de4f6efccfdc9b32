"""The encoding stage that targets share: delta, codec, worker threads, on measured curves."""

from dataclasses import dataclass

import numpy as np

from rl_envs.dynamics import World
from rl_envs.noise import Purpose
from rl_envs.physics.codec import CodecPoint
from rl_envs.physics.delta import baseline_hit_ratio, mixed, recovery_s, whole_page_ratio
from rl_envs.physics.pipeline import with_chunk_overhead
from rl_envs.physics.quantities import FloatArray, IntArray
from rl_envs.tables import codec_tables
from rl_envs.targets.base import Knobs

READ_MB_S = 3000.0
"""Rate at which guest memory is read and mapped; one core copies about 5 GB/s on current hosts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VmData:
    """What is encoded and where it goes, arrays [N]; hidden from policies."""

    corpus: IntArray
    working_set_mb: FloatArray
    receiver_cores: FloatArray
    crash_per_s: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """The stage at its knobs, arrays [N]; rates in MB of user data a second."""

    ratio: FloatArray
    encode_mb_s: FloatArray
    decode_mb_s: FloatArray
    encode_cpu_s_per_mb: FloatArray
    decode_cpu_s_per_mb: FloatArray
    taken_cores: FloatArray
    """Cores taken from guests while the encoder runs."""
    hit_ratio: FloatArray
    recovery_s: FloatArray


def sample_data(world: World, split: str) -> VmData:
    """Draw the data of an episode; corpora of one side of the split only."""
    tables = codec_tables()
    allowed = np.array([i for i, side in enumerate(tables.splits) if side == split])
    pick = np.floor(world.noise.uniform(Purpose.CONTEXT, 0) * allowed.size).astype(np.int64)
    return VmData(
        corpus=allowed[pick],
        working_set_mb=world.noise.log_between(64.0, 16_384.0, Purpose.CONTEXT, 1),
        receiver_cores=np.rint(world.noise.log_between(1.0, 16.0, Purpose.CONTEXT, 2)),
        crash_per_s=world.noise.log_between(1e-5, 1e-3, Purpose.CONTEXT, 3),
    )


def granted_cores(world: World, workers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the cores that worker threads get, and how many of them guests lose.

    Idle cores first; beyond them a fair scheduler gives w threads their part among w and the
    guests' runnable threads (Linux CFS).
    """
    cores = world.path.cores
    guests = cores * world.cpu_busy_ratio
    fair = cores * workers / (workers + guests)
    granted = np.minimum(workers, np.maximum(cores - guests, fair))
    return granted, np.maximum(granted - (cores - guests), 0.0)


def run_encoding(world: World, data: VmData, knobs: Knobs, baseline_mib: FloatArray) -> Encoding:
    """Return ratio and rates; `baseline_mib` is the memory that holds page versions by now."""
    tables = codec_tables()
    chunk = knobs["chunk_size_bytes"]
    codec = knobs["codec"].astype(np.int64)
    zero = np.zeros_like(codec)
    plain = tables.curves.at(data.corpus, zero, codec, chunk)
    delta = tables.curves.at(data.corpus, zero + 1, codec, chunk)
    versioned = np.array(tables.has_version)[data.corpus] & (knobs["delta"] > 0)
    held = np.maximum(baseline_mib, 1e-3)
    hit = np.where(knobs["delta"] > 0, baseline_hit_ratio(held, data.working_set_mb), 0.0)
    whole = np.where(versioned, whole_page_ratio(hit, knobs["max_delta_chain"]), 1.0)
    point = _mixed_point(whole, plain, delta)
    compress = with_chunk_overhead(point.compress_mb_s, chunk)
    decompress = with_chunk_overhead(point.decompress_mb_s, chunk)
    granted, taken = granted_cores(world, knobs["workers"])
    decode = decompress * data.receiver_cores
    chain = np.where(knobs["delta"] > 0, knobs["max_delta_chain"], 1.0)
    return Encoding(
        ratio=point.ratio,
        encode_mb_s=compress * granted,
        decode_mb_s=decode,
        encode_cpu_s_per_mb=1.0 / compress,
        decode_cpu_s_per_mb=1.0 / decompress,
        taken_cores=taken,
        hit_ratio=hit,
        recovery_s=recovery_s(chain, data.working_set_mb, decode),
    )


def _mixed_point(whole: FloatArray, plain: CodecPoint, delta: CodecPoint) -> CodecPoint:
    return CodecPoint(
        ratio=mixed(whole, plain.ratio, delta.ratio),
        compress_mb_s=mixed(whole, plain.compress_mb_s, delta.compress_mb_s),
        decompress_mb_s=mixed(whole, plain.decompress_mb_s, delta.decompress_mb_s),
    )


def data_telemetry(data: VmData, encoding: Encoding) -> dict[str, FloatArray]:
    """Return the channels that sampling the data gives, at the precision of a small sample."""
    tables = codec_tables()
    return {
        "encode_ratio": encoding.ratio,
        "sample_entropy_ratio": tables.entropy_ratio[data.corpus],
        "zero_page_ratio": tables.zero_page_ratio[data.corpus],
        "delta_hit_ratio": encoding.hit_ratio,
        "changed_byte_ratio": tables.changed_byte_ratio[data.corpus],
    }


def encoded_mb_s(encoding: Encoding) -> FloatArray:
    """Return the rate of user data that the stages other than the wire can keep up."""
    slowest = np.minimum(encoding.encode_mb_s, encoding.decode_mb_s)
    return np.asarray(np.minimum(slowest, READ_MB_S))


def blocked_ratio(user_mb_s: FloatArray, encoding: Encoding) -> FloatArray:
    """Return the share of busy time in which writes to the sockets wait: all of it, or none.

    A stage before the wire that is slower leaves the sockets empty, and the sender cannot tell how
    much faster the path would be.
    """
    return np.where(user_mb_s < encoded_mb_s(encoding) * (1.0 - 1e-9), 1.0, 0.0)
