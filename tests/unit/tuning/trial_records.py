"""Records of trials as a journal holds them, for tests."""

from toy_objective import SPACE

from tuning.journal import Record, Report, Spec
from tuning.objective import Metric
from tuning.scores import GroupScores

METRICS = (Metric(name="wape"),)


def spec_of(number=1, values=None, **changes):
    chosen = SPACE.default() if values is None else SPACE.check(values)
    given = {"phase": "search", "seed": 7, "block": "search", "budget": 6, "origin": "tpe"}
    return Spec(number=number, values=chosen, **(given | changes))


def scores_of(value):
    return {"wape": GroupScores.of_one(value)}


def record_of(number, value, state="finished", values=None, curve=()):
    spec = spec_of(number, values)
    reports = tuple(
        Report(step=step, metrics={"wape": one}, values=spec.values)
        for step, one in enumerate(curve, start=1)
    )
    scores = scores_of(value) if state == "finished" else {}
    return Record(spec=spec, state=state, values=spec.values, curve=reports, scores=scores)
