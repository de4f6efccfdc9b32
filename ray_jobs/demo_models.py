"""One question to each model that answers from a cold start, on generated telemetry with a known cause."""

import time
from collections.abc import Callable
from typing import Any, Final

import gymnasium as gym
import numpy as np
import pandas as pd

import rl_envs
from novacron import AnomalyDetector, AutoOptimizer, CapacityPlanner, PredictiveScalingEngine
from rl_envs.baselines.base import latest

_STEP_S: Final = 300
_DAY: Final = 86_400 // _STEP_S
_SPIKE_AT: Final = 6 * _DAY + 170


def cold_answers(seed: int = 7) -> list[dict[str, Any]]:
    """Ask detector, planner, scaling engine and optimizer, each on data with a known cause.

    Returns:
        Rows with `model`, `asked`, `answer`, `fallback` (empty where the model itself answered)
        and `seconds`.
    """
    asked: tuple[Callable[[int], dict[str, Any]], ...] = (
        _anomaly,
        _capacity,
        _scaling,
        _optimizer,
    )
    rows = []
    for ask in asked:
        started_s = time.perf_counter()
        rows.append(ask(seed) | {"seconds": round(time.perf_counter() - started_s, 2)})
    return rows


def _usage(seed: int, days: int) -> "pd.DataFrame":
    """Usage of one node: a day's swing and noise."""
    rng = np.random.default_rng(seed)
    index = pd.date_range("2026-01-05", periods=days * _DAY, freq=f"{_STEP_S}s", tz="UTC")
    hour = index.hour + index.minute / 60
    swing = 0.4 + 0.2 * np.sin((hour - 9) / 24 * 2 * np.pi)
    usage = swing + 0.02 * rng.standard_normal(len(index))
    return pd.DataFrame({"ts": index, "cpu_ratio": usage})


def _anomaly(seed: int) -> dict[str, Any]:
    frame = _usage(seed, days=8)
    frame.loc[_SPIKE_AT : _SPIKE_AT + 3, "cpu_ratio"] = 0.97
    told = AnomalyDetector().detect(frame, entity_id="node-1").delivered
    alert = max(told, key=lambda one: one.score, default=None)
    answer = "no alert"
    if alert is not None:
        moment = pd.Timestamp(alert.at_s, unit="s", tz="UTC")
        answer = f"{len(told)} alert(s); gravest {alert.severity} {alert.kind}, {moment:%a %H:%M}"
    cause = frame["ts"][_SPIKE_AT]
    return {
        "model": "anomaly",
        "asked": f"a week of usage, 20 min at 0.97 from {cause:%a %H:%M}",
        "answer": answer,
        "fallback": "",
    }


def _capacity(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    index = pd.date_range("2026-01-05", periods=200, freq="D", tz="UTC")
    usage = np.linspace(0.35, 0.72, 200) + 0.02 * rng.standard_normal(200)
    history = pd.DataFrame({"cpu_ratio": usage}, index=index)
    plan = CapacityPlanner().generate_capacity_plan(history, capacities={"cpu_ratio": 640})
    need = plan.needs["cpu_ratio"]
    first = need.crossings[0]
    return {
        "model": "capacity",
        "asked": "200 days of usage, growing from 0.35 to 0.72",
        "answer": f"in 30 days {need.forecast.value[-1]:.2f} ({need.forecast.lower[-1]:.2f} .. "
        f"{need.forecast.upper[-1]:.2f}); {first.probability:.0%} to reach {first.threshold}, "
        f"{need.urgency}",
        "fallback": need.forecast.fallback,
    }


def _scaling(seed: int) -> dict[str, Any]:
    history = _usage(seed, days=14).set_index("ts")
    morning = history.iloc[: 13 * _DAY + 8 * 3600 // _STEP_S]
    decision = PredictiveScalingEngine().fit(morning).decide(morning, policy="hybrid")
    return {
        "model": "scaling",
        "asked": "13 days of usage, now 8:00 and rising",
        "answer": f"{decision.action}, from {decision.current_capacity:.2f} to {decision.target_capacity:.2f}, "
        f"enough with {decision.confidence:.0%}",
        "fallback": decision.fallback,
    }


def _optimizer(seed: int) -> dict[str, Any]:
    target = "pba_prediction"
    env = gym.make(rl_envs.ENVIRONMENTS[target], scenario="wan", split="test")
    observation, _ = env.reset(seed=seed)
    telemetry = {name: float(of_N[0]) for name, of_N in latest(target, observation[None]).items()}
    answer = AutoOptimizer().optimize(target, telemetry)
    low, high = answer.improvement_interval
    said = f"costs fall by {answer.expected_improvement:.0%} ({low:.0%} .. {high:.0%}), simulated"
    return {
        "model": "optimizer",
        "asked": f"{target} on a simulated WAN path of the test side",
        "answer": said if answer.is_improvement else f"the shipped defaults: {answer.reason}",
        "fallback": answer.fallback,
    }
