from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import novacron
from novacron.errors import (
    ArtifactError,
    InvalidInputError,
    NotReadyError,
    OutOfRangeError,
    SchemaError,
)
from novacron.models.performance.config import (
    DegradationConfig,
    LstmConfig,
    PerformanceConfig,
    TwinConfig,
)
from novacron.models.performance.predictor import PerformancePredictorModel, PredictorConfig
from novacron.models.performance.windows import NO_CHANNEL, find_level_channel

pytestmark = pytest.mark.learn

SMALL = PredictorConfig(
    fit=PerformanceConfig(
        clip_spreads=50.0,
        lstm=LstmConfig(hidden=6, attention=6, head=12, steps=8, epochs=2, rows=800),
        twin=TwinConfig(rounds=60, min_rows_per_leaf=20),
        degradation=DegradationConfig(worse="higher"),
    )
)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def latency(rows, seed=0, *, steps=20):
    """Latency windows whose target follows a load that is another channel of the window."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(50, 150, (rows, 1))
    load = rng.uniform(0, 1, (rows, steps))
    past = level * (1 + rng.normal(0, 0.05, (rows, steps)))
    y = level[:, 0] * (1 + 0.4 * (load[:, -1] > 0.7) + rng.normal(0, 0.02, rows))
    return np.stack([past, load], axis=2), y


def batches(x, y, size=64):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(y), size)]


@pytest.fixture(scope="module")
def trained():
    model = PerformancePredictorModel(SMALL, version="7", clock=lambda: NOON)
    model.train(batches(*latency(900)), batches(*latency(300, 1)))
    return model


def test_it_is_importable_from_the_top_and_untrained_it_says_what_to_do():
    model = novacron.PerformancePredictorModel()

    assert not model.is_trained
    for ask in (model.predict, model.predict_degradation):
        with pytest.raises(NotReadyError, match="train"):
            ask(np.zeros((1, 5, 2)))
    with pytest.raises(NotReadyError, match="load"):
        model.evaluate([])


def test_it_trains_from_torch_loaders_as_documented():
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")

    def loader(rows, seed):
        x, y = latency(rows, seed)
        return data.DataLoader(data.TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=32)

    model = novacron.PerformancePredictorModel(SMALL)
    scores = model.train(loader(120, 0), loader(60, 1))

    assert scores.count == 60
    assert model.is_trained


def test_it_learns_what_the_own_past_does_not_say(trained):
    scores = trained.evaluate(batches(*latency(400, 2)))

    assert scores.mae < 0.6 * scores.mae_of_level
    assert scores.r2 > 0.85
    assert scores.rmse == pytest.approx(scores.mse**0.5)
    assert 0.65 < scores.coverage < 0.92


def test_the_scores_follow_their_formulas(trained):
    x, y = latency(50, 3)
    value = trained.predict(x).value

    scores = trained.evaluate([(x, y)])

    assert scores.mae == pytest.approx(np.abs(y - value).mean())
    assert scores.mape == pytest.approx((np.abs(y - value) / y).mean())
    assert scores.r2 == pytest.approx(1 - ((y - value) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    assert scores.within_5_percent == pytest.approx((np.abs(y - value) <= 0.05 * y).mean())


def test_every_answer_says_what_it_is(trained):
    found = trained.predict(latency(3, 4)[0])

    assert (found.lower <= found.value).all()
    assert (found.value <= found.upper).all()
    assert found.attention.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert found.coverage == 0.8
    assert found.fallback.tolist() == ["", "", ""]
    said = found.provenance
    assert (said.model_name, said.model_version, said.made_at) == ("performance", "7", NOON)
    assert said.horizon_s == 300
    assert said.valid_until == NOON + timedelta(seconds=300)
    assert len(said.features_hash) == 64


def test_degradation_is_likelier_where_the_load_brings_it(trained):
    x, y = latency(400, 5)

    found = trained.predict_degradation(x)
    busy = x[:, -1, 1] > 0.7

    assert found.worse == "higher"
    assert found.probability[busy].mean() > found.probability[~busy].mean() + 0.4
    worse = y > found.limit
    own = ((found.probability - worse) ** 2).mean()
    assert own < worse.mean() * (1 - worse.mean())


def test_a_saved_predictor_answers_the_same_after_loading(trained, tmp_path):
    trained.save(tmp_path / "p")
    again = PerformancePredictorModel.load(tmp_path / "p", version="7", clock=lambda: NOON)
    x = latency(5, 6)[0]

    for name in ("value", "lower", "upper", "attention", "level"):
        np.testing.assert_array_equal(
            getattr(again.predict(x), name), getattr(trained.predict(x), name)
        )
    assert again.predict(x).provenance == trained.predict(x).provenance
    assert again.config == trained.config
    kinds = {path.suffix for path in (tmp_path / "p").rglob("*") if path.is_file()}
    assert kinds <= {".json", ".safetensors", ".txt"}


def test_a_folder_that_holds_no_predictor_is_refused(tmp_path):
    with pytest.raises(ArtifactError):
        PerformancePredictorModel.load(tmp_path)


def test_the_level_is_looked_for_among_the_channels():
    x, y = latency(200, 7)

    assert find_level_channel(x, y) == 0
    assert find_level_channel(x[:, :, ::-1], y) == 1
    assert find_level_channel(np.random.default_rng(0).normal(size=x.shape), y) == NO_CHANNEL


def test_a_target_without_a_past_among_the_channels_is_learned_from_the_others():
    rng = np.random.default_rng(8)

    def scaled(rows):
        x = rng.normal(size=(rows, 10, 3))
        return x, -0.5 + 0.3 * x[:, -1, 1] + rng.normal(0, 0.02, rows)

    model = PerformancePredictorModel(SMALL)
    model.train([scaled(600)], [scaled(200)])
    scores = model.evaluate([scaled(200)])

    assert scores.mae < 0.6 * scores.mae_of_level
    assert set(model.predict(scaled(2)[0]).fallback) == {""}


def test_windows_of_very_different_scales_are_answered_each_on_its_own():
    def mixed(rows, seed):
        x, y = latency(rows, seed)
        scale = np.where(np.arange(rows) % 2 == 0, 1.0, 1e6)
        return np.concatenate([x[:, :, :1] * scale[:, None, None], x[:, :, 1:]], axis=2), y * scale

    model = PerformancePredictorModel(SMALL)
    model.train([mixed(600, 0)], [mixed(200, 1)])
    x, y = mixed(200, 2)
    found = model.predict(x)

    small = np.arange(200) % 2 == 0
    width = (found.upper - found.lower) / y
    assert np.median(width[small]) == pytest.approx(np.median(width[~small]), rel=0.5)
    assert np.median(np.abs(found.value - y) / y) < 0.12


def test_a_constant_window_is_answered_by_its_last_value_and_says_so(trained):
    x = latency(1, 9)[0]
    x[:, :, 0] = 80.0

    found = trained.predict(x)

    assert found.fallback.tolist() == ["last_value"]
    assert found.value.tolist() == [80.0]


X, Y = latency(40)


@pytest.mark.parametrize(
    ("train", "validation", "error", "words"),
    [
        ([], [(X, Y)], InvalidInputError, "no batch"),
        ([X], [(X, Y)], InvalidInputError, "pairs"),
        ([(X, Y[:5])], [(X, Y)], SchemaError, "y"),
        ([(X[:, :, 0], Y)], [(X, Y)], SchemaError, r"\[N, T, F\]"),
        ([(X[:, :1], Y)], [(X, Y)], SchemaError, "2 steps"),
        ([(X, Y), (X[:, 1:], Y)], [(X, Y)], SchemaError, "first batch"),
        ([(X, Y)], [(X[:3], Y[:3])], InvalidInputError, "val_loader"),
        ([(np.where(X > 140, np.nan, X), Y)], [(X, Y)], OutOfRangeError, "finite"),
        ([(X, np.where(Y.min() < Y, Y, np.inf))], [(X, Y)], OutOfRangeError, "y"),
    ],
)
def test_loaders_that_are_none_are_refused_by_name(train, validation, error, words):
    with pytest.raises(error, match=words):
        PerformancePredictorModel(SMALL).train(train, validation)


def test_windows_of_another_form_than_the_training_are_refused(trained):
    with pytest.raises(SchemaError, match="as in the training"):
        trained.predict(np.ones((1, 20, 3)))
    x = latency(1)[0]
    x[0, 3, 1] = np.nan
    with pytest.raises(OutOfRangeError, match=r"X\[0, 3, 1\]"):
        trained.predict(x)
