"""Hand rules: what a careful operator, and NovaCron's own code, would set from telemetry.

They set the knobs they know and leave the others as shipped.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from novacron.errors import UnknownNameError
from novacron.params.encode import Float32, encode_values
from novacron.params.groups import CODECS, parameter_group
from novacron.params.spec import ParameterGroup
from rl_envs.baselines.base import BaseController, latest
from rl_envs.physics.quantities import FloatArray
from rl_envs.vector_env import DwcpVectorEnv

Setting = Mapping[str, FloatArray]
Rule = Callable[[Mapping[str, FloatArray], Mapping[str, FloatArray]], Setting]
"""Telemetry and the numbers in force, by name, to the numbers of some knobs."""


def stream_rule(telemetry: Mapping[str, FloatArray], now: Mapping[str, FloatArray]) -> Setting:
    """Return NovaCron's own count: bandwidth in Mbit/s over a fifth of the delay in ms.

    It opens fewer streams the longer the round trip.
    """
    del now
    streams = telemetry["goodput_mbps"] / (0.2 * telemetry["min_rtt_ms"])
    return {"streams": np.clip(np.rint(streams), 4.0, 512.0)}


def bbr_one_stream(telemetry: Mapping[str, FloatArray], now: Mapping[str, FloatArray]) -> Setting:
    """Return one stream of bbr with the quickest zstd worth its processor time."""
    del now
    one = np.ones_like(telemetry["goodput_mbps"])
    return {"streams": one, "congestion_algorithm": one, "codec": CODECS.index("zstd-1") * one}


def adaptive_zstd(telemetry: Mapping[str, FloatArray], now: Mapping[str, FloatArray]) -> Setting:
    """Return one level more where the sockets are the bottleneck, one less where the encoder is.

    The rule of `zstd --adapt`, which watches its output queue, over zstd's own levels.
    """
    lowest, highest = CODECS.index("zstd--5"), CODECS.index("zstd-19")
    waits = telemetry["send_blocked_ratio"] > 0.5
    busy = telemetry["encode_busy_ratio"] > 0.8
    level = now["codec"] + np.where(waits, 1.0, np.where(busy, -1.0, 0.0))
    return {"codec": np.clip(level, lowest, highest)}


RULES: Final[dict[str, dict[str, Rule]]] = {
    "amst_transport": {"stream_rule": stream_rule, "bbr_1_stream": bbr_one_stream},
    "hde_compression": {"zstd_adapt": adaptive_zstd, "zstd_1": bbr_one_stream},
    "joint": {
        "stream_rule": stream_rule,
        "zstd_adapt": adaptive_zstd,
        "bbr_1_stream_zstd_1": bbr_one_stream,
    },
}
"""Rules of each target that has any."""


class HandRule(BaseController):
    """Applies one of `RULES` at every decision.

    Raises:
        UnknownNameError: The target has no rule of that name.
    """

    def __init__(self, target: str, name: str) -> None:
        known = RULES.get(target, {})
        if name not in known:
            raise UnknownNameError(kind=f"rule for {target}", got=name, known=tuple(known))
        self.name = name
        self._rule = known[name]
        self._target = target
        self._values_ND: FloatArray | None = None

    def begin(self, env: DwcpVectorEnv) -> None:
        """Start from what ships."""
        self._values_ND = env.hidden_state().default_values.copy()

    def act(self, observation_NO: Float32) -> Float32:
        """Return the rule's setting; knobs it does not know stay as shipped."""
        group = parameter_group(self._target)
        if self._values_ND is None:
            raise AssertionError("begin() comes first")
        now = {name: self._values_ND[:, i] for i, name in enumerate(group.names)}
        setting = self._rule(latest(self._target, observation_NO), now)
        self._values_ND = _updated(group, self._values_ND, setting)
        return encode_values(group, self._values_ND).astype(np.float32)


def _updated(group: ParameterGroup, values_ND: FloatArray, setting: Setting) -> FloatArray:
    updated = values_ND.copy()
    for column, name in enumerate(group.names):
        if name in setting:
            updated[:, column] = setting[name]
    return updated
