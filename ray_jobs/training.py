"""One training from data to a registered version, in steps that a killed run does not repeat."""

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from novacron.registry.card import ModelCard
from novacron.registry.lineage import library_versions
from novacron.registry.runs import Run
from novacron.registry.store import ModelStore
from ray_jobs.config import load_config
from ray_jobs.locations import registry_config, runs_dir
from ray_jobs.report import write_report
from ray_jobs.run_folder import RunFolder, code_version, run_key
from ray_jobs.trainers import Evaluation, TrainConfig, Trained, Trainer, data_for, trainer_of
from ray_jobs.training_data import TrainingData
from ray_jobs.units import UnitProgress, run_units

log = logging.getLogger(__name__)

ProgressListener = Callable[[UnitProgress, int], None]
"""Gets each report of each unit and the number of units of the training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRequest:
    """What to train, on what, and where to keep it."""

    model: str
    config_path: Path
    data: str | None = None
    """A folder of traces, `generator`, or None to decide by the environment."""
    run_dir: Path | None = None
    """None: named after the inputs, below the runs folder."""


def train(request: TrainRequest, on_progress: ProgressListener) -> dict[str, Any]:
    """Train, measure and register; go on with an unfinished run, reuse a finished one.

    Returns:
        The JSON-able outcome: run folder, data source, metrics, registered version, and `reused`.

    Raises:
        NovacronError: A step failed; the same request goes on from what is finished.
    """
    trainer = trainer_of(request.model)
    config = load_config(request.config_path, trainer.config_model)
    data = data_for(trainer, config, request.data)
    log.info("data: %s, %d samples, sha256 %s", data.source, data.rows, data.sha256[:12])
    key = run_key(request.model, config.model_dump_json(), data.sha256)
    folder = RunFolder(path=request.run_dir or runs_dir() / "train" / f"{request.model}-{key}")
    training = _Training(
        model=request.model,
        trainer=trainer,
        config=config,
        data=data,
        folder=folder,
        key=key,
        store=ModelStore.connect(registry_config()),
    )
    finished = training.finished()
    if finished is not None:
        log.info("finished before: version %s is registered", finished["version"])
        return finished | {"reused": True}
    outcome = training.run(on_progress)
    folder.write("result", outcome)
    return outcome | {"reused": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Training:
    model: str
    trainer: Trainer
    config: TrainConfig
    data: TrainingData
    folder: RunFolder
    key: str
    store: ModelStore

    def finished(self) -> dict[str, Any] | None:
        """Return the outcome of a finished run of the same inputs whose version still exists."""
        result = self.folder.read("result")
        if result is None or result.get("key") != self.key:
            return None
        if self.model not in self.store.models():
            return None
        versions = {record.version for record in self.store.versions(self.model)}
        return result if result["version"] in versions else None

    def run(self, on_progress: ProgressListener) -> dict[str, Any]:
        """Fit what is missing, assemble, measure, register."""
        started = time.monotonic()
        description = self._begin()
        params = json.loads(self.config.model_dump_json()) | {"data_sha256": self.data.sha256}
        known = self.store.known_run(description.get("run_id", ""))
        with self.store.run(f"train {self.model}", params=params, run_id=known) as run:
            self.folder.write("run", description | {"run_id": run.run_id})
            resumed = self._fit_units(run, on_progress)
            trained = self.trainer.assemble(self.data, self.config, self.folder.checkpoints)
            self._write_bundle(trained)
            evaluation = self.trainer.evaluate(trained.model, self.data, self.config)
            card = self._card(trained, evaluation)
            figures = write_report(self.folder, card, evaluation.series, evaluation.pictures)
        record = self.store.register(
            self.model, self.folder.bundle, card, figures, run_id=run.run_id
        )
        return {
            "model": self.model,
            "version": record.version,
            "run_id": run.run_id,
            "run_dir": str(self.folder.path),
            "report": str(self.folder.report / "index.html"),
            "key": self.key,
            "data_source": self.data.source,
            "data_sha256": self.data.sha256,
            "rows": self.data.rows,
            "units_resumed": resumed,
            "metrics": [metric.model_dump(mode="json") for metric in card.metrics],
            "seconds": round(time.monotonic() - started, 1),
        }

    def _begin(self) -> dict[str, Any]:
        """Return what is known of this run; what another run left in the folder is removed."""
        description = self.folder.read("run") or {}
        if description.get("key") != self.key and self.folder.path.exists():
            for stale in (self.folder.checkpoints, self.folder.progress, self.folder.bundle):
                shutil.rmtree(stale, ignore_errors=True)
            description = {}
        self.folder.checkpoints.mkdir(parents=True, exist_ok=True)
        return description or {
            "key": self.key,
            "model": self.model,
            "data_source": self.data.source,
            "data_sha256": self.data.sha256,
            "config": json.loads(self.config.model_dump_json()),
        }

    def _fit_units(self, run: Run, on_progress: ProgressListener) -> int:
        """Fit the units that are not finished, stage by stage, and return how many were."""
        work = self.trainer.work(self.data, self.config, self.folder.checkpoints)
        stages = self.trainer.stages(self.data, self.config)
        count = sum(len(stage) for stage in stages)

        def listen(event: UnitProgress) -> None:
            run.log_metrics(
                {f"{event.unit}/{split}": loss for split, loss in event.losses.items()},
                step=event.step,
            )
            on_progress(event, count)

        resumed = 0
        for number, stage in enumerate(stages, start=1):
            missing = [unit for unit in stage if not self.trainer.is_finished(unit, work)]
            resumed += len(stage) - len(missing)
            log.info("stage %d: %d of %d units to fit", number, len(missing), len(stage))
            run_units(
                work,
                missing,
                progress_dir=self.folder.progress,
                parallel=self.config.parallel_units,
                on_progress=listen,
            )
        return resumed

    def _write_bundle(self, trained: Trained) -> None:
        draft = self.folder.path / "bundle.tmp"
        shutil.rmtree(draft, ignore_errors=True)
        trained.model.save(draft)
        shutil.rmtree(self.folder.bundle, ignore_errors=True)
        draft.replace(self.folder.bundle)

    def _card(self, trained: Trained, evaluation: Evaluation) -> ModelCard:
        return ModelCard(
            name=self.model,
            kind=trained.model.kind,
            created_at=datetime.now(UTC),
            data_sha256=self.data.sha256,
            data_source=self.data.source,
            code_version=code_version(),
            config=json.loads(self.config.model_dump_json()),
            seeds=trained.seeds,
            metrics=evaluation.metrics,
            features_hash=trained.model.features_hash,
            versions=library_versions(self.trainer.libraries),
            intended_use=trained.intended_use,
            limits=trained.limits,
        )
