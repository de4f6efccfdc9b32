from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from patterns_windows import NOISE, NOW, SMALL, WINDOWS, T, request_for

import novacron
from novacron.errors import (
    InvalidInputError,
    NotReadyError,
    OutOfRangeError,
    SchemaError,
)
from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.definitions import (
    NAMES,
    NOT_DEFINED,
    TREND_DIRECTION,
    TYPES,
    season_of,
)
from novacron.models.patterns.examples import draw_examples
from novacron.models.patterns.fit import score_examples
from novacron.models.patterns.recognizer import PatternRecognizer
from novacron.models.patterns.rules import by_rules
from novacron.models.tensor_checks import check_tensors
from novacron.telemetry.synthesize.usage_patterns import NOISE_AT_ONE


@pytest.fixture
def model(patterns_model):
    return patterns_model


def hourly(values, start="2026-01-01"):
    return pd.Series(values, index=pd.date_range(start, periods=len(values), freq="h", tz="UTC"))


@pytest.mark.parametrize("expected", sorted(WINDOWS))
def test_plain_examples_of_a_type_are_recognised(recognizer, expected):
    answer = recognizer.recognize(WINDOWS[expected], step_s=60)

    assert answer.value == expected
    assert answer.fallback == ""


def test_an_answer_carries_all_that_a_reader_needs(recognizer, model):
    answer = recognizer.recognize(WINDOWS["periodic"], step_s=3600)

    assert answer.period_s == pytest.approx(86_400, rel=0.02)
    assert answer.lower_s < answer.period_s < answer.upper_s
    assert answer.season == "daily"
    assert answer.is_seasonal
    assert not answer.is_trending
    assert answer.coverage == SMALL.coverage
    assert answer.confidence == max(answer.probabilities.values())
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert (answer.model_name, answer.model_version) == ("patterns", "3")
    assert answer.features_hash == model.features_hash
    assert (answer.made_at, answer.horizon_s) == (NOW, 0)
    assert answer.valid_until == NOW + timedelta(hours=40)
    assert len(answer.reasons) == 4
    assert any("cycle" in reason.evidence or "period" in reason.evidence
               for reason in answer.reasons)  # fmt: skip


def test_a_type_without_a_period_answers_none(recognizer):
    answer = recognizer.recognize(WINDOWS["linear_growth"], step_s=60)

    assert (answer.period_s, answer.lower_s, answer.upper_s, answer.season) == (None,) * 3 + ("",)
    assert answer.trend_direction == "up"


def test_the_strongest_repetition_is_shown_as_evidence_on_a_level_that_walks(recognizer):
    walk = np.cumsum(np.random.default_rng(4).standard_normal(400))

    answer = recognizer.recognize(0.5 * walk + 4 * np.sin(2 * np.pi * T / 24), step_s=3600)

    assert answer.strongest_period_s == pytest.approx(86_400, rel=0.03)
    assert 0 < answer.strongest_period_r2_ratio < 1


@pytest.mark.parametrize("step_s", [1.0, 300.0, 86_400.0])
def test_the_sampling_step_scales_the_period_and_nothing_else(recognizer, step_s):
    answer = recognizer.recognize(WINDOWS["periodic"], step_s=step_s)
    same = recognizer.recognize(WINDOWS["periodic"], step_s=60)

    assert answer.probabilities == same.probabilities
    assert answer.period_s / step_s == pytest.approx(same.period_s / 60)


@pytest.mark.parametrize("name", sorted(WINDOWS))
def test_unit_and_offset_do_not_change_the_answer(recognizer, name):
    percent = recognizer.recognize(100 * (WINDOWS[name] + 3), step_s=60)

    assert percent.value == recognizer.recognize(WINDOWS[name], step_s=60).value


def test_more_noise_does_not_raise_the_confidence_in_a_period(recognizer):
    wave = np.sin(2 * np.pi * T / 24)
    levels = [
        recognizer.recognize(wave + noise * NOISE, step_s=60).probabilities["periodic"]
        for noise in (0.1, 5.0)
    ]

    assert levels[0] > 0.8 > 0.2 > levels[1]


def test_equal_samples_are_steady_by_definition_and_flagged(recognizer):
    answer = recognizer.recognize(np.full(100, 0.3), step_s=60)

    assert (answer.value, answer.confidence) == ("steady_state", 1.0)
    assert answer.fallback == "constant_window"
    assert answer.strongest_period_s is None
    assert [reason.evidence for reason in answer.reasons] == ["all samples are equal"]


def test_an_untrained_recogniser_refuses_and_says_what_to_do():
    recognizer = PatternRecognizer()

    assert not recognizer.is_trained
    with pytest.raises(NotReadyError, match=r"train\(\)"):
        recognizer.recognize(WINDOWS["spike"], step_s=60)
    with pytest.raises(NotReadyError, match="not trained"):
        recognizer.recognize_workload(pd.DataFrame({"cpu_ratio": [0.1] * 60}), step_s=60)


def test_the_recogniser_is_found_at_the_top_of_the_library():
    assert novacron.PatternRecognizer is PatternRecognizer
    assert "PatternRecognizer" in dir(novacron)
    with pytest.raises(AttributeError, match="Recogniser"):
        novacron.PatternRecogniser  # noqa: B018


def test_training_is_the_same_twice_and_names_its_seed():
    tiny = PatternsConfig(train_each=10, validation_each=10, trees=5)

    one, other = (PatternRecognizer().train(tiny) for _ in range(2))
    answers = [each.recognize(WINDOWS["periodic"], step_s=60) for each in (one, other)]

    assert answers[0].probabilities == answers[1].probabilities
    assert answers[0].model_version == "generator-7"


def test_a_series_with_times_gives_its_step_and_its_gaps_and_when_it_ends(recognizer):
    series = hourly(WINDOWS["periodic"]).drop(hourly(T).index[40:60])

    answer = recognizer.recognize(series)

    assert answer.value == "periodic"
    assert answer.season == "daily"
    assert answer.made_at == series.index[-1].to_pydatetime()
    assert answer.window_s == 400 * 3600


def test_missing_samples_may_also_be_nan(recognizer):
    usage = WINDOWS["periodic"].copy()
    usage[::7] = np.nan

    assert recognizer.recognize(usage, step_s=60).value == "periodic"


@pytest.mark.parametrize(
    ("data", "step_s", "error", "match"),
    [
        (np.arange(20.0), 60, SchemaError, "at least 48"),
        (np.full(200, np.nan), 60, SchemaError, "0 present"),
        (np.arange(200.0), None, SchemaError, "step_s"),
        (np.arange(200.0), -1, OutOfRangeError, "seconds between samples"),
        (np.arange(200.0), float("nan"), OutOfRangeError, "step_s"),
        (np.append(np.arange(200.0), np.inf), 60, OutOfRangeError, "finite"),
        (["high"] * 60, 60, SchemaError, "numbers"),
        (np.zeros((100, 2)), 60, SchemaError, "one series"),
        (pd.DataFrame({"cpu_ratio": T}), 60, SchemaError, "recognize_workload"),
        (7.0, 60, SchemaError, "one series"),
        (hourly(NOISE).iloc[::-1], None, SchemaError, "run backwards"),
        (hourly(NOISE).iloc[:1], None, SchemaError, "two increasing times"),
    ],
)
def test_bad_input_is_refused_by_a_typed_error(recognizer, data, step_s, error, match):
    with pytest.raises(error, match=match):
        recognizer.recognize(data, step_s=step_s)


def test_an_irregular_clock_is_refused_with_the_remedy(recognizer):
    index = pd.Timestamp("2026-01-01") + pd.to_timedelta(
        np.cumsum(np.random.default_rng(0).exponential(60, 400)), unit="s"
    )

    with pytest.raises(OutOfRangeError, match="resample"):
        recognizer.recognize(pd.Series(NOISE, index=index))


def test_a_clock_without_a_zone_is_refused(model):
    recognizer = PatternRecognizer(model, clock=lambda: NOW.replace(tzinfo=None))

    with pytest.raises(InvalidInputError, match="zone"):
        recognizer.recognize(NOISE, step_s=60)


def test_a_longer_series_is_judged_by_its_newest_samples(recognizer):
    old, new = 50 * np.ones(3000), np.sin(2 * np.pi * np.arange(4096) / 64)

    answer = recognizer.recognize(np.concatenate([old, new]), step_s=1)

    assert answer.value == "periodic"
    assert answer.window_s == 4096


def test_the_resource_used_most_is_named_when_it_leads_in_nearly_all_resamples(recognizer):
    frame = pd.DataFrame(
        {
            "cpu_ratio": 0.6 + 0.05 * NOISE,
            "mem_ratio": 0.2 + 0.01 * NOISE[::-1],
            "disk_ratio": np.full(400, np.nan),
        }
    )

    answer = recognizer.recognize_workload(frame, step_s=60)

    assert answer.intensive == "cpu"
    assert answer.lead_ratio == 1.0
    assert answer.mean_ratio["cpu"] == pytest.approx(0.6, abs=0.01)
    assert set(answer.patterns) == {"cpu", "memory"}
    assert "at least 48" in answer.left_out["io"]


def test_resources_used_alike_are_balanced(recognizer):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {name: 0.5 + 0.1 * rng.standard_normal(400) for name in ("cpu_ratio", "net_ratio")}
    )

    assert recognizer.recognize_workload(frame, step_s=60).intensive == "balanced"


@pytest.mark.parametrize(
    ("frame", "error", "match"),
    [
        (pd.DataFrame({"cpu_ratio": 60.0 + NOISE}), OutOfRangeError, "Percent are divided"),
        (pd.DataFrame({"cpu": NOISE}), SchemaError, "cpu_ratio"),
        (pd.DataFrame({"cpu_ratio": [0.1] * 10}), SchemaError, "at least one resource"),
        ([0.1] * 100, SchemaError, "pandas frame"),
    ],
)
def test_workloads_in_wrong_units_or_names_are_refused(recognizer, frame, error, match):
    with pytest.raises(error, match=match):
        recognizer.recognize_workload(frame, step_s=60)


def test_requests_give_rows_that_join_whatever_their_length(model):
    short = model.prepare(request_for(NOISE[:100]))
    long = model.prepare(request_for(NOISE, WINDOWS["spike"]))
    joined = {name: np.concatenate([short[name], long[name]]) for name in short}

    answers = model.predict(joined)

    check_tensors(answers, model.outputs)
    assert len(answers["type"]) == 3
    assert answers["type"][2] == model.predict(long)["type"][1]


def test_a_mask_of_presence_stands_for_missing_samples(model):
    present = np.ones((1, 400), dtype=bool)
    present[0, ::5] = False
    wild = np.where(present[0], WINDOWS["periodic"], 1e9)

    answer = model.predict(model.prepare(request_for(wild, is_present=present)))

    assert answer["type"][0] == "periodic"


def test_a_mask_of_another_shape_is_refused(model):
    with pytest.raises(SchemaError, match="shape of usage"):
        model.prepare(request_for(NOISE, is_present=np.ones((1, 3), dtype=bool)))


def test_reasons_split_the_vote_over_the_evidence_exactly(model):
    rows = model.prepare(request_for(*WINDOWS.values()))["evidence"]
    vote = model.forest.probabilities(rows)
    best = vote.argmax(axis=1)

    base, share = model.forest.contributions(rows, best)

    np.testing.assert_allclose(base + share.sum(axis=1), vote.max(axis=1), atol=1e-6)


def test_reasons_differ_between_windows(recognizer):
    first = {
        name: recognizer.recognize(WINDOWS[name], step_s=60).reasons[0].evidence
        for name in ("periodic", "level_shift", "spike")
    }

    assert len(set(first.values())) == 3


def test_a_small_forest_beats_the_rules_on_seeds_it_never_saw(model):
    unseen = draw_examples(12, SMALL.seed_of("test"))

    scores = {
        score.name: score.value
        for score in score_examples(model, unseen, np.random.default_rng(1))
    }

    assert scores["macro_f1"].value > 0.9
    assert scores["macro_f1"].lo > scores["macro_f1_rules"].value
    assert scores["ece"].value < 0.12
    assert scores["period_found_within_2_percent"].value >= 0.8


def test_independent_noise_is_not_periodic_and_waves_are_not_steady(model):
    rng = np.random.default_rng(9)
    noise = [rng.standard_normal(200) for _ in range(40)]
    waves = [np.sin(T[:200] / rng.uniform(2, 8)) + 0.3 * each for each in noise]

    answers = model.predict(model.prepare(request_for(*noise, *waves)))["type"]

    assert (answers[:40] == "periodic").sum() <= 1
    assert (answers[40:] == "periodic").sum() >= 38


def test_every_type_has_a_definition_a_generator_and_no_second_meaning():
    assert set(NAMES) == set(NOISE_AT_ONE)
    assert not set(NOT_DEFINED) & set(TYPES)
    assert set(TREND_DIRECTION) <= set(TYPES)


def test_rules_tell_plain_examples_apart_without_training(model):
    rows = model.prepare(request_for(WINDOWS["periodic"], WINDOWS["linear_growth"], NOISE))

    assert [NAMES[number] for number in by_rules(rows["evidence"])] == [
        "periodic", "linear_growth", "steady_state"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("period_s", "season"),
    [(86_400, "daily"), (87_000, "daily"), (604_000, "weekly"), (3600, "hourly"), (50_000, "")],
)
def test_a_period_is_seasonal_when_it_is_one_of_the_calendar(period_s, season):
    assert season_of(period_s) == season
