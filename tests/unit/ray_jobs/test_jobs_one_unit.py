"""A trainer around four questions: its data, its fit, its seeds, its figures."""

from dataclasses import replace
from pathlib import Path

import pytest
from doubling_model import FEATURES, DoublingModel, metric
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from novacron.errors import ConfigError, OutOfRangeError
from novacron.registry.store import ModelStore
from novacron.telemetry.digest import data_sha256
from ray_jobs.config import load_config
from ray_jobs.locations import registry_config
from ray_jobs.one_unit import OneUnitTrainer, OwnDataConfig, generated, real
from ray_jobs.run_folder import RunFolder
from ray_jobs.trainers import TRAINERS, Evaluation, Picture
from ray_jobs.training import TrainRequest, train
from ray_jobs.units import read_progress


class Fit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    seed: int = 5
    fails: bool = False


class CountingConfig(OwnDataConfig):
    fit: Fit = Fit()


def draw():
    figure = Figure()
    figure.subplots().plot([1, 2])
    return figure


class CountingTrainer(OneUnitTrainer[CountingConfig]):
    """Its model's factor is the number of files it read, or 100 where it generated them."""

    name = "counting"
    unit = "count"
    config_model = CountingConfig
    libraries = ("numpy",)
    intended_use = "Tests."
    limits = ("Everything else.",)

    def describe(self, config, folder):
        if folder is None:
            return generated(config.fit.seed, 100)
        return real(folder, "text files", sha256=data_sha256([folder]), rows=3)

    def fit(self, config, data, report):
        if config.fit.fails:
            raise OutOfRangeError(field="seed", got=5, expected="another")
        count = 100 if data.folder is None else len(list(data.folder.glob("*.txt")))
        report(1, 2, rows=count, losses={"train": 0.5})
        report(2, 2)
        return DoublingModel(factor=float(count), features_hash=FEATURES)

    def seeds(self, config):
        return (config.fit.seed,)

    def measure(self, model, config, folder):
        pictures = (Picture(name="steps", title="Steps <1..2>", draw=draw),)
        return Evaluation(metrics=(metric(set_name="synthetic"),), pictures=pictures)


TRAINER = CountingTrainer()


@pytest.fixture
def counting(runs, monkeypatch, tmp_path) -> Path:
    monkeypatch.setitem(TRAINERS, "counting", __name__)
    config = tmp_path / "counting.yaml"
    config.write_text("fit: {seed: 5}\n")
    return config


def request_for(path, **changes):
    return TrainRequest(**{"model": "counting", "config_path": path} | changes)


def nothing(event, units):
    pass


def files_in(folder):
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text("x")
    return folder


def test_generated_data_are_used_where_nothing_is_named(counting):
    outcome = train(request_for(counting), nothing)

    assert (outcome["data_source"], outcome["rows"]) == ("generator seed 5", 100)


@pytest.mark.parametrize("named", [True, False])
def test_real_data_come_from_the_folder_named_or_the_environment_s(
    counting, tmp_path, monkeypatch, named
):
    folder = files_in(tmp_path / "data")
    if not named:
        monkeypatch.setenv("NOVACRON_DATA_DIR", str(folder))

    outcome = train(request_for(counting, data=str(folder) if named else None), nothing)

    loaded = ModelStore.connect(registry_config()).load("counting", outcome["version"])
    assert loaded.model.factor == 3
    assert (loaded.card.data_source, loaded.card.seeds) == ("text files", (5,))
    assert str(folder) not in loaded.card.model_dump_json()


def test_a_trainer_may_leave_the_environment_s_folder_alone(counting, tmp_path, monkeypatch):
    monkeypatch.setenv("NOVACRON_DATA_DIR", str(files_in(tmp_path / "data")))
    monkeypatch.setattr(CountingTrainer, "reads_data_dir", False)

    assert train(request_for(counting), nothing)["data_source"] == "generator seed 5"


def test_steps_losses_and_rows_are_reported(counting):
    outcome = train(request_for(counting), nothing)

    steps = read_progress(RunFolder(path=Path(outcome["run_dir"])).progress)["count"]
    assert [(one.step, one.steps, one.rows) for one in steps] == [(1, 2, 100), (2, 2, 0)]
    assert steps[0].losses == {"train": 0.5}


def test_a_failed_fit_leaves_no_bundle_behind(counting, tmp_path):
    counting.write_text("fit: {fails: true}\n")

    with pytest.raises(OutOfRangeError):
        train(request_for(counting, run_dir=tmp_path / "run"), nothing)

    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def test_a_finished_fit_is_not_repeated(counting, tmp_path):
    train(request_for(counting, run_dir=tmp_path / "run"), nothing)
    (tmp_path / "run" / "result.json").unlink()

    assert train(request_for(counting, run_dir=tmp_path / "run"), nothing)["units_resumed"] == 1


def test_a_config_that_names_traces_is_refused(tmp_path):
    path = tmp_path / "counting.yaml"
    path.write_text("data: {sets: [fcc]}\n")

    with pytest.raises(ConfigError, match="leave `data` out"):
        load_config(path, CountingConfig)


def test_the_report_shows_the_trainer_s_own_pictures_under_their_titles(counting):
    outcome = train(request_for(counting), nothing)

    page = Path(outcome["report"])
    assert (page.parent / "steps.png").stat().st_size > 1000
    assert "Steps &lt;1..2&gt;" in page.read_text()
    assert 'src="steps.png"' in page.read_text()


def test_the_work_is_the_same_for_the_same_request(counting):
    config = CountingConfig()
    data = TRAINER.load_data(config, "generator")
    first, second = (TRAINER.work(data, config, Path("runs")) for _ in range(2))

    assert replace(first) == second
