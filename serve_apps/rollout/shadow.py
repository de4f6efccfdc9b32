"""Asks the other version too, unheard, and compares: the caller's answer is out already.

Bounded: while too many comparisons wait, further ones are dropped and counted. A kept answer will not
do and no baseline stands in: the version itself is what is looked at.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import (
    DeadlineExceededError,
    InvalidInputError,
    ModelNotFoundError,
    NotReadyError,
    OverloadedError,
)
from novacron.monitoring.rollouts.counts import ArmCounts
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.state import Rollout
from serve_apps.asking import Asked, Asking
from serve_apps.host import ServedModel
from serve_apps.messages import InferAnswer
from serve_apps.metrics import Timing
from serve_apps.recording import Recorder
from serve_apps.request_path import CANDIDATE, SHADOW, STABLE, Finished
from serve_apps.rollout.tally import ReplicaTally, count_answer
from serve_apps.rollout.traffic import Finder

logger = logging.getLogger(__name__)

MAX_PENDING: Final = 16
TIMEOUT_S: Final = 10.0
_OK: Final = 200
_NO_FAULT: Final = (DeadlineExceededError, NotReadyError, ModelNotFoundError, InvalidInputError)


class ShadowComparison:
    """Compares answers of both versions of a rollout; an observer of the data plane.

    Args:
        host: The loaded versions.
        asking: How a version is asked.
        tally: Whose rollouts are compared, and where it is counted.
        clock: Seconds, that of the data plane.
        uniform: Draws from [0, 1).
        max_pending: Comparisons that may wait at once.
        recorder: Keeps what the other version said, under the id of the answer that was heard.
    """

    def __init__(
        self,
        host: Finder,
        asking: Asking,
        tally: ReplicaTally,
        clock: Callable[[], float] = time.monotonic,
        *,
        uniform: Callable[[], float] = random.random,
        max_pending: int = MAX_PENDING,
        recorder: Recorder | None = None,
    ) -> None:
        self._host = host
        self._asking = asking
        self._tally = tally
        self._clock = clock
        self._uniform = uniform
        self._max_pending = max_pending
        self._recorder = recorder
        self._pending: set[asyncio.Task[None]] = set()

    def observe(self, finished: Finished) -> None:
        """Decide whether this answer is compared, and have it done later."""
        name, asked = finished.served.name, finished.asked
        rollout = self._tally.live(name)
        if rollout is None or finished.role not in (STABLE, CANDIDATE):
            return
        if finished.status != _OK or asked is None or asked.baseline or finished.request is None:
            return
        if self._uniform() >= rollout.plan.compare_share:
            return
        tried = self._tried_of(rollout, finished)
        arm = self._tally.arm(name, tried)
        if arm is None:
            return
        if len(self._pending) >= self._max_pending:
            arm.dropped += 1
            return
        task = asyncio.get_running_loop().create_task(self._compare(finished, rollout, arm, tried))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def settle(self) -> None:
        """Wait for the comparisons that are under way."""
        await asyncio.gather(*self._pending)

    def _tried_of(self, rollout: Rollout, finished: Finished) -> str:
        """Tell which tried version is compared: the one that answered, or any of them."""
        if finished.served.version in rollout.tried:
            return finished.served.version
        return rollout.tried[int(self._uniform() * len(rollout.tried))]

    async def _compare(
        self, finished: Finished, rollout: Rollout, arm: ArmCounts, tried: str
    ) -> None:
        is_stable = finished.served.version == rollout.stable
        other = tried if is_stable else rollout.stable
        if finished.request is None or finished.asked is None:
            return
        is_shadow = rollout.plan.mode == "shadow"
        try:
            served = self._host.get(finished.served.name, other)
            asked = await self._asking.ask(
                served,
                finished.request,
                self._clock() + TIMEOUT_S,
                cached=False,
                fallback=False,
            )
        except (*_NO_FAULT, OverloadedError) as error:
            arm.dropped += 1
            if is_shadow and isinstance(error, DeadlineExceededError):
                arm.requests += 1
                arm.errors += 1
            return
        except Exception:  # noqa: BLE001  a model may raise anything; it is what is looked for
            arm.compared += 1
            arm.differing += is_stable
            arm.requests += is_shadow
            arm.errors += is_shadow
            return
        arm.compared += 1
        arm.differing += differ(finished.asked.tensors, asked.tensors, rollout.plan)
        if is_shadow:
            self._count_shadow(arm, asked)
        if self._recorder is not None and finished.prediction_id:
            self._record(self._recorder, served, finished, asked)

    @staticmethod
    def _record(recorder: Recorder, served: ServedModel, finished: Finished, asked: Asked) -> None:
        if finished.request is None:
            return
        answer = InferAnswer(
            model_name=served.name,
            model_version=served.version,
            tensors=asked.tensors,
            prediction_id=finished.prediction_id,
        )
        timing = Timing(
            decode_s=0.0, queue_s=asked.queue_s, predict_s=asked.predict_s, encode_s=0.0
        )
        recorder.record(served, finished.request, answer, timing, role=SHADOW)

    @staticmethod
    def _count_shadow(arm: ArmCounts, asked: Asked) -> None:
        arm.requests += 1
        count_answer(arm, asked)
        arm.observe_latency(asked.queue_s + asked.predict_s)


def differ(
    one: Mapping[str, NDArray[np.generic]],
    other: Mapping[str, NDArray[np.generic]],
    plan: RolloutPlan,
) -> bool:
    """Tell whether two answers are farther apart than a plan tolerates, in any number of any row.

    Numbers alone are compared: sentences may change with every version.
    """
    for name, left in one.items():
        if left.dtype.kind not in "fiub":
            continue
        right = other.get(name)
        if right is None or right.shape != left.shape:
            return True
        a, b = left.astype(np.float64), right.astype(np.float64)
        allowed = plan.tolerance_ratio * np.maximum(np.abs(a), np.abs(b)) + plan.tolerance_abs
        # Not `>`: what is no number differs from everything.
        if not (np.abs(a - b) <= allowed).all():
            return True
    return False
