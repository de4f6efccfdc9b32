"""Training, planning many series, and resuming: the jobs of the capacity planner, without Ray."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_capacity import tiny_capacity

from novacron.errors import ConfigError, SchemaError
from novacron.models.capacity.config import CapacityConfig
from novacron.models.capacity.planner import CapacityPlanner
from novacron.registry.store import ModelStore
from novacron.telemetry.synthesize.demand import generate_demand
from ray_jobs import capacity_plans, plan_capacity
from ray_jobs.capacity_plans import PlanWork, in_units, plan_series, series_names
from ray_jobs.capacity_trainer import TRAINER, CapacityTrainConfig, training_series
from ray_jobs.config import load_config
from ray_jobs.locations import registry_config
from ray_jobs.plan_capacity import plan_answer
from ray_jobs.promote import GateConfig
from ray_jobs.trainers import trainer_of
from ray_jobs.training import TrainRequest, train

ROOT = Path(__file__).parents[3]
TINY = """
planner: {members: [weekday_mean, boosted], origins: 1}
fit: {places: 2, trials: 1, rounds: 5}
generated_series: 4
generated_days: 130
test_origins: 1
"""
QUICK = CapacityConfig(members=("weekday_mean", "boosted"), origins=1, paths=200)


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "capacity.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """A small model in the place of the one that comes with the package."""
    folder = tmp_path / "small"
    tiny_capacity("weekday_mean", "boosted", origins=1, paths=200).save(folder)
    monkeypatch.setattr("novacron.models.capacity.planner.SHIPPED", folder)
    return folder


@pytest.fixture
def source(tmp_path) -> Path:
    frame = generate_demand(3, series=5, days=80).reset_index(names="ts")
    long = frame.melt("ts", var_name="series_id", value_name="value")
    long.loc[long.series_id == "demand_3", "value"] = np.nan
    path = tmp_path / "series.parquet"
    long.to_parquet(path)
    return path


def test_a_training_registers_a_model_that_plans(runs, tiny):
    losses = []
    outcome = train(
        TrainRequest(model="capacity", config_path=tiny),
        lambda event, units: losses.append((event.step, dict(event.losses))),
    )

    loaded = ModelStore.connect(registry_config()).load("capacity", "challenger")
    series = generate_demand(9, series=1, days=90)["demand_0"]
    forecast = CapacityPlanner(model=loaded.model, version=loaded.version).forecast(series)
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]
    assert losses[2][1]["train"] > 0
    assert outcome["data_source"] == "generator seed 7"
    assert 0.3 < loaded.card.metric("mase_ratio_to_weekday_mean", "mix").value < 1.5
    assert loaded.card.metric("coverage_80", "mix").n == 6
    assert (len(forecast.value), forecast.model_version) == (30, loaded.version)


def test_the_shipped_config_and_gate_are_valid():
    config = load_config(ROOT / "configs/train/capacity.yaml", CapacityTrainConfig)

    assert trainer_of("capacity") is TRAINER
    assert "prophet" in config.planner.members
    assert load_config(ROOT / "configs/gate/capacity.yaml", GateConfig).limits


@pytest.mark.data
def test_training_never_sees_the_test_part_of_a_public_series():
    from ray_jobs.locations import data_dir

    if data_dir() is None:
        pytest.skip("NOVACRON_DATA_DIR is not set")
    from novacron.telemetry.datasets.demand import load_demand

    demands = load_demand(data_dir())
    parts = {
        one.group: one.history for s in (86_400, 3_600) for one in training_series(demands, s)
    }

    assert {one.set for one in demands} >= {"vic", "wikipedia", "bitbrains", "azure", "google"}
    for one in demands:
        if one.group in parts:
            end = parts[one.group].end
            assert one.test_from >= len(one.series) or end <= one.series.index[one.test_from]


def test_every_series_gets_a_row_and_a_bad_one_its_error(runs, shipped, source, tmp_path):
    payload = plan_answer(source, tmp_path / "plans.parquet", config=QUICK).payload

    plans = pq.read_table(tmp_path / "plans.parquet").to_pandas().set_index("series_id")
    assert list(plans.index) == [f"demand_{n}" for n in range(5)]
    assert "only missing values" in plans.error["demand_3"]
    assert (plans.error.drop("demand_3") == "").all()
    assert len(plans.value["demand_0"]) == 30
    assert (payload["series"], payload["planned"], payload["errors"]) == (5, 4, 1)


def test_a_plan_in_units_is_that_of_the_planner_alone(runs, shipped, source, tmp_path):
    plan_answer(source, tmp_path / "plans.parquet", config=QUICK)

    row = pq.read_table(tmp_path / "plans.parquet").to_pylist()[1]
    series = pd.read_parquet(source).query("series_id == 'demand_1'").set_index("ts")["value"]
    alone = CapacityPlanner(QUICK).generate_capacity_plan(series.rename("demand"))
    assert row["value"] == pytest.approx(alone.needs["demand"].forecast.value)
    assert row["features_hash"] == alone.features_hash


def test_a_finished_unit_is_not_planned_again(runs, shipped, source, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_capacity, "in_units", lambda names: in_units(names, 2))
    first = plan_answer(source, tmp_path / "plans.parquet", config=QUICK).payload
    next((runs / "plan_capacity").rglob("part-00001.parquet")).unlink()

    again = plan_answer(source, tmp_path / "again.parquet", config=QUICK).payload

    assert (first["units"], first["units_resumed"], again["units_resumed"]) == (3, 0, 2)
    one, two = (pq.read_table(tmp_path / name) for name in ("plans.parquet", "again.parquet"))
    assert one.equals(two)


def test_other_settings_never_reuse_the_parts_of_these(source):
    keys = {
        capacity_plans.work_key(source, days, config, model)
        for days in (7, 30)
        for config in (QUICK, CapacityConfig())
        for model in ("shipped", "3")
    }

    assert len(keys) == 8


def test_a_metric_column_brings_its_thresholds(runs, shipped, tmp_path):
    frame = pd.DataFrame({"series_id": "vm-1", "metric": "cpu_ratio"}, index=range(60))
    frame["ts"] = pd.date_range("2024-01-01", periods=60, freq="D", tz="UTC")
    frame["value"] = np.linspace(0.3, 0.73, 60) + 0.01 * np.random.default_rng(0).random(60)
    frame.to_parquet(tmp_path / "vm.parquet")

    plan_answer(tmp_path / "vm.parquet", tmp_path / "plans.parquet", config=QUICK)

    row = pq.read_table(tmp_path / "plans.parquet").to_pylist()[0]
    assert row["warning_probability"] > 0.1
    assert row["urgency"] != "none"


def test_a_file_without_the_columns_is_refused(tmp_path):
    pd.DataFrame({"series_id": ["a"], "ts": [1]}).to_parquet(tmp_path / "x.parquet")
    (tmp_path / "y.parquet").write_text("no Parquet")

    with pytest.raises(SchemaError, match="value"):
        series_names(tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match="Parquet"):
        series_names(tmp_path / "y.parquet")


def test_the_work_travels_without_its_model(source, tmp_path, shipped):
    import pickle

    work = PlanWork(
        source=source, folder=tmp_path / "parts", bundle=None, version="shipped", horizon_days=7,
        config=QUICK, units={"part-00000": ("demand_0",)},
    )  # fmt: skip

    assert len(pickle.dumps(work)) < 10_000
    arrived = pickle.loads(pickle.dumps(work))  # noqa: S301 - as Ray does
    assert plan_series(arrived, parallel=1, on_progress=print) == 0
    assert work.part("part-00000").exists()
