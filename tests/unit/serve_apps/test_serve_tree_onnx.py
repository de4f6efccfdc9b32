"""LightGBM's trees walked by ONNX Runtime: the same doubles, or no conversion at all."""

import lightgbm
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_apps.tree_onnx import find_obstacle, to_onnx

RNG = np.random.default_rng(8)
X = RNG.standard_normal((400, 5))
Y = X[:, 0] + X[:, 1] * X[:, 2]


def fit(y=Y, rounds=15, x=X, categorical="auto", **changes):
    parameters = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5} | changes
    data = lightgbm.Dataset(x, y, categorical_feature=categorical)
    return lightgbm.train(parameters, data, rounds)


def walk(booster):
    session = onnxruntime.InferenceSession(to_onnx(booster), providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0][:, 0]


@settings(max_examples=8, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(2, 31),
    st.sampled_from(["regression", "regression_l1", "quantile", "huber"]),
)
def test_the_answers_are_the_booster_s_to_the_last_bits(rounds, leaves, objective):
    booster = fit(rounds=rounds, num_leaves=leaves, objective=objective)
    x = np.concatenate([X, 100 * X, np.zeros((1, 5)), X.round(1)])

    assert find_obstacle(booster) == ""
    np.testing.assert_allclose(walk(booster)(x), booster.predict(x), rtol=1e-13, atol=1e-13)


def test_a_value_on_a_threshold_goes_where_lightgbm_sends_it():
    booster = fit(rounds=1)
    threshold = booster.dump_model()["tree_info"][0]["tree_structure"]["threshold"]
    feature = booster.dump_model()["tree_info"][0]["tree_structure"]["split_feature"]
    x = np.zeros((3, 5))
    x[:, feature] = [threshold, np.nextafter(threshold, 9), np.nextafter(threshold, -9)]

    np.testing.assert_array_equal(walk(booster)(x), booster.predict(x))


def test_trees_without_a_split_answer_too():
    booster = fit(y=np.full(400, 3.0))

    np.testing.assert_array_equal(walk(booster)(X), booster.predict(X))


@pytest.mark.parametrize(
    ("booster", "words"),
    [
        (lambda: fit(y=(Y > 0).astype(int), objective="binary"), "objective"),
        (lambda: fit(y=np.exp(Y.clip(-3, 3)), objective="poisson"), "objective"),
        (lambda: fit(y=np.abs(Y), objective="regression", reg_sqrt=True), "objective"),
        (lambda: fit(x=np.abs(X.round()), categorical=[0], min_data_per_group=1), "categorical"),
        (lambda: fit(zero_as_missing=True), "zero for missing"),
        (lambda: fit(linear_tree=True), "linear"),
    ],
)
def test_what_has_no_exact_counterpart_is_left_to_lightgbm(booster, words):
    assert words in find_obstacle(booster())
