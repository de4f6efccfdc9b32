"""What the validation part decides for one class: blend weights, calibration, fallback.

Legend: N rows, W steps of history, H steps ahead, Q = 3 served levels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from novacron.models.bandwidth.blend import (
    ClassModel,
    Mixture,
    better_when_cold,
    choose_mixture,
    ewma_of_windows,
)
from novacron.models.bandwidth.config import BandwidthConfig, served_places
from novacron.models.bandwidth.examples import ClassData
from novacron.models.bandwidth.lstm_numpy import LstmWeights
from novacron.models.bandwidth.twin import Twin
from novacron.models.bandwidth.windows import Floats
from novacron.models.baselines import BandConfig, EwmaBand, fit_band, fit_ewma
from novacron.models.conformal import CalibrationTable
from novacron.telemetry.traces import Trace

_EVEN: Final = Mixture(twin_weight=0.5, anchor="ewma", anchor_weight=0.0, cold_by_band=False)


def fit_class_band(traces: Sequence[Trace], config: BandwidthConfig) -> EwmaBand:
    """Fit the EWMA band of a class, which is its fallback and its yardstick."""
    horizon, warm = config.horizon, config.cold_start_samples
    ewma = fit_ewma(traces, horizon=horizon, warm=warm)
    return fit_band(traces, BandConfig(half_life=ewma.half_life), horizon=horizon, warm=warm)


def choose_class(
    data: ClassData, twin: Twin, lstms: tuple[LstmWeights, ...], config: BandwidthConfig
) -> ClassModel:
    """Put a class together from members that did not see the validation part."""
    band = fit_class_band(data.split.train, config)
    draft = ClassModel(
        spec=config.features,
        linear=data.linear,
        twin=twin,
        lstms=lstms,
        served_places=served_places(config),
        mixture=_EVEN,
        band=band,
        calibration=CalibrationTable.neutral(config.horizon),
    )
    inputs, actual_NH = data.validation.inputs, data.windows.future_NH
    bandwidth_NW = data.windows.channels["bandwidth_mbps"]
    level_N = ewma_of_windows(bandwidth_NW, band.half_life)
    twin_NHQ, lstm_NHQ = draft.twin_mbps(inputs), draft.lstm_mbps(inputs)
    anchors = draft.anchors_mbps(inputs, level_N)
    warm_N = data.windows.origin_N >= config.cold_start_samples - 1
    chosen, calibration = choose_blend(
        actual_NH[warm_N],
        twin_NHQ[warm_N],
        lstm_NHQ[warm_N],
        {name: value_NH[warm_N] for name, value_NH in anchors.items()},
    )
    raw_NHQ = chosen.combine(twin_NHQ, lstm_NHQ, anchors)
    cold_N = ~warm_N
    by_band = cold_N.any() and better_when_cold(
        actual_NH[cold_N],
        calibration.apply(raw_NHQ[cold_N]),
        draft.band_mbps(bandwidth_NW[cold_N]),
    )
    return replace(
        draft, mixture=replace(chosen, cold_by_band=bool(by_band)), calibration=calibration
    )


def choose_blend(
    actual_NH: Floats, twin_NHQ: Floats, lstm_NHQ: Floats, anchors: Mapping[str, Floats]
) -> tuple[Mixture, CalibrationTable]:
    """Choose the weights of the members and calibrate their blend, on warm origins, in Mbit/s."""
    chosen = choose_mixture(actual_NH, twin_NHQ, lstm_NHQ, anchors)
    raw_NHQ = chosen.combine(twin_NHQ, lstm_NHQ, anchors)
    return chosen, CalibrationTable.fit(actual_NH, raw_NHQ)
