"""What the components of a score say together."""

import numpy as np
import pytest

from novacron.models.anomaly.combine import combined
from novacron.models.anomaly.config import AnomalyConfig, ForestConfig
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.injections import INJECTION_KINDS, inject

OLD = 10_000
DAY = 288


def one(components, first=OLD, day=DAY):
    return float(combined(np.array([components], dtype=float), first, day)[0])


def test_the_surprise_of_components_that_agree_is_theirs():
    assert one([3, 3, 3, 3, 3, 3, 3, 0]) == pytest.approx(3.0)


def test_the_surprise_of_all_components_but_the_last_is_a_little_below_their_mean():
    spread = one([1, 2, 3, 4, 5, 6, 0, 0])

    assert spread == pytest.approx(
        ((1 + 2**0.9 + 3**0.9 + 4**0.9 + 5**0.9 + 6**0.9) / 7) ** (1 / 0.9)
    )
    assert 2.9 < spread < 3.0


def test_one_component_beside_itself_counts_no_more_than_eight():
    assert one([12, 0, 0, 0, 0, 0, 0, 0]) == one([8, 0, 0, 0, 0, 0, 0, 0])


def test_a_run_of_equal_samples_counts_half_where_that_is_more():
    assert one([1, 1, 1, 1, 1, 1, 1, 8]) == 4.0
    assert one([3, 3, 3, 3, 3, 3, 3, 2]) == pytest.approx(3.0)


@pytest.mark.parametrize(("day", "end"), [(288, 576), (1440, 1024), (1, 2)])
def test_three_quarters_count_while_a_metric_is_young(day, end):
    assert one([4] * 7 + [0], first=end - 1, day=day) == pytest.approx(3.0)
    assert one([4] * 7 + [0], first=end, day=day) == pytest.approx(4.0)


def test_a_stretch_is_combined_as_its_samples_are():
    rng = np.random.default_rng(0)
    components = rng.uniform(0, 12, (700, 8))

    whole = combined(components, 0, DAY)

    alone = [combined(components[at : at + 1], at, DAY)[0] for at in range(700)]
    np.testing.assert_array_equal(whole, alone)


@pytest.mark.parametrize("kind", INJECTION_KINDS)
def test_every_kind_of_injected_anomaly_is_found_from_a_cold_start(kind):
    rng = np.random.default_rng(5)
    t = np.arange(2000)
    normal = 40 + 10 * np.sin(2 * np.pi * t / DAY) + rng.normal(0, 2, len(t))
    changed, (made,) = inject(normal, rng, day_samples=DAY, quiet_samples=1000, kinds=(kind,))
    small = AnomalyConfig(forest=ForestConfig(trees=16, subspace_trees=8, samples=128))

    answer = AnomalyDetector(small).detect({"ts": 300.0 * t, "value": changed})

    found = [alert.at_s / 300 for alert in answer.alerts]
    assert any(made.start <= at <= made.end + 1 for at in found)
