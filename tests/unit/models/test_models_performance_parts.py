import numpy as np
import pandas as pd
import pytest
import tiny_performance
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.errors import ConfigError, InvalidInputError, OutOfRangeError, SchemaError
from novacron.models.performance.blend import Blend, SideFactors
from novacron.models.performance.config import COUNT_EDGES, LstmConfig, PerformanceConfig
from novacron.models.performance.degradation import is_worse
from novacron.models.performance.generated import generate_scores
from novacron.models.performance.level import FleetLevel, LevelModel, count_group
from novacron.models.performance.medians import (
    peer_medians,
    row_ewma,
    row_quantile,
)
from novacron.models.performance.parts import cut_in_time, draw_evenly, gather, part_of
from novacron.models.performance.scores import ScoredRows, geometric_ratio, wape_ratio
from novacron.models.performance.scores_table import ScoreTable, contexts_of, fit_priors

TABLE = tiny_performance.tiny_table
TINY = tiny_performance.TINY


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_row_quantiles_are_those_of_numpy_over_the_present_samples(values):
    row = np.array([np.nan if value is None else value for value in values])
    present = row[np.isfinite(row)]

    found = [row_quantile(row[None], level)[0] for level in (0.1, 0.5, 0.9)]

    expected = np.quantile(present, [0.1, 0.5, 0.9]) if present.size else np.full(3, np.nan)
    assert found == pytest.approx(list(expected), rel=1e-9, abs=1e-6, nan_ok=True)


def test_an_ewma_ages_samples_and_not_gaps():
    with_gap = np.array([[np.nan, 4.0, np.nan, 2.0]])

    assert row_ewma(with_gap, 1.0)[0] == pytest.approx((2.0 + 0.5 * 4.0) / 1.5)
    assert np.isnan(row_ewma(np.full((1, 3), np.nan), 1.0)[0])


def test_peer_medians_tell_peers_apart_and_take_their_newest_samples():
    x = np.array([[np.nan, 1.0, 10.0, 3.0, 20.0, 5.0]])
    vm = np.array([[-1, 7, 4, 7, 4, 7]])

    two, all_of_them = peer_medians(x, vm, (2, 50))

    assert two[0].tolist() == [4.0, 15.0]
    assert all_of_them[0].tolist() == [3.0, 15.0]


def test_groups_of_counts_begin_where_they_say():
    counts = np.array([0, 1, 2, 3, 4, 31, 32, 500])

    assert count_group(counts).tolist() == [0, 1, 2, 2, 3, 5, 6, 6]
    assert len(COUNT_EDGES) + 1 == 7


def test_contexts_never_read_a_score_at_or_after_their_own_time():
    table = TABLE()
    rows = np.flatnonzero(table.ranks() == 30)
    before = contexts_of(table, rows, TINY)

    late = table.ts_N >= table.ts_N[rows].min()
    changed_scores = np.where(late, table.score_N * 3, table.score_N)
    first = rows[np.argmin(table.ts_N[rows])]
    changed = ScoreTable(
        **{
            name: changed_scores if name == "score_N" else getattr(table, name)
            for name in ScoreTable.__dataclass_fields__
        }
    )
    after = contexts_of(changed, np.array([first]), TINY)

    place = int(np.flatnonzero(rows == first)[0])
    np.testing.assert_array_equal(after.own_NT[0], before.own_NT[place])
    np.testing.assert_array_equal(after.peer_NM[0], before.peer_NM[place])


def test_peers_are_other_vms_of_the_same_benchmark_size_and_region():
    table = TABLE()
    row = int(np.flatnonzero(table.ranks() == 40)[5])
    context = contexts_of(table, np.array([row]), TINY)

    seen = context.peer_vm_NM[0][np.isfinite(context.peer_NM[0])]
    cell_vms = np.unique(table.vm_N[table.cell_N == table.cell_N[row]])

    assert set(seen.tolist()) == set(cell_vms.tolist()) - {int(table.vm_N[row])}
    assert (context.peer_age_NM[0][np.isfinite(context.peer_NM[0])] > 0).all()


def test_a_shortened_history_keeps_the_newest_samples():
    table = TABLE()
    rows = np.flatnonzero(table.ranks() == 30)[:3]
    whole = contexts_of(table, rows, TINY)

    short = whole.shortened(np.array([0, 1, 5]))

    assert short.counts.tolist() == [0, 1, 5]
    assert short.own_NT[2, -5:].tolist() == whole.own_NT[2, -5:].tolist()


def test_time_is_cut_at_one_moment_for_all_vms_of_a_cell_with_a_gap():
    table = TABLE()

    early, late = cut_in_time(table, 0.25, 4)

    for cell in np.unique(table.cell_N):
        own = table.cell_N == cell
        assert table.ts_N[own & early].max() < table.ts_N[own & late].min()
    assert not (early & late).any()
    assert late.sum() < (~early).sum()


def test_rows_are_drawn_evenly_over_cells_of_different_sizes():
    cell = np.repeat([0, 1, 2], [1000, 1000, 20])

    drawn = draw_evenly(np.ones(2020, dtype=bool), cell, 420, np.random.default_rng(0))

    assert np.bincount(cell[drawn]).tolist() == [200, 200, 20]


def test_a_prior_leaves_the_vm_itself_out():
    table = TABLE()
    priors = fit_priors(table, np.ones(len(table), dtype=bool))
    row = np.flatnonzero(table.ranks() == 20)[:1]

    known = contexts_of(table, row, TINY)
    new = contexts_of(table, row, TINY, knows_vms=False)
    cell = table.cell_N[row[0]]
    medians = {
        int(vm): np.median(table.score_N[(table.cell_N == cell) & (table.vm_N == vm)])
        for vm in np.unique(table.vm_N[table.cell_N == cell])
    }
    others = [value for vm, value in medians.items() if vm != table.vm_N[row[0]]]

    assert priors.of_cells(known)[0][0] == pytest.approx(np.mean(others))
    assert priors.of_cells(new)[0][0] == pytest.approx(np.mean(list(medians.values())))


def test_the_level_of_a_steady_vm_is_its_own_and_that_of_a_silent_one_its_fleets():
    table = TABLE()
    material = gather(table, TINY)
    sizes = {"benchmarks": 3, "sharpness": 30.0}
    level = LevelModel.fit(material.train.context, material.train.actual_N, material.priors, sizes)
    rows = np.flatnonzero((table.ranks() == 50) & (table.benchmark_N == 0))
    part = part_of(table, rows, TINY)

    own = level.levels(part.context)
    silent = level.levels(part.context.shortened(np.zeros(len(rows), dtype=np.int64)))

    own_error = np.abs(own.level_N - part.actual_N).sum()
    assert own_error < np.abs(silent.level_N - part.actual_N).sum()
    assert silent.level_N == pytest.approx(silent.fleet_N, rel=0.2)
    assert (own.spread_N > 0).all()


def test_fleet_weights_go_to_the_average_that_errs_least():
    rng = np.random.default_rng(1)
    table = TABLE()
    context = contexts_of(table, np.flatnonzero(table.ranks() == 50), TINY)
    actual = rng.uniform(90, 110, len(context))
    averages = actual[:, None] + rng.normal(0, 1, (len(context), 3)) * np.array([5.0, 5.0, 0.1])

    weights = FleetLevel.fit(averages, actual, context, 3, 30.0).weight_GK

    assert (weights[:, 2] > 0.95).all()
    assert weights.sum(axis=1) == pytest.approx(np.ones(4))


def test_trust_is_withdrawn_where_the_members_only_add_noise():
    rng = np.random.default_rng(2)
    z = rng.normal(0, 1, 2000)
    cell = np.repeat([0, 1], 1000)
    median = np.where(cell == 0, z * 0.8, rng.normal(0, 1, 2000))
    member = np.stack([median - 1, median, median + 1], axis=1)
    places = (np.full(2000, 6), cell)

    blend = Blend.choose(z, np.ones(2000), (member, member), places, 2)

    assert blend.trust_SG[2, 0] == 1.0
    assert blend.trust_SG[2, 1] < 0.5


def test_calibrated_sides_hold_the_nominal_share_for_skewed_residuals():
    rng = np.random.default_rng(3)
    z = rng.exponential(1, 6000) - 0.7
    q = np.tile([-0.1, 0.0, 0.1], (6000, 1))
    places = (np.full(6000, 6), np.zeros(6000, dtype=np.int64))

    fitted = SideFactors.fit(z[:3000], q[:3000], (places[0][:3000], places[1][:3000]), 1)
    found = fitted.apply(q[3000:], places[0][3000:], places[1][3000:])

    # The factor is capped, so a tail ten times wider than the quantiles is not followed whole.
    assert (z[3000:] >= found[:, 0]).mean() == pytest.approx(0.9, abs=0.12)
    assert (np.diff(found, axis=1) >= 0).all()


def test_worse_means_below_for_scores_and_above_for_latencies():
    future = np.array([[100.0, 94.0], [100.0, 96.0], [np.nan, 106.0]])
    level = np.full(3, 100.0)

    lower = is_worse(future, level, PerformanceConfig().degradation)
    higher = is_worse(
        future, level, PerformanceConfig().degradation.model_copy(update={"worse": "higher"})
    )

    assert lower.tolist() == [True, False, False]
    assert higher.tolist() == [False, False, True]


def test_ratios_weigh_cells_and_their_intervals_draw_whole_vms():
    actual = np.array([100.0, 100.0, 10.0, 10.0])
    scored = ScoredRows(
        actual_N=actual,
        cell_N=np.array([0, 0, 1, 1]),
        vm_N=np.array([0, 1, 0, 1]),
        value={"half": actual * 1.1, "whole": actual * 1.2},
    )

    mean = wape_ratio(scored, "half", "whole", np.random.default_rng(0))
    geometric = geometric_ratio(scored, "half", "whole", np.random.default_rng(0))

    assert (mean.value, mean.lo, mean.hi) == pytest.approx((0.5, 0.5, 0.5))
    assert geometric.value == pytest.approx(0.5)
    assert mean.n == 2


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda f: f.drop(columns="score"), SchemaError, "score"),
        (lambda f: f.assign(score=f.score.where(f.index != 3, np.nan)), OutOfRangeError, "score"),
        (lambda f: f.assign(score=f.score.where(f.index != 3, 0.0)), OutOfRangeError, "positive"),
        (lambda f: pd.concat([f, f.iloc[:1]]), SchemaError, "twice"),
        (lambda f: f.iloc[:0], SchemaError, "no row"),
        (lambda f: f.assign(ts=f.ts.where(f.index != 3)), OutOfRangeError, "NaT"),
    ],
)
def test_a_table_that_is_not_one_is_refused_by_name(change, error, words):
    frame = generate_scores(1, vms=1, samples=60)

    with pytest.raises(error, match=words):
        ScoreTable.from_frame(change(frame))


def test_too_few_scores_are_refused():
    table = ScoreTable.from_frame(generate_scores(1, vms=1, samples=60))

    with pytest.raises(InvalidInputError, match="validation part"):
        gather(table, TINY.model_copy(update={"purge_samples": 60}))


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="history"):
        PerformanceConfig(history=4)
    with pytest.raises(ValueError, match="served"):
        LstmConfig(levels=(0.2, 0.5, 0.9))
    assert issubclass(ConfigError, InvalidInputError)
