"""Features of live samples: a bounded ring buffer per entity, the same function as every window.

Legend: E entities held, N samples of one call, C channels, W steps of history, F features.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import FeatureMismatchError, OutOfRangeError, SchemaError
from novacron.features.fingerprint import fingerprint
from novacron.features.kernels import Floats
from novacron.features.spec import CHANNEL_UNITS, FeatureSpec
from novacron.features.windows import window_features

_FIRST_SLOTS: Final = 16


def _grid_step(t_N: Floats, step_s: float) -> Floats:
    # The small shift keeps a time that is a rounding error short of its step in that step.
    step_N: Floats = np.floor(t_N / step_s + 1e-6)
    return step_N


class StreamingFeatures:
    """Ring buffers of the last `spec.history` samples of each entity.

    At most `max_entities` are held; a new one beyond that takes the place of the entity that was
    silent for longest, and `evictions` counts it. Memory per entity is 8 bytes x channels x
    history. Not safe for use by several threads at once.

    Args:
        spec: What to compute.
        max_entities: Upper bound of entities held.
        step_s: Grid step in s. When given, samples are placed by the step their time falls in, and
            steps without a sample count as missing, as they do on a joined grid. When None, each
            sample is one step.
    """

    def __init__(
        self, spec: FeatureSpec, *, max_entities: int = 100_000, step_s: float | None = None
    ) -> None:
        if max_entities < 1:
            raise OutOfRangeError(field="max_entities", got=max_entities, expected="at least 1")
        if step_s is not None and not step_s > 0:
            raise OutOfRangeError(field="step_s", got=step_s, expected="more than 0 s, or None")
        self.spec = spec
        self.max_entities = max_entities
        self.step_s = step_s
        self.evictions = 0
        # From the entity that was silent for longest to the newest; the value is its slot.
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._ring_ECW = np.empty((0, len(spec.channels), spec.history))
        self._next_E = np.empty(0, dtype=np.intp)
        self._last_s_E = np.empty(0)

    def __len__(self) -> int:
        """Return how many entities are held."""
        return len(self._slots)

    def push(self, entity_id: str, ts_s: float, values: Mapping[str, float | None]) -> Floats:
        """Add one sample of one entity and return its features x_F; see `push_many`."""
        columns = {
            name: np.array([np.nan if value is None else value]) for name, value in values.items()
        }
        row: Floats = self.push_many([entity_id], np.array([ts_s]), columns)[0]
        return row

    def push_many(
        self,
        entity_ids: Sequence[str],
        ts_s: NDArray[np.floating],
        values: Mapping[str, NDArray[np.floating]],
    ) -> Floats:
        """Add one sample each of several entities; a call that is refused changes nothing.

        Args:
            entity_ids: N different entities.
            ts_s: Time of each sample, t_N in s since 1970-01-01 UTC.
            values: Metric name to x_N, NaN where missing. Metrics of the telemetry tables that
                the spec does not name are not read; channels that are absent count as missing.

        Returns:
            x_NF, the features right after each sample.

        Raises:
            SchemaError: An entity comes twice, lengths differ, there are more entities than
                `max_entities`, or a metric is in no telemetry table.
            OutOfRangeError: A sample is infinite, or not later than the last one of its entity.
        """
        t_N = np.asarray(ts_s, dtype=np.float64)
        x_NC = self._checked_values(entity_ids, t_N, values)
        skipped_N = self._checked_gaps(entity_ids, t_N)
        slot_N = self._claim(entity_ids)
        for row in np.flatnonzero(skipped_N):
            self._skip(slot_N[row], int(skipped_N[row]))
        self._ring_ECW[slot_N, :, self._next_E[slot_N]] = x_NC
        self._next_E[slot_N] = (self._next_E[slot_N] + 1) % self.spec.history
        self._last_s_E[slot_N] = t_N
        return window_features(self.spec, self._windows(slot_N), t_N)

    def snapshot(self) -> dict[str, NDArray[np.generic]]:
        """Return the whole state as plain arrays, for `np.savez` and `restore`.

        `entity_ids` run from the one silent for longest to the newest; `windows` is x_ECW, oldest
        step first; `last_ts_s` t_E; `evictions` and `fingerprint` are scalars.
        """
        slot_E = np.fromiter(self._slots.values(), dtype=np.intp, count=len(self._slots))
        windows = self._windows(slot_E)
        return {
            "entity_ids": np.array(list(self._slots), dtype=np.str_),
            "windows": np.stack([windows[name] for name in self.spec.channels], axis=1),
            "last_ts_s": self._last_s_E[slot_E],
            "evictions": np.array(self.evictions),
            "fingerprint": np.array(fingerprint(self.spec)),
        }

    def restore(self, snapshot: Mapping[str, NDArray[np.generic]]) -> None:
        """Replace the state by that of a snapshot.

        Raises:
            FeatureMismatchError: The snapshot was taken with other features.
            SchemaError: It holds more than `max_entities`, or its arrays do not fit together.
        """
        taken_with = str(snapshot["fingerprint"])
        if taken_with != fingerprint(self.spec):
            raise FeatureMismatchError(
                f"The snapshot was taken with features {taken_with[:12]}, this stream computes "
                f"{fingerprint(self.spec)[:12]}.",
                remedy="Start with empty buffers; they fill within one window of history.",
            )
        entity_ids = [str(name) for name in snapshot["entity_ids"]]
        if len(entity_ids) > self.max_entities:
            raise SchemaError(
                field="entity_ids", got=len(entity_ids), expected=f"at most {self.max_entities}"
            )
        ring_ECW = np.array(snapshot["windows"], dtype=np.float64)
        last_s_E = np.array(snapshot["last_ts_s"], dtype=np.float64)
        shape = (len(entity_ids), len(self.spec.channels), self.spec.history)
        if ring_ECW.shape != shape or last_s_E.shape != shape[:1]:
            raise SchemaError(field="windows", got=ring_ECW.shape, expected=str(shape))
        self._slots = OrderedDict((name, slot) for slot, name in enumerate(entity_ids))
        self._ring_ECW, self._last_s_E = ring_ECW, last_s_E
        self._next_E = np.zeros(len(entity_ids), dtype=np.intp)
        self.evictions = int(snapshot["evictions"])

    def _windows(self, slot_N: NDArray[np.intp]) -> dict[str, Floats]:
        step_NW = (self._next_E[slot_N, None] + np.arange(self.spec.history)) % self.spec.history
        return {
            channel: self._ring_ECW[slot_N[:, None], place, step_NW]
            for place, channel in enumerate(self.spec.channels)
        }

    def _checked_values(
        self,
        entity_ids: Sequence[str],
        t_N: Floats,
        values: Mapping[str, NDArray[np.floating]],
    ) -> Floats:
        rows = len(entity_ids)
        if len(set(entity_ids)) != rows or rows > self.max_entities:
            raise SchemaError(
                field="entity_ids", got=rows, expected=f"different ones, up to {self.max_entities}"
            )
        unknown = sorted(set(values) - set(CHANNEL_UNITS))
        if unknown:
            raise SchemaError(
                field="values", got=unknown, expected="metrics of the telemetry tables"
            )
        if t_N.shape != (rows,):
            raise SchemaError(field="ts_s", got=t_N.shape, expected=f"[{rows}], one per entity")
        if not np.isfinite(t_N).all():
            raise OutOfRangeError(field="ts_s", got=t_N, expected="finite seconds")
        x_NC = np.full((rows, len(self.spec.channels)), np.nan)
        for place, channel in enumerate(self.spec.channels):
            x_N = np.asarray(values.get(channel, x_NC[:, place]), dtype=np.float64)
            if x_N.shape != (rows,):
                raise SchemaError(
                    field=channel, got=x_N.shape, expected=f"[{rows}], one per entity"
                )
            if np.isinf(x_N).any():
                raise OutOfRangeError(field=channel, got=float("inf"), expected="finite numbers")
            x_NC[:, place] = x_N
        return x_NC

    def _checked_gaps(self, entity_ids: Sequence[str], t_N: Floats) -> NDArray[np.int64]:
        """Return how many grid steps lie empty before each sample; refuse times that go back."""
        before_N = np.array(
            [
                self._last_s_E[self._slots[name]] if name in self._slots else -np.inf
                for name in entity_ids
            ]
        )
        if self.step_s is None:
            advance_N = np.where(t_N > before_N, 1.0, 0.0)
        else:
            advance_N = _grid_step(t_N, self.step_s) - _grid_step(before_N, self.step_s)
        if (advance_N < 1).any():
            at = int(np.argmax(advance_N < 1))
            raise OutOfRangeError(
                field="ts_s",
                got=float(t_N[at]),
                expected=f"a later step than {before_N[at]} s, the last of {entity_ids[at]!r}",
                remedy="Send each entity's samples in order of time, one per grid step.",
            )
        skipped_N = np.minimum(advance_N - 1, self.spec.history)
        return np.where(np.isinf(before_N), 0, skipped_N).astype(np.int64)

    def _claim(self, entity_ids: Sequence[str]) -> NDArray[np.intp]:
        """Mark entities as just heard of, and give each a slot."""
        # Known ones first: a new one must not evict an entity of the same call.
        for name in entity_ids:
            if name in self._slots:
                self._slots.move_to_end(name)
        for name in entity_ids:
            if name not in self._slots:
                self._slots[name] = self._free_slot()
        return np.array([self._slots[name] for name in entity_ids], dtype=np.intp)

    def _free_slot(self) -> int:
        if len(self._slots) == self.max_entities:
            _, slot = self._slots.popitem(last=False)
            self.evictions += 1
        else:
            slot = len(self._slots)
            if slot == len(self._ring_ECW):
                self._grow()
        self._ring_ECW[slot] = np.nan
        self._next_E[slot] = 0
        return slot

    def _grow(self) -> None:
        more = min(max(_FIRST_SLOTS, len(self._ring_ECW)), self.max_entities - len(self._ring_ECW))
        self._ring_ECW = np.concatenate(
            [self._ring_ECW, np.full((more, *self._ring_ECW.shape[1:]), np.nan)]
        )
        self._next_E = np.concatenate([self._next_E, np.zeros(more, dtype=np.intp)])
        self._last_s_E = np.concatenate([self._last_s_E, np.full(more, -np.inf)])

    def _skip(self, slot: int, steps: int) -> None:
        """Leave `steps` empty steps in the ring of a slot."""
        at_S = (self._next_E[slot] + np.arange(steps)) % self.spec.history
        self._ring_ECW[slot, :, at_S] = np.nan
        self._next_E[slot] = (self._next_E[slot] + steps) % self.spec.history
