"""Losses of the versions of a rollout, from the prediction log and the outcomes told for it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd

from novacron.errors import DatasetNotFoundError
from novacron.monitoring.predictions.join import join_actuals, read_predictions
from novacron.monitoring.rollouts.counts import UNITS, ArmCounts
from novacron.monitoring.rollouts.split import bucket_of
from novacron.monitoring.rollouts.state import Rollout
from serve_apps.request_path import CANDIDATE, STABLE

_ROLES: Final = (STABLE, CANDIDATE)


class LoggedOutcomes:
    """Counts losses of the stage that a rollout is in.

    Args:
        directory: The folder of the prediction log, which all replicas share.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __call__(self, rollout: Rollout) -> dict[str, ArmCounts]:
        """Return the outcomes of the predictions made in this stage, by version.

        The loss of a prediction is the mean absolute error over its steps, in the model's own unit.
        """
        since_s = stage_began_s(rollout)
        since = datetime.fromtimestamp(since_s, UTC)
        try:
            table = read_predictions(
                self._directory,
                model=rollout.model,
                first_day=since.date().isoformat(),
                since=since,
                with_inputs=False,
            )
            joined = join_actuals(table, self._directory)
        except DatasetNotFoundError:
            return {}
        return count_losses(joined, rollout, since_s)


def stage_began_s(rollout: Rollout) -> float:
    """Return when the present stage began, in seconds since 1970."""
    began = [one.at_s for one in rollout.decisions if one.what in ("start", "stage")]
    return began[-1] if began else rollout.started_at_s


def count_losses(joined: pd.DataFrame, rollout: Rollout, since_s: float) -> dict[str, ArmCounts]:
    """Count the losses of a frame as `join_actuals` returns it."""
    since = pd.Timestamp(since_s, unit="s", tz="UTC")
    made_at = pd.to_datetime(joined["made_at"], utc=True)
    mine = joined[(made_at >= since) & joined["role"].isin(_ROLES)]
    losses = (
        mine.assign(loss=mine["error"].abs())
        .groupby("prediction_id", observed=True)
        .agg(version=("version", "first"), entity=("entity", "first"), loss=("loss", "mean"))
    )
    found: dict[str, ArmCounts] = {}
    for version in (rollout.stable, *rollout.tried):
        arm = found.setdefault(version, ArmCounts())
        of_version = losses[losses["version"] == version]
        for entity, loss in zip(of_version["entity"], of_version["loss"], strict=True):
            arm.observe_outcome(float(loss))
            if _has_unit(rollout, entity):
                unit = int(bucket_of(str(entity), f"{rollout.id}/unit") * UNITS)
                arm.observe_unit(unit, float(loss))
    return found


def _has_unit(rollout: Rollout, entity: Any) -> bool:
    plan = rollout.plan
    return (
        plan.mode == "ab"
        and plan.measure == "outcome"
        and isinstance(entity, str)
        and entity != ""
    )
