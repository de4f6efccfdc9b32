"""Members whose answers are kept on disk: trials of one origin are forecasts of an earlier one.

Training and benchmarks ask for the same forecasts again and again; a killed run goes on from what
is there. Answers of other code are never found: they lie in another folder.
"""

import hashlib
import json
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from novacron.models.capacity.history import History
from novacron.models.capacity.link import Link
from novacron.models.capacity.members import Forecasts, MemberForecast, Members

_NOT_KEPT: Final = "boosted"
_CODE: Final = ("history", "link", "seasons", "members", "prophet_member", "decomposed")
_LIBRARIES: Final = ("prophet", "statsmodels", "holidays", "numpy", "pandas")


@cache
def code_key() -> str:
    """Return a short digest of the code and the libraries behind an answer."""
    digest = hashlib.sha256()
    for name in _CODE:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    digest.update(" ".join(version(name) for name in _LIBRARIES).encode())
    return digest.hexdigest()[:12]


class RememberedMembers:
    """Asks members once per history; `boosted`, which changes with training, is asked each time.

    Args:
        members: Whom to ask.
        folder: Where answers are kept, one small file each, below the key of the code.
    """

    def __init__(self, members: Members, folder: Path) -> None:
        self._costly = Members(
            names=tuple(name for name in members.names if name != _NOT_KEPT),
            boosters={},
            holidays=members.holidays,
        )
        self._boosted = Members(
            names=tuple(name for name in members.names if name == _NOT_KEPT),
            boosters=members.boosters,
            holidays=members.holidays,
        )
        self.names = members.names
        self._folder = folder / code_key()
        self._folder.mkdir(parents=True, exist_ok=True)

    def forecast(self, history: History, link: Link, horizon: int) -> Forecasts:
        """See `Members.forecast`."""
        path = self._folder / f"{self._key(history, link, horizon)}.npz"
        kept = _read(path) if path.exists() else None
        if kept is None:
            kept = self._costly.forecast(history, link, horizon)
            _write(path, kept)
        if not self._boosted.names:
            return kept
        fresh = self._boosted.forecast(history, link, horizon)
        return Forecasts(
            by_member={**kept.by_member, **fresh.by_member},
            failed={**kept.failed, **fresh.failed},
            used_from=kept.used_from,
        )

    def _key(self, history: History, link: Link, horizon: int) -> str:
        facts = (
            history.start.isoformat(), history.step_s, horizon, link.kind, link.offset, link.high,
            self._costly.names, self._costly.holidays.country, self._costly.holidays.subdivision,
        )  # fmt: skip
        digest = hashlib.sha256(json.dumps(facts).encode())
        digest.update(np.ascontiguousarray(history.value_T).tobytes())
        return digest.hexdigest()[:24]


def _write(path: Path, said: Forecasts) -> None:
    arrays = {f"{name}/z": one.z_H for name, one in said.by_member.items()}
    for name, one in said.by_member.items():
        arrays |= {f"{name}/{term}": z_H for term, z_H in one.terms.items()}
    facts = json.dumps({"failed": dict(said.failed), "used_from": said.used_from})
    arrays["facts"] = np.frombuffer(facts.encode(), dtype=np.uint8)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    with draft.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    draft.replace(path)


def _read(path: Path) -> Forecasts | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError):
        return None
    facts = json.loads(arrays.pop("facts").tobytes().decode())
    names = dict.fromkeys(key.rpartition("/")[0] for key in arrays)
    return Forecasts(
        by_member={
            name: MemberForecast(
                z_H=arrays[f"{name}/z"],
                terms={
                    key.rpartition("/")[2]: value
                    for key, value in arrays.items()
                    if key.rpartition("/")[0] == name and not key.endswith("/z")
                },
            )
            for name in names
        },
        failed=facts["failed"],
        used_from=facts["used_from"],
    )
