"""Scores of whole series kept on disk, so that a benchmark that was stopped goes on where it was.

A score is found again by the code that made it, its settings and the samples; a change of any of
them scores anew. Timings are never taken from here.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

import novacron
from ray_jobs.locations import runs_dir

Floats = NDArray[np.float64]

_ROOM: Final = Path(novacron.__file__).parent / "models" / "anomaly"


@cache
def code_digest(files: tuple[str, ...]) -> str:
    """Return the digest of files of the room, those that decide a method's scores."""
    digest = hashlib.sha256()
    for name in files:
        digest.update((_ROOM / f"{name}.py").read_bytes())
    return digest.hexdigest()


def cached(
    files: tuple[str, ...], settings: str, value_T: Floats, make: Callable[[], Floats]
) -> Floats:
    """Return the scores of a series, from disk where they were made before.

    Args:
        files: Those of the room that decide the scores, without suffix.
        settings: Everything besides the samples that the scores depend on.
        value_T: The samples.
        make: Makes the scores.
    """
    digest = hashlib.sha256(f"{code_digest(files)}\0{settings}\0".encode())
    digest.update(np.ascontiguousarray(value_T).tobytes())
    key = digest.hexdigest()
    path = runs_dir() / "benchmarks" / "anomaly" / key[:2] / f"{key}.npy"
    if path.exists():
        return np.asarray(np.load(path))
    score_T = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{key}.{os.getpid()}.tmp.npy")
    np.save(draft, score_T)
    draft.replace(path)
    return score_T
