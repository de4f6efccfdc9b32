"""Finds a target by the name of its group of knobs."""

from collections.abc import Callable
from typing import Any, Final

from novacron.errors import UnknownNameError
from rl_envs.scenarios import SPLITS
from rl_envs.targets.acp import AcpTarget
from rl_envs.targets.amst import AmstTarget
from rl_envs.targets.base import Target
from rl_envs.targets.hde import HdeTarget
from rl_envs.targets.itp import ItpTarget
from rl_envs.targets.joint import JointTarget
from rl_envs.targets.pba import PbaTarget

# Targets that work on data take the side of the split their corpora come from.
TARGETS: Final[dict[str, Callable[[str], Target[Any, Any]]]] = {
    "hde_compression": HdeTarget,
    "amst_transport": lambda _: AmstTarget(),
    "pba_prediction": lambda _: PbaTarget(),
    "acp_consensus": lambda _: AcpTarget(),
    "itp_partition": lambda _: ItpTarget(),
    "joint": JointTarget,
}


def target_of(name: str, split: str = "train") -> Target[Any, Any]:
    """Return a target whose data come from one side of the split.

    Raises:
        UnknownNameError: No such target or split.
    """
    if name not in TARGETS:
        raise UnknownNameError(kind="target", got=name, known=tuple(TARGETS))
    if split not in SPLITS:
        raise UnknownNameError(kind="split", got=split, known=tuple(SPLITS))
    return TARGETS[name](split)
