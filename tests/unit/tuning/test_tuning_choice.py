"""Which setting is taken: only one whose gain is sure on groups that the search never saw."""

import numpy as np
from toy_objective import SPACE

from tuning.choice import decide, pareto_numbers
from tuning.journal import Record, Spec
from tuning.objective import Metric
from tuning.scores import GroupScores


def run_of(number, losses, seed=1):
    spec = Spec(
        number=number, phase="untouched", values=SPACE.default(), seed=seed,
        block="untouched", budget=None, origin="finalist",
    )  # fmt: skip
    groups = tuple(f"g{place}" for place in range(len(losses)))
    scores = GroupScores(groups=groups, upper=tuple(losses), lower=(1.0,) * len(losses))
    return Record(spec=spec, state="finished", values=spec.values, scores={"wape": scores})


def test_a_gain_within_the_noise_is_no_gain():
    rng = np.random.default_rng(3)
    default = rng.normal(5.0, 1.0, 30)
    winner = default + rng.normal(-0.05, 1.0, 30)

    found = decide([run_of(0, default), run_of(4, winner)], 4, (Metric(name="wape"),), rng)

    assert found.number == 0
    assert found.winner == 4
    assert "No gain is shown" in found.reason


def test_a_single_group_never_shows_a_gain():
    rng = np.random.default_rng(3)

    found = decide([run_of(0, [5.0]), run_of(4, [1.0])], 4, (Metric(name="wape"),), rng)

    assert found.number == 0


def test_where_higher_is_better_the_sign_of_the_gain_turns():
    rng = np.random.default_rng(3)
    metrics = (Metric(name="wape", better="higher"),)
    runs = [run_of(0, [1.0, 2.0, 1.5]), run_of(4, [2.0, 3.0, 2.4])]

    assert decide(runs, 4, metrics, rng).number == 4
    assert decide(runs, 4, (Metric(name="wape"),), rng).number == 0


def test_nothing_on_the_front_is_beaten():
    def trial(number, wape, size):
        spec = Spec(
            number=number, phase="search", values=SPACE.default(), seed=1, block="search",
            budget=None, origin="tpe",
        )  # fmt: skip
        scores = {"wape": GroupScores.of_one(wape), "size": GroupScores.of_one(size)}
        return Record(spec=spec, state="finished", values=spec.values, scores=scores)

    records = [trial(0, 3.0, 1.0), trial(1, 1.0, 3.0), trial(2, 2.0, 2.0), trial(3, 3.0, 3.0)]

    assert pareto_numbers(records, (Metric(name="wape"), Metric(name="size"))) == [0, 1, 2]
