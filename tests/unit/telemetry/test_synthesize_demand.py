"""Generated demand: the same seed, the same bytes, and the causes that were asked for."""

import numpy as np
import pytest

from novacron.telemetry.synthesize.demand import DemandKind, generate_demand

QUIET = DemandKind(
    growth_per_year=0, weekly=0, daily=0, yearly=0, wander=0, noise=0, shift_probability=0
)


def test_a_series_does_not_depend_on_how_many_there_are():
    few, many = (generate_demand(4, series=n, days=50) for n in (2, 5))

    assert few.equals(many.iloc[:, :2])
    assert not few.equals(generate_demand(5, series=2, days=50))


def test_demand_is_positive_and_hours_are_hours():
    hours = generate_demand(1, series=3, days=20, step_s=3600)

    assert len(hours) == 480
    assert (hours.index[1] - hours.index[0]).total_seconds() == 3600
    assert (hours > 0).all().all()


def test_without_causes_demand_is_constant():
    frame = generate_demand(2, series=3, days=40, kind=QUIET)

    assert np.allclose(frame / frame.iloc[0], 1.0)


@pytest.mark.parametrize(("cause", "strength"), [("weekly", 0.3), ("noise", 0.2), ("wander", 0.3)])
def test_each_cause_alone_moves_it(cause, strength):
    kind = DemandKind(**{**dict.fromkeys(QUIET.__dataclass_fields__, 0.0), cause: strength})

    frame = np.log(generate_demand(2, series=8, days=70, kind=kind))

    assert (frame.std() > 0.02).all()
    if cause == "weekly":
        np.testing.assert_allclose(frame.iloc[:7].to_numpy(), frame.iloc[7:14].to_numpy())
