"""The bandwidth forecaster as it is served: checked tensors in, calibrated quantiles out.

Legend: N rows, W steps of history (newest last), H steps ahead, Q = 3 served levels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, cast

import numpy as np
from numpy.typing import NDArray

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.errors import ArtifactError, SchemaError
from novacron.features.fingerprint import fingerprint
from novacron.models.bandwidth.blend import ClassModel, ewma_of_windows
from novacron.models.bandwidth.bundle_files import write_bundle
from novacron.models.bandwidth.config import POOLED, BandwidthConfig
from novacron.models.bandwidth.windows import Floats, encode
from novacron.models.base import Dependence, Tensors, TensorSpec
from novacron.models.conformal import OnlineConformal
from novacron.models.tensor_checks import check_tensors

_CLASS: Final = "path_class"
_LONGEST_REQUEST: Final = 65_536


def input_specs(config: BandwidthConfig) -> tuple[TensorSpec, ...]:
    """Return the tensors of a request."""
    specs = []
    for name in config.features.channels:
        column = LINK_SCHEMA[name]
        required = name == "bandwidth_mbps"
        hold = "" if required else "; hold the last value where a sample lacks it"
        specs.append(
            TensorSpec(
                name=name,
                datatype="FP64",
                shape=(-1, -1),
                unit=column.unit,
                doc=f"{column.doc}, oldest first, newest last{hold}",
                low=column.low,
                high=column.high,
                required=required,
            )
        )
    specs.append(
        TensorSpec(
            name=_CLASS,
            datatype="BYTES",
            shape=(-1,),
            unit="name",
            doc=f"class of each path; any other name, or none, is answered by {POOLED!r}",
            required=False,
        )
    )
    return tuple(specs)


def output_specs(config: BandwidthConfig) -> tuple[TensorSpec, ...]:
    """Return the tensors of an answer."""
    steps = (-1, config.horizon)
    return (
        TensorSpec(name="value_mbps", datatype="FP64", shape=steps, unit="Mbit/s", doc="median"),
        TensorSpec(
            name="lower_mbps", datatype="FP64", shape=steps, unit="Mbit/s", doc="80 % interval"
        ),
        TensorSpec(
            name="upper_mbps", datatype="FP64", shape=steps, unit="Mbit/s", doc="80 % interval"
        ),
        TensorSpec(
            name="quantiles_mbps",
            datatype="FP64",
            shape=(*steps, 3),
            unit="Mbit/s",
            doc="quantiles .1, .5, .9",
        ),
        TensorSpec(
            name="fallback",
            datatype="BYTES",
            shape=(-1,),
            unit="name",
            doc="baseline that answered instead of the model, or empty",
        ),
    )


class BandwidthModel:
    """A fitted forecaster of all path classes; implements `ServableModel`.

    Args:
        config: What it was fitted with.
        classes: One model per path class, `POOLED` among them.

    Raises:
        ArtifactError: `POOLED` is missing.
    """

    kind: str = "bandwidth"
    depends_on: ClassVar[Dependence] = "request"
    fallback_name: ClassVar[str] = "ewma_band"

    def __init__(self, config: BandwidthConfig, classes: Mapping[str, ClassModel]) -> None:
        if POOLED not in classes:
            raise ArtifactError(f"The model lacks the class {POOLED!r}.", remedy="Train it again.")
        self.config = config
        self.classes = dict(classes)
        self.features_hash = fingerprint(config.features)
        self.inputs = input_specs(config)
        self.outputs = output_specs(config)
        self._names = tuple(self.classes)

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Check one request and cut it to windows; see `ServableModel.prepare`.

        Histories longer than the window lose their oldest samples, shorter ones are padded with
        missing ones on the left. `path_class` becomes the number of the class that answers.
        """
        rows = check_tensors(tensors, self.inputs)
        steps = tensors["bandwidth_mbps"].shape[1]
        if steps > _LONGEST_REQUEST:
            raise SchemaError(
                field="bandwidth_mbps",
                got=f"{steps} steps",
                expected=f"at most {_LONGEST_REQUEST} steps",
                remedy=f"Only the newest {self.config.features.history} are read.",
            )
        prepared: dict[str, NDArray[np.generic]] = {}
        for name in self.config.features.channels:
            prepared[name] = self._window(name, tensors, (rows, steps))
        prepared[_CLASS] = self._class_numbers(tensors.get(_CLASS), rows)
        return prepared

    def _window(self, name: str, tensors: Tensors, shape: tuple[int, int]) -> Floats:
        history = self.config.features.history
        out_NW = np.full((shape[0], history), np.nan)
        if name in tensors:
            given = cast(Floats, tensors[name])
            if given.shape != shape:
                raise SchemaError(
                    field=name,
                    got=list(given.shape),
                    expected=f"the shape of bandwidth_mbps, {list(shape)}",
                )
            kept = given[:, -history:]
            out_NW[:, history - kept.shape[1] :] = kept
        return out_NW

    def _class_numbers(self, names_N: NDArray[np.generic] | None, rows: int) -> NDArray[np.int64]:
        pooled = self._names.index(POOLED)
        if names_N is None:
            return np.full(rows, pooled)
        place = {name: number for number, name in enumerate(self._names)}
        return np.array([place.get(str(name), pooled) for name in names_N], dtype=np.int64)

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Answer prepared rows, class by class; see `ServableModel.predict`."""
        class_N = cast(NDArray[np.int64], rows[_CLASS])
        channels = {name: cast(Floats, rows[name]) for name in self.config.features.channels}
        q_NHQ = np.empty((len(class_N), self.config.horizon, 3))
        fallback_N = np.full(len(class_N), "", dtype=object)
        for number in np.unique(class_N):
            own = np.flatnonzero(class_N == number)
            part = self.classes[self._names[number]]
            windows = {name: x_NW[own] for name, x_NW in channels.items()}
            q_NHQ[own], cold_N = self.quantiles(part, windows)
            fallback_N[own[cold_N]] = self.fallback_name
        return _outputs(q_NHQ, fallback_N)

    def answer_by_band(
        self, bandwidth_NT: Floats, names_N: NDArray[np.generic] | None
    ) -> dict[str, NDArray[np.generic]]:
        """Answer checked histories by the EWMA band of their class alone, all rows flagged.

        Args:
            bandwidth_NT: Mbit/s, newest last.
            names_N: Class of each row; None: `POOLED`.
        """
        window_NW = bandwidth_NT[:, -self.config.features.history :]
        class_N = self._class_numbers(names_N, len(window_NW))
        q_NHQ = np.empty((len(window_NW), self.config.horizon, 3))
        for number in np.unique(class_N):
            own = np.flatnonzero(class_N == number)
            q_NHQ[own] = self.classes[self._names[number]].band_mbps(window_NW[own])
        return _outputs(q_NHQ, np.full(len(window_NW), self.fallback_name, dtype=object))

    def quantiles(
        self, part: ClassModel, channels: Mapping[str, Floats]
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the calibrated quantiles of windows of one class, and which are fallbacks.

        Args:
            part: The class.
            channels: Channel to x_NW, left-padded with NaN; channels without data may be absent.

        Returns:
            q_NHQ in Mbit/s, and a mask of the rows that the EWMA band answered.
        """
        level_N = ewma_of_windows(channels["bandwidth_mbps"], part.band.half_life)
        raw_NHQ = part.raw_mbps(part.attached(encode(self.config, channels)), level_N)
        return self._finish(part, channels["bandwidth_mbps"], raw_NHQ)

    def _finish(
        self, part: ClassModel, bandwidth_NW: Floats, raw_NHQ: Floats
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Calibrate, and let the band answer cold histories where it measured better."""
        q_NHQ = part.calibration.apply(raw_NHQ)
        known_N = np.isfinite(bandwidth_NW).sum(axis=1)
        cold_N = (known_N < self.config.cold_start_samples) & part.mixture.cold_by_band
        if cold_N.any():
            q_NHQ[cold_N] = part.band_mbps(bandwidth_NW[cold_N])
        return q_NHQ, cold_N

    def by_member(self, path_class: str, channels: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return what each member and each stage of the blend says of windows of one class.

        Returns:
            q_NHQ in Mbit/s under `lightgbm`, `lstm` (mean over seeds), `lstm_0`, ... (one seed),
            `linear` (one value for all levels), `raw` (blend before calibration), `offline` (as `predict` answers); and under
            `fallback` 1.0 for rows that the EWMA band answered, else 0.0.
        """
        part = self.classes.get(path_class, self.classes[POOLED])
        inputs = part.attached(encode(self.config, channels))
        found = {f"lstm_{i}": part.lstm_mbps(inputs, i) for i in range(len(part.lstms))}
        found["lstm"] = np.mean(list(found.values()), axis=0)
        found["lightgbm"] = part.twin_mbps(inputs)
        level_N = ewma_of_windows(channels["bandwidth_mbps"], part.band.half_life)
        anchors = part.anchors_mbps(inputs, level_N)
        found["raw"] = part.mixture.combine(found["lightgbm"], found["lstm"], anchors)
        found["linear"] = np.repeat(anchors["linear"][:, :, None], 3, axis=2)
        found["offline"], cold_N = self._finish(part, channels["bandwidth_mbps"], found["raw"])
        found["fallback"] = cold_N.astype(np.float64)
        return found

    def online(self, path_class: str, *, paths: int = 1) -> OnlineConformal:
        """Return a fresh online calibration for paths of a class, to be fed with outcomes."""
        part = self.classes.get(path_class, self.classes[POOLED])
        return OnlineConformal(part.calibration, paths=paths, gamma=self.config.conformal.gamma)

    def save(self, directory: Path) -> None:
        """Write the bundle into an empty or missing directory; see `bundle_files`."""
        facts = {
            "kind": self.kind,
            "features_hash": self.features_hash,
            "config": self.config.model_dump(mode="json"),
        }
        write_bundle(directory, self.classes, facts)


def _outputs(q_NHQ: Floats, fallback_N: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    return {
        "value_mbps": q_NHQ[..., 1].copy(),
        "lower_mbps": q_NHQ[..., 0].copy(),
        "upper_mbps": q_NHQ[..., 2].copy(),
        "quantiles_mbps": q_NHQ,
        "fallback": fallback_N,
    }
