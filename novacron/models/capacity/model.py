"""The capacity model as it is trained, stored and served: histories in, 30 days out.

Legend: N rows (series), T history days, H days ahead, M members.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError
from novacron.models.base import Dependence, Tensors, TensorSpec
from novacron.models.capacity.boosted import Booster, features_hash
from novacron.models.capacity.calibration import Calibration
from novacron.models.capacity.config import CapacityConfig
from novacron.models.capacity.crossing import crossing_of
from novacron.models.capacity.ensemble import GridPrior, Outlook, look_ahead
from novacron.models.capacity.history import DAY_S, History, busy_hours, check_length, to_history
from novacron.models.capacity.link import choose_link
from novacron.models.capacity.members import Asked, Members
from novacron.models.capacity.prophet_member import Holidays
from novacron.models.capacity.tensors import INPUTS, KEPT_DAYS, SERVED_DAYS, output_specs
from novacron.models.tensor_checks import check_tensors
from novacron.telemetry.digest import file_sha256

Floats = NDArray[np.float64]

MANIFEST: Final = "bundle.json"
FORMAT: Final = 1
CONSTANT: Final = "constant_series"
"""The fallback of a series that never moved: the same value again."""


class CapacityModel:
    """Prior knowledge by grid, and how to forecast with it; implements `ServableModel`.

    Args:
        config: Settings.
        priors: By step of the grid in seconds.
        boosters: By step of the grid in seconds.
    """

    kind: str = "capacity"
    depends_on: ClassVar[Dependence] = "request"

    def __init__(
        self,
        config: CapacityConfig,
        priors: Mapping[int, GridPrior],
        boosters: Mapping[int, Booster],
    ) -> None:
        self.config = config
        self.priors = dict(priors)
        self.boosters = dict(boosters)
        self.features_hash = features_hash()
        self.inputs: tuple[TensorSpec, ...] = INPUTS
        self.outputs: tuple[TensorSpec, ...] = output_specs(config.members)

    def members(self) -> Members:
        """Return the members as this model asks them."""
        return Members(
            names=self.config.members,
            boosters=self.boosters,
            holidays=Holidays(country=self.config.country, subdivision=self.config.subdivision),
        )

    def outlook(
        self,
        history: History,
        horizon: int,
        *,
        high: float | None = None,
        members: Asked | None = None,
    ) -> Outlook | None:
        """Forecast a history, None where it is constant.

        Args:
            history: On hours or days.
            horizon: Steps ahead.
            high: Largest possible value, None where there is no bound.
            members: Who is asked instead of the model's own members.

        Raises:
            SchemaError: The history is too short for the horizon, or mostly missing.
            OutOfRangeError: A bounded metric is in another unit; the grid was not trained.
        """
        check_length(history, horizon)
        link = choose_link(history.value_T, high)
        if float(np.nanmax(history.value_T)) == float(np.nanmin(history.value_T)):
            return None
        if history.step_s not in self.priors:
            raise OutOfRangeError(
                field="history.step_s",
                got=history.step_s,
                expected="one of " + ", ".join(map(str, sorted(self.priors))),
            )
        prior = self.priors[history.step_s]
        return look_ahead(
            history, link, horizon, members or self.members(), prior, self.config.origins
        )

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Check one request and bring each row to its newest days; see `ServableModel.prepare`.

        Rows sampled within days become the busiest hour of each day.

        Raises:
            SchemaError: Also where a row is too short for 30 days, or mostly missing.
            OutOfRangeError: Also where a value is above the row's bound.
        """
        rows = check_tensors(tensors, self.inputs)
        demand_NT = np.full((rows, KEPT_DAYS), np.nan)
        start_N = np.zeros(rows)
        given = {name: np.asarray(value) for name, value in tensors.items()}
        for row in range(rows):
            history = _row_history(given, row)
            high = _optional(given, "high", row)
            check_length(history, SERVED_DAYS)
            choose_link(history.value_T, high)
            kept = history.since(max(len(history) - KEPT_DAYS, 0))
            demand_NT[row, KEPT_DAYS - len(kept) :] = kept.value_T
            start_N[row] = kept.start.timestamp() - (KEPT_DAYS - len(kept)) * DAY_S
        bounds = {
            name: np.array([_optional(given, name, row) or 0.0 for row in range(rows)])
            for name in ("high", "warning", "critical")
        }
        return {"days": demand_NT, "start_s": start_N, **bounds}

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Answer prepared rows, one after another: each is fitted anew. See `ServableModel`."""
        answers = [
            self._answer({name: value[row] for name, value in rows.items()})
            for row in range(len(rows["days"]))
        ]
        return {
            spec.name: np.array(
                [answer[spec.name] for answer in answers],
                dtype=object if spec.datatype == "BYTES" else np.float64,
            )
            for spec in self.outputs
        }

    def _answer(self, row: Mapping[str, Any]) -> dict[str, Any]:
        start = datetime.fromtimestamp(float(row["start_s"]), UTC)
        padded = History(value_T=np.asarray(row["days"]), start=start, step_s=DAY_S)
        history = padded.since(int(np.argmax(~np.isnan(padded.value_T))))
        outlook = self.outlook(history, SERVED_DAYS, high=float(row["high"]) or None)
        newest = float(history.value_T[~np.isnan(history.value_T)][-1])
        if outlook is None:
            courses = {name: np.full(SERVED_DAYS, newest) for name in _COURSES}
            courses["seasonal"] = courses["holiday"] = np.zeros(SERVED_DAYS)
            weights: Mapping[str, float] = {}
            path_PH = np.full((1, SERVED_DAYS), newest)
        else:
            courses, weights = courses_of(outlook), outlook.weights
            rng = np.random.default_rng(self.config.seed)
            path_PH = outlook.paths(self.config.paths, rng)
        answer: dict[str, Any] = dict(courses)
        for level in ("warning", "critical"):
            answer |= _crossing_tensors(level, float(row[level]), path_PH, newest, history.end)
        answer["member_weight"] = [weights.get(name, 0.0) for name in self.config.members]
        answer["first_day_s"] = history.end.timestamp()
        answer["fallback"] = CONSTANT if outlook is None else ""
        return answer

    def save(self, directory: Path) -> None:
        """Write `bundle.json` and the boosters' text into an empty or missing directory."""
        directory.mkdir(parents=True, exist_ok=True)
        files = {}
        for step_s, booster in self.boosters.items():
            path = directory / f"boosted_{step_s}.txt"
            path.write_text(booster.text)
            files[path.name] = file_sha256(path)
        manifest = {
            "kind": self.kind,
            "format": FORMAT,
            "features_hash": self.features_hash,
            "config": self.config.model_dump(mode="json"),
            "priors": {str(step): prior_to_dict(prior) for step, prior in self.priors.items()},
            "files": files,
        }
        (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


_COURSES: Final = (
    "value", "lower", "upper", "lower_95", "upper_95", "level", "seasonal", "holiday",
)  # fmt: skip


def courses_of(outlook: Outlook) -> dict[str, Floats]:
    """Return value, intervals, and the parts that add up to the value, in the history's unit."""
    value_H = outlook.value()
    lower_H, upper_H = outlook.interval(0.80)
    lower_95_H, upper_95_H = outlook.interval(0.95)
    terms = outlook.terms()
    level_H = outlook.link.inverse(terms["trend"])
    with_season_H = outlook.link.inverse(terms["trend"] + terms["seasonal"])
    return {
        "value": value_H,
        "lower": lower_H,
        "upper": upper_H,
        "lower_95": np.minimum(lower_95_H, lower_H),
        "upper_95": np.maximum(upper_95_H, upper_H),
        "level": level_H,
        "seasonal": with_season_H - level_H,
        "holiday": value_H - with_season_H,
    }


def _crossing_tensors(
    level: Any, threshold: float, path_PH: Floats, newest: float, end: datetime
) -> dict[str, Any]:
    """Return the answer on one threshold; -1 stands for later than the horizon, or no threshold."""
    if threshold == 0.0:
        return {f"{level}_probability": 0.0, f"{level}_days": [-1.0, -1.0, -1.0]}
    found = crossing_of(
        path_PH, level=level, threshold=threshold, newest=newest, made_at=end, step_s=DAY_S
    )
    days = [-1.0 if ahead is None else ahead for ahead in found.days.values()]
    return {f"{level}_probability": found.probability, f"{level}_days": days}


def _row_history(given: Mapping[str, NDArray[Any]], row: int) -> History:
    value_T = given["demand"][row]
    if "is_present" in given:
        present_NT = given["is_present"]
        if present_NT.shape != given["demand"].shape:
            raise SchemaError(
                field="is_present",
                got=list(present_NT.shape),
                expected=f"the shape of demand, {list(given['demand'].shape)}",
            )
        value_T = np.where(present_NT[row], value_T, np.nan)
    start = datetime.fromtimestamp(float(given["start_s"][row]), UTC)
    history = to_history(value_T, step_s=float(given["step_s"][row]), start=start)
    return history if history.step_s == DAY_S else busy_hours(history)


def _optional(given: Mapping[str, NDArray[Any]], name: str, row: int) -> float | None:
    return float(given[name][row]) if name in given else None


def prior_to_dict(prior: GridPrior) -> dict[str, Any]:
    """Return a prior as JSON values."""
    return {
        "horizon": prior.horizon,
        "weights": dict(prior.weights),
        "trust": prior.trust,
        "error_per_change": prior.error_per_change,
        "short": prior.short.to_dict(),
        "long": prior.long.to_dict(),
    }


def prior_from_dict(stored: Mapping[str, Any]) -> GridPrior:
    """Read what `prior_to_dict` returned.

    Raises:
        KeyError, ValueError, TypeError: Something is missing or not possible.
    """
    prior = GridPrior(
        horizon=int(stored["horizon"]),
        weights={str(name): float(weight) for name, weight in stored["weights"].items()},
        trust=float(stored["trust"]),
        error_per_change=float(stored["error_per_change"]),
        short=Calibration.from_dict(stored["short"]),
        long=Calibration.from_dict(stored["long"]),
    )
    if prior.horizon < 1 or not 0 < prior.error_per_change < float("inf"):
        raise ValueError("the horizon and the typical error must be positive")
    return prior
