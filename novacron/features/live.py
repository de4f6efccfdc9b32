"""Features and model inputs of live samples: the same function as in training, on their windows.

Legend: N entities, S samples of one entity, F features.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from novacron.errors import SchemaError
from novacron.features.kernels import Floats
from novacron.features.spec import FeatureSpec
from novacron.features.windows import window_features
from novacron.telemetry.blocks import NO_TS_US, US
from novacron.telemetry.live.store import SampleStore


def live_features(
    spec: FeatureSpec, store: SampleStore, table: str, entities: Sequence[str]
) -> Floats:
    """Compute the features of entities right after the newest sample of each.

    Every sample is one step, in order of time; what a sample lacks is missing. They equal
    `trace_features` of the same samples at the last one.

    Args:
        spec: What to compute.
        store: Where the samples are.
        table: `link` or `node`.
        entities: N of them; one without samples has missing features and counts of none.

    Returns:
        x_NF, columns in the order of `spec.names`.

    Raises:
        SchemaError: The store keeps a shorter history than the spec reads, or not its channels.
    """
    config = store.config
    lacking = sorted(set(spec.channels) - set(config.metrics.get(table, ())))
    if lacking:
        raise SchemaError(
            field="channels",
            got=", ".join(lacking),
            expected=f"metrics that the store keeps: {', '.join(config.metrics.get(table, ()))}",
            remedy=f"Add them to {table}_metrics.",
        )
    if spec.history > config.samples_per_entity:
        raise SchemaError(
            field="history",
            got=spec.history,
            expected=f"at most {config.samples_per_entity}, the samples kept of each entity",
            remedy="Raise samples_per_entity.",
        )
    newest_us, windows = store.windows(table, entities, spec.history)
    ts_s = np.where(newest_us == NO_TS_US, np.nan, newest_us / US)
    channels = {name: windows[name] for name in spec.channels}
    return window_features(spec, channels, ts_s if spec.calendar else None)


def hold_last(value_S: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Fill gaps by the value before, and those at the start by the first one.

    That is what a request does where a sample lacks an input. None where nothing was measured.
    """
    known = np.isfinite(value_S)
    if not known.any():
        return None
    place = np.maximum.accumulate(np.where(known, np.arange(len(value_S)), 0))
    return np.where(np.isfinite(value_S[place]), value_S[place], value_S[known][0])
