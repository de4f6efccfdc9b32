"""Honest splits: whole traces on one side only, or one trace cut in time with a purged gap.

Both are deterministic: the same traces in give the same parts out.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from novacron.errors import ConfigError
from novacron.telemetry.traces import Trace

Order = Literal["given", "start", "hashed"]

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Three disjoint parts. `skipped` traces were too short to be cut and are in none of them."""

    train: tuple[Trace, ...]
    validation: tuple[Trace, ...]
    test: tuple[Trace, ...] = ()
    skipped: tuple[Trace, ...] = ()


def recording(trace: Trace) -> str:
    """Return the id of the recording a trace belongs to.

    The up and down halves of one drive share their radio conditions, so `x.up` and `x.down` are
    one group.
    """
    return trace.trace_id.removesuffix(".up").removesuffix(".down")


def _require_shares(validation_share: float, test_share: float) -> None:
    if not (0 < validation_share < 1 and 0 <= test_share < 1):
        raise ConfigError(
            field="validation_share, test_share",
            got=(validation_share, test_share),
            expected="0 < validation_share < 1 and 0 <= test_share < 1",
        )
    if validation_share + test_share >= 1:
        raise ConfigError(
            field="validation_share + test_share",
            got=validation_share + test_share,
            expected="less than 1, so that something is left to train on",
        )


def _ordered_groups(
    groups: dict[str, list[Trace]], order: Order, seed: int
) -> list[tuple[str, list[Trace]]]:
    items = list(groups.items())
    if order == "start":
        unknown = [name for name, members in items if any(m.start is None for m in members)]
        if unknown:
            raise ConfigError(
                field="order",
                got=f"'start' with no start time in {unknown[0]!r}",
                expected="traces that know their start",
                remedy="Use order='given' or 'hashed'.",
            )
        return sorted(items, key=lambda i: (min(m.start or _EARLIEST for m in i[1]), i[0]))
    if order == "hashed":
        # Not `random`: the rank of a group depends on its own name and the seed alone.
        return sorted(items, key=lambda i: hashlib.sha256(f"{seed}/{i[0]}".encode()).digest())
    return items


def split_by_group(
    traces: Sequence[Trace],
    *,
    validation_share: float = 0.2,
    test_share: float = 0.0,
    order: Order = "given",
    seed: int = 0,
    group_of: Callable[[Trace], str] = recording,
) -> Split:
    """Split whole groups of traces; the last ones are test, the ones before them validation.

    Args:
        traces: Traces of one path class, at least two groups (three with a test part).
        validation_share: Share of the groups, at least one of them.
        test_share: Share of the groups, at least one of them where it is above 0.
        order: `given` keeps the order of `traces`, `start` sorts by date, `hashed` shuffles by
            group name and `seed`.
        seed: Only for `hashed`.
        group_of: Names the group of a trace; a group is never on two sides.

    Raises:
        ConfigError: The shares leave nothing to train on, there are too few groups, or `start`
            is asked of traces that do not know theirs.
    """
    _require_shares(validation_share, test_share)
    groups: dict[str, list[Trace]] = {}
    for trace in traces:
        groups.setdefault(group_of(trace), []).append(trace)
    ordered = _ordered_groups(groups, order, seed)
    n_test = max(1, round(test_share * len(ordered))) if test_share else 0
    n_validation = max(1, round(validation_share * len(ordered)))
    n_train = len(ordered) - n_validation - n_test
    if n_train < 1:
        raise ConfigError(
            field="traces",
            got=f"{len(ordered)} groups",
            expected="at least one group for each part",
            remedy="Use split_by_time for a set of one or two traces.",
        )
    last = n_train + n_validation
    return Split(
        train=_flat(ordered[:n_train]),
        validation=_flat(ordered[n_train:last]),
        test=_flat(ordered[last:]),
    )


def _flat(groups: Sequence[tuple[str, list[Trace]]]) -> tuple[Trace, ...]:
    return tuple(trace for _, members in groups for trace in members)


def split_by_time(
    traces: Sequence[Trace],
    *,
    window: int,
    horizon: int,
    validation_share: float = 0.2,
    test_share: float = 0.0,
) -> Split:
    """Cut each trace in time, the latest samples last, with a purged gap at each cut.

    Args:
        traces: Traces of any length.
        window: Samples a model looks back.
        horizon: Samples a model looks ahead. The gap between two parts is `window + horizon`
            samples, so that no sample is seen from both sides, neither as input nor as target.
        validation_share: Share of each trace's samples, before the gap is taken out.
        test_share: The same for the last part; 0 for none.

    Returns:
        Parts keep their trace id. A trace of which a part would hold fewer than
        `window + horizon` samples is in `skipped`.

    Raises:
        ConfigError: A share or length is not allowed.
    """
    _require_shares(validation_share, test_share)
    if window < 1 or horizon < 1:
        raise ConfigError(
            field="window, horizon", got=(window, horizon), expected="at least one sample each"
        )
    gap = window + horizon
    parts: tuple[list[Trace], list[Trace], list[Trace]] = ([], [], [])
    skipped = []
    for trace in traces:
        bounds = _bounds(len(trace), gap, validation_share, test_share)
        if min(stop - first for first, stop in bounds) < gap:
            skipped.append(trace)
            continue
        for part, (first, stop) in zip(parts, bounds, strict=False):
            part.append(trace.part(first, stop))
    return Split(
        train=tuple(parts[0]),
        validation=tuple(parts[1]),
        test=tuple(parts[2]),
        skipped=tuple(skipped),
    )


def _bounds(n: int, gap: int, validation_share: float, test_share: float) -> list[tuple[int, int]]:
    """Return [first, stop) of each part of n samples, in order of time."""
    test_at = n - round(test_share * n)
    validation_at = test_at - round(validation_share * n)
    # The gap is cut from the start of the later part: the earlier one keeps its last sample.
    bounds = [(0, validation_at), (validation_at + gap, test_at)]
    if test_share:
        bounds.append((test_at + gap, n))
    return bounds
