from dataclasses import replace

import numpy as np
import pytest
import tiny_bandwidth

from novacron.errors import ArtifactError, FeatureMismatchError
from novacron.models.bandwidth.blend import Mixture, choose_mixture, ewma_of_windows
from novacron.models.bandwidth.config import SERVED_LEVELS, LstmConfig, TwinConfig
from novacron.models.bandwidth.examples import fit_linear, to_examples
from novacron.models.bandwidth.lstm_numpy import LstmWeights
from novacron.models.bandwidth.twin import Twin, TwinPlan, rounds_of, train_twin, twin_table
from novacron.models.bandwidth.windows import cut_windows

TINY = tiny_bandwidth.TINY
PLAN = TwinPlan(horizon=5, seed=1)
lstm = pytest.importorskip("novacron.models.bandwidth.lstm", reason="torch is not installed")
import torch  # noqa: E402


def examples(numbers, **kwargs):
    traces = [tiny_bandwidth.wave(n, **kwargs) for n in numbers]
    plain = to_examples(cut_windows(traces, TINY.features, 5), TINY)
    return plain.with_linear(fit_linear([plain], TINY.features), TINY.features)


def schedule(epochs=2, seed=1):
    return lstm.Schedule(seed=seed, epochs=epochs, learning_rate=3e-3)


def test_numpy_answers_as_torch_does():
    data = examples([0])
    config = LstmConfig(steps=12, hidden=16, head=16, epochs=1)
    weights = lstm.train_lstm(data, data, config, schedule(1)).weights
    network = lstm._network(weights, config, 5).eval()

    with torch.no_grad():
        scaled = torch.from_numpy(weights.scaled(data.inputs.joined))
        theirs = network(torch.from_numpy(data.inputs.x_NTC), scaled).numpy()
    ours = weights.quantile_ratios(data.inputs.x_NTC, data.inputs.joined)

    assert np.abs(ours - theirs).max() < 1e-5


def test_the_lstm_learns_a_swing_that_the_level_alone_cannot_tell():
    train, check = examples(range(6)), examples([8, 9])

    first = lstm.train_lstm(train, check, TINY.lstm, schedule(1)).loss
    later = lstm.train_lstm(train, check, TINY.lstm, schedule(8)).loss

    assert later < 0.6 * first


def test_quantiles_of_the_lstm_never_cross_and_are_never_negative():
    data = examples([0])
    weights = lstm.train_lstm(data, data, TINY.lstm, schedule(1)).weights
    wild = np.random.default_rng(0).normal(0, 50, data.inputs.joined.shape).astype(np.float32)

    ratios = weights.quantile_ratios(data.inputs.x_NTC, wild)

    assert (ratios >= 0).all()
    assert (np.diff(ratios, axis=2) >= 0).all()


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path):
    train, check = examples(range(3)), examples([8])
    whole = lstm.train_lstm(train, check, TINY.lstm, schedule(4)).weights

    class KilledError(Exception):
        pass

    def die_after_two(epoch):
        if epoch.number == 2:
            raise KilledError

    path = tmp_path / "state.safetensors"
    with pytest.raises(KilledError):
        lstm.train_lstm(
            train, check, TINY.lstm, schedule(4), state_path=path, on_epoch=die_after_two
        )
    seen = []
    resumed = lstm.train_lstm(
        train, check, TINY.lstm, schedule(4), state_path=path,
        on_epoch=lambda e: seen.append(e.number),
    ).weights  # fmt: skip

    assert seen == [3, 4]
    assert all(np.array_equal(resumed.arrays[k], whole.arrays[k]) for k in whole.arrays)


def test_another_seed_gives_another_network():
    data = examples([0])

    first, second = (
        lstm.train_lstm(data, data, TINY.lstm, schedule(1, seed)).weights for seed in (1, 2)
    )

    assert not np.array_equal(first.arrays["out_KE"], second.arrays["out_KE"])


def test_a_missing_feature_counts_as_its_mean():
    data = examples([0])
    weights = lstm.train_lstm(data, data, TINY.lstm, schedule(1)).weights
    mean = weights.arrays["feature_mean_F"][None]

    assert weights.scaled(np.full_like(mean, np.nan)) == pytest.approx(weights.scaled(mean))


def test_arrays_of_another_shape_are_refused():
    with pytest.raises(ArtifactError, match="LSTM arrays"):
        LstmWeights(arrays={"input_4DC": np.zeros((4, 1), dtype=np.float32)}, horizon=5)


def table(data, most=4000):
    return twin_table(data, most, np.random.default_rng(0))


def test_small_sets_teach_the_trees_every_step_ahead():
    data = examples([0])

    assert len(table(data, 10_000).ratio_N) == 5 * len(data)
    assert len(table(data, len(data)).ratio_N) == len(data)


def test_the_trees_of_a_class_are_added_to_those_of_all_classes():
    pooled, own = examples(range(4)), examples(range(4), scale_mbps=300.0, seed=9)
    config = TwinConfig(rounds=15, tuning_rounds=10, min_rows_per_leaf=20, learning_rate=0.1)

    start, _ = train_twin(table(pooled), table(own), config, PLAN)
    tuned, loss = train_twin(table(own), table(own), config, replace(PLAN, start=start))
    before = train_twin(table(pooled), table(own), config, PLAN)[1]

    for level in SERVED_LEVELS:
        trees = tuned.boosters[level].num_trees()
        assert 15 <= start.boosters[level].num_trees() + 10 >= trees > 15
    assert loss < before


def test_tuning_that_does_not_help_leaves_the_trees_as_they_were():
    good = examples(range(4))
    config = TwinConfig(rounds=40, tuning_rounds=5, min_rows_per_leaf=20, learning_rate=0.15)
    start, _ = train_twin(table(good), table(good), config, PLAN)
    rng = np.random.default_rng(0)
    wrong = replace(table(good), ratio_N=rng.permutation(table(good).ratio_N) + 3)

    tuned, _ = train_twin(wrong, table(good), config, replace(PLAN, start=start))

    assert all(tuned.boosters[q] is start.boosters[q] for q in SERVED_LEVELS)


def test_saved_trees_answer_as_before(tmp_path):
    data = examples([0])
    twin, _ = train_twin(table(data), table(data), TINY.twin, PLAN)

    twin.save(tmp_path)
    again = Twin.load(tmp_path, 5)

    assert np.array_equal(again.quantile_ratios(data.inputs), twin.quantile_ratios(data.inputs))


def test_text_that_is_no_model_is_refused(tmp_path):
    for level in (10, 50, 90):
        (tmp_path / f"level_{level}.txt").write_text("not a model")

    with pytest.raises(ArtifactError, match="do not load"):
        Twin.load(tmp_path, 5)


def ladder(median):
    return np.stack([median - 1, median, median + 1], axis=2)


def test_the_better_member_gets_the_weight():
    actual = np.random.default_rng(0).uniform(5, 15, (400, 5))

    chosen = choose_mixture(
        actual, ladder(actual), ladder(actual + 4), {"ewma": np.full((400, 5), 90.0)}
    )

    assert chosen.twin_weight == 0.75
    assert chosen.anchor_weight == 0.0


def test_members_that_are_the_same_share_the_weight():
    actual = np.random.default_rng(0).uniform(5, 15, (400, 5))

    assert (
        choose_mixture(actual, ladder(actual), ladder(actual), {"ewma": actual}).twin_weight == 0.5
    )


def test_a_median_that_loses_to_the_ewma_is_pulled_towards_it():
    rng = np.random.default_rng(1)
    level = np.full((500, 5), 10.0)
    actual = 10 + rng.normal(0, 0.5, (500, 5))
    noisy = 10 + rng.normal(0, 4, (500, 5))

    chosen = choose_mixture(actual, ladder(noisy), ladder(noisy), {"ewma": level, "linear": noisy})

    assert (chosen.anchor, chosen.anchor_weight) == ("ewma", 0.5)


def test_a_blend_keeps_its_quantiles_in_order():
    mixture = Mixture(twin_weight=0.5, anchor="ewma", anchor_weight=0.5, cold_by_band=False)
    low, high = ladder(np.full((1, 5), 5.0)), ladder(np.full((1, 5), 6.0))

    blended = mixture.combine(low, high, {"ewma": np.full((1, 5), 90.0)})

    assert (np.diff(blended, axis=2) >= 0).all()


def test_the_level_of_a_padded_window_is_that_of_its_samples():
    padded = np.array([[np.nan, np.nan, 8.0, 4.0, 1.0]])

    assert ewma_of_windows(padded, 1.0) == pytest.approx((1 + 4 / 2 + 8 / 4) / 1.75)


def test_the_linear_forecast_continues_a_swing():
    data = examples(range(4))
    warm = np.isfinite(data.inputs.x_NF).all(axis=1) | (np.arange(len(data)) % 195 > 24)

    linear = np.abs(data.inputs.linear - data.ratio_NH)[warm].mean()
    level = np.abs(1 - data.ratio_NH)[warm].mean()

    assert linear < 0.35 * level


def test_one_burst_does_not_bend_the_linear_forecast():
    plain = to_examples(cut_windows([tiny_bandwidth.wave(0)], TINY.features, 5), TINY)
    burst = replace(plain, ratio_NH=plain.ratio_NH.copy())
    burst.ratio_NH[100:103] = 1e6

    lines = [
        fit_linear([one], TINY.features).ratios(plain.inputs, TINY.features)
        for one in (plain, burst)
    ]

    assert np.median(np.abs(lines[0] - lines[1])) < 0.1


def test_inputs_without_a_linear_forecast_are_refused_by_the_members():
    plain = to_examples(cut_windows([tiny_bandwidth.wave(0)], TINY.features, 5), TINY)

    with pytest.raises(FeatureMismatchError, match="linear"):
        table(plain)


def test_without_a_validation_part_the_trees_grow_as_long_as_was_chosen():
    data = examples(range(3))
    config = TwinConfig(rounds=30, tuning_rounds=10, min_rows_per_leaf=20, learning_rate=0.1)
    start, _ = train_twin(table(data), table(data), config, PLAN)
    wanted = {0.1: 3, 0.5: 0, 0.9: 7}

    grown, _ = train_twin(table(data), None, config, replace(PLAN, start=start, rounds=wanted))

    assert rounds_of(grown, start) == wanted


def test_without_a_validation_part_the_network_trains_as_long_as_was_chosen():
    data = examples([0])
    seen = []
    plan = replace(schedule(6), stop_after=2)

    trained = lstm.train_lstm(
        data, None, TINY.lstm, plan, on_epoch=lambda e: seen.append(e.number)
    )

    assert seen == [1, 2]
    assert trained.epoch == 2


def test_no_epochs_leave_the_weights_as_they_were():
    data = examples([0])
    start = lstm.train_lstm(data, data, TINY.lstm, schedule(1)).weights

    kept = lstm.train_lstm(data, None, TINY.lstm, replace(schedule(4), stop_after=0), start=start)

    answers = [
        weights.quantile_ratios(data.inputs.x_NTC, data.inputs.joined)
        for weights in (start, kept.weights)
    ]
    assert np.array_equal(*answers)
