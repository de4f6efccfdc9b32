"""The simulated WAN in which the DWCP optimizer is trained.

Importing this package registers the environments `NovaCron/DWCP-<target>-v0` with Gymnasium, each
with a batched form: `gymnasium.make_vec(id, 256, vectorization_mode="vector_entry_point")`.
"""

from typing import Final

import gymnasium as gym

_CLASSES: Final = {
    "hde_compression": "HdeCompression",
    "amst_transport": "AmstTransport",
    "pba_prediction": "PbaPrediction",
    "acp_consensus": "AcpConsensus",
    "itp_partition": "ItpPartition",
    "joint": "Joint",
}

ENVIRONMENTS: Final = {target: f"NovaCron/DWCP-{target}-v0" for target in _CLASSES}
"""Environment id of each target."""

for _target, _name in _CLASSES.items():
    gym.register(
        id=ENVIRONMENTS[_target],
        entry_point=f"rl_envs.environments:{_name}Env",
        vector_entry_point=f"rl_envs.environments:{_name}VectorEnv",
    )
