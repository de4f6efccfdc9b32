"""The smallest real trainer: its units write a number each, with steps and checkpoints.

`python doubling_trainer.py ARGUMENTS` is the training job with this trainer in the table.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from doubling_model import FEATURES, DoublingModel, metric
from pydantic import BaseModel, ConfigDict

from novacron.errors import OutOfRangeError
from novacron.models.bundles import LOADERS
from ray_jobs.trainers import TRAINERS, Evaluation, TrainConfig, Trained
from ray_jobs.units import UnitProgress


class FitConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = 3
    step_s: float = 0.0
    seeds: tuple[int, ...] = (1, 2)
    fail_in: str = ""


class DoublingConfig(TrainConfig):
    fit: FitConfig = FitConfig()


@dataclass
class DoublingWork:
    model: str
    fit: FitConfig
    folder: Path

    def fit_unit(self, unit, progress):
        if unit == self.fit.fail_in:
            raise OutOfRangeError(field=unit, got=1, expected="nothing")
        checkpoint = self.folder / f"{unit}.at"
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for step in range(done + 1, self.fit.steps + 1):
            time.sleep(self.fit.step_s)
            checkpoint.write_text(str(step))
            losses = {"train": 1 / step, "validation": 1.1 / step}
            progress(
                UnitProgress(
                    unit=unit,
                    set="synthetic",
                    seed=1,
                    step=step,
                    steps=self.fit.steps,
                    rows=10,
                    losses=losses,
                )
            )
        (self.folder / f"{unit}.json").write_text(json.dumps({"pid": os.getpid()}))


class DoublingTrainer:
    config_model = DoublingConfig
    libraries = ("numpy",)

    def work(self, data, config, checkpoint_dir):
        return DoublingWork(model="doubling", fit=config.fit, folder=checkpoint_dir)

    def stages(self, data, config):
        return (("first",), tuple(f"seed{seed}" for seed in config.fit.seeds))

    def is_finished(self, unit, work):
        return (work.folder / f"{unit}.json").exists()

    def assemble(self, data, config, checkpoint_dir):
        count = len(list(checkpoint_dir.glob("*.json")))
        return Trained(
            model=DoublingModel(factor=float(count), features_hash=FEATURES),
            seeds=config.fit.seeds,
            intended_use="Tests.",
            limits=("Everything else.",),
        )

    def evaluate(self, model, data, config):
        return Evaluation(metrics=(metric(set_name="synthetic"),), series={})


TRAINER = DoublingTrainer()


def put_in_tables(tables_of_trainers, tables_of_loaders):
    tables_of_trainers["doubling"] = "doubling_trainer"
    tables_of_loaders["doubling"] = "doubling_model"


if __name__ == "__main__":
    from ray_jobs.train import main

    put_in_tables(TRAINERS, LOADERS)
    sys.exit(main())
