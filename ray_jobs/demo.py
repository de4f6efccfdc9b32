"""The whole way in one command: cluster, training job, gate, endpoint, forecasts, other models.

`python -m ray_jobs.demo`, or `make demo`. A second run reuses the trained version, and the cluster
where `--keep` left it running.
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

from novacron.errors import GateRefusedError, ModelNotFoundError, NotReadyError, NovacronError
from novacron.registry.records import LoadedModel
from novacron.registry.store import ModelStore
from novacron.telemetry.datasets.paths import link_table_of_traces
from novacron.telemetry.traces import Trace
from ray_jobs import serving
from ray_jobs.answers import configure_logging, print_error, progress_bar
from ray_jobs.cluster import LocalCluster
from ray_jobs.cluster_state import ClusterConfig, ClusterState
from ray_jobs.config import load_config
from ray_jobs.demo_models import cold_answers
from ray_jobs.demo_view import summary_view
from ray_jobs.forecast_files import PredictRequest, predict_file
from ray_jobs.interrupts import Terminated
from ray_jobs.locations import registry_config, runs_dir
from ray_jobs.probe import infer, measure, outputs_of
from ray_jobs.promote import GateConfig, promote
from ray_jobs.train import request_from, submit_training, unit_bar
from ray_jobs.trainers import trainer_of
from ray_jobs.training_data import load_training_data

MODEL: Final = "bandwidth"
_ROWS_TO_FORECAST: Final = 20_000
_SWAP_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoRequest:
    """What the demo runs on."""

    config: Path = Path("configs/train/bandwidth_demo.yaml")
    gate: Path = Path("configs/gate/bandwidth.yaml")
    serve: Path = Path("configs/serve/local.yaml")
    data: str | None = None
    keep: bool = False
    """Leave the cluster and the endpoint running."""


class Demo:
    """The steps of the demo; each says what it does and returns what the summary needs.

    Args:
        request: What to run on.
        console: Where steps are told; standard error, since the summary owns standard output.
    """

    def __init__(self, request: DemoRequest, console: Console) -> None:
        self._request = request
        self._console = console
        self._folder = runs_dir() / "demo"

    def run(self) -> dict[str, Any]:
        """Run all steps and write `runs/demo/summary.json`."""
        started = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._say("Starting a local Ray cluster")
        with LocalCluster(ClusterConfig(), runs=runs_dir(), now=datetime.now(UTC)) as cluster:
            cluster.keep = self._request.keep
            stays = cluster.keep or cluster.reused
            state = cluster.state
            if cluster.reused:
                self._say("  one is already running and is reused")
            trained = self._train(state)
            promotion = self._promote(trained["version"])
            loaded = ModelStore.connect(registry_config()).load(MODEL)
            endpoint = self._serve(state, loaded)
            batch = self._forecast_file(loaded)
            self._say("Asking the models that answer from a cold start")
            summary = {
                "data_source": trained["data_source"],
                "data_sha256": trained["data_sha256"],
                "training": trained,
                "promotion": promotion,
                "endpoint": endpoint,
                "batch": batch,
                "cold_start": cold_answers(),
                "cluster": self._look(state, kept=stays),
                "seconds": round(time.monotonic() - started, 1),
            }
            self._say("Leaving the cluster running" if stays else "Stopping the cluster")
        path = self._folder / "summary.json"
        path.write_text(json.dumps(summary, indent=1, default=str) + "\n")
        return summary | {"summary": str(path)}

    def _say(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False)

    def _train(self, state: ClusterState) -> dict[str, Any]:
        self._say(f"Training {MODEL} as a Ray job ({self._request.config})")
        request = request_from(
            model=MODEL, config=self._request.config, data=self._request.data, run_dir=None
        )
        log_path = self._folder / "train.log"
        with log_path.open("w", encoding="utf-8") as log, progress_bar(hidden=False) as bar:

            def keep(line: str) -> None:
                log.write(line + "\n")

            outcome = submit_training(request, state, unit_bar(bar), keep)
        if outcome["reused"]:
            self._say(
                f"  trained before on the same inputs: version {outcome['version']} is reused"
            )
        elif outcome["units_resumed"]:
            self._say(f"  went on from {outcome['units_resumed']} units finished before")
        return outcome | {"log": str(log_path)}

    def _promote(self, version: str) -> dict[str, Any]:
        self._say(f"Asking the gate for version {version}")
        gate = load_config(self._request.gate, GateConfig)
        try:
            return promote(registry_config(), MODEL, version, gate, why="demo") | {"passed": True}
        except GateRefusedError as error:
            try:
                champion = ModelStore.connect(registry_config()).card(MODEL)
            except ModelNotFoundError:
                raise error from None
            self._say(f"  refused, the champion of {champion.created_at:%Y-%m-%d} stays")
            return {"model": MODEL, "passed": False, "refused": str(error)}

    def _serve(self, state: ClusterState, loaded: LoadedModel) -> dict[str, Any]:
        self._say("Deploying the endpoint")
        config = serving.read_serve_config(self._request.serve)
        url = serving.deploy(state, config)
        self._say("Asking it, beside the same model in this process")
        window = self._example_window()
        with httpx.Client(base_url=url, timeout=30.0) as client:
            answer = _answer_of_version(client, window, loaded.version)
            sizes = ((1, 200), (100, 60))
            probes = [
                measure(
                    client,
                    MODEL,
                    loaded.model,
                    {name: np.repeat(values, rows, axis=0) for name, values in window.items()},
                    requests=requests,
                )
                for rows, requests in sizes
            ]
        outputs = outputs_of(answer)
        return {
            "url": url,
            "model_version": answer.get("model_version"),
            "example": {name: values[0].tolist() for name, values in outputs.items()},
            "latency": [asdict(one) | {"ratio": round(one.ratio, 2)} for one in probes],
        }

    def _example_window(self) -> dict[str, NDArray[np.float64]]:
        trace = next(iter(self._traces.values()))[0]
        return {"bandwidth_mbps": np.array(trace.bandwidth_mbps[None, :64])}

    @functools.cached_property
    def _traces(self) -> Mapping[str, tuple[Trace, ...]]:
        config = load_config(self._request.config, trainer_of(MODEL).config_model)
        return load_training_data(config.data, self._request.data).traces_by_class

    def _forecast_file(self, loaded: LoadedModel) -> dict[str, Any]:
        self._say("Forecasting a Parquet file of telemetry")
        traces = [trace for members in self._traces.values() for trace in members]
        table = link_table_of_traces(traces).slice(0, _ROWS_TO_FORECAST)
        source = self._folder / "telemetry.parquet"
        pq.write_table(table, source)
        request = PredictRequest(
            model=MODEL, source=source, target=self._folder / "forecasts.parquet"
        )
        return predict_file(loaded, request)

    def _look(self, state: ClusterState, *, kept: bool) -> dict[str, Any]:
        registry = registry_config()
        return {
            "kept": kept,
            "dashboard": state.dashboard_url,
            "token_path": state.token_path,
            "mlflow": f"mlflow ui --backend-store-uri {registry.location}",
            "stop": "novacron down",
        }


def _answer_of_version(
    client: httpx.Client, window: Mapping[str, NDArray[np.float64]], version: str
) -> dict[str, Any]:
    """Ask until the wanted version answers: a running replica swaps a new champion in by itself."""
    deadline = time.monotonic() + _SWAP_TIMEOUT_S
    while True:
        answer = infer(client, MODEL, window)
        if answer.get("model_version") == version:
            return answer
        if time.monotonic() > deadline:
            raise NotReadyError(
                f"The endpoint still answers with version {answer.get('model_version')}, "
                f"not with the champion, {version}."
            )
        time.sleep(0.5)


def run_demo(request: DemoRequest) -> int:
    """Run the demo, print its table, and return the exit code."""
    configure_logging("WARNING")
    console = Console(stderr=True)
    try:
        summary = Demo(request, console).run()
    except NovacronError as error:
        print_error(error, console)
        return error.exit_code
    except Terminated as signal:
        console.print("Interrupted; the cluster is stopped.")
        return signal.exit_code
    Console().print(summary_view(summary))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    parser.add_argument("--data", help="folder of traces or `generator`")
    parser.add_argument("--config", type=Path, default=DemoRequest().config)
    parser.add_argument("--gate", type=Path, default=DemoRequest().gate)
    parser.add_argument("--serve", type=Path, default=DemoRequest().serve)
    given = parser.parse_args(arguments)
    return run_demo(DemoRequest(**vars(given)))


if __name__ == "__main__":
    sys.exit(main())
