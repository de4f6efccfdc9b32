import subprocess
import sys

import pytest

from novacron.errors import ConfigError, NotFoundError


def client(store):
    return store._backend._client


def test_a_run_keeps_settings_progress_pictures_and_documents(store, tmp_path):
    picture = tmp_path / "loss.png"
    picture.write_bytes(b"png")

    with store.run("train", params={"model": {"hidden": 32}}, tags={"data": "d1"}) as run:
        for step, loss in enumerate((0.9, 0.5)):
            run.log_metrics({"loss": loss}, step=step)
        run.log_figure(picture)
        run.log_artifact(picture, "raw")
        run.log_json("progress.json", {"epochs": 2})

    stored = client(store).get_run(run.run_id)
    history = client(store).get_metric_history(run.run_id, "loss")
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {"model.hidden": "32"}
    assert stored.data.tags["data"] == "d1"
    assert [(point.step, point.value) for point in history] == [(0, 0.9), (1, 0.5)]
    paths = [entry.path for entry in client(store).list_artifacts(run.run_id)]
    assert paths == ["figures", "progress.json", "raw"]


def test_a_run_that_raises_is_marked_failed_and_the_error_goes_on(store):
    with pytest.raises(ZeroDivisionError), store.run("train") as run:
        _ = 1 / 0

    assert store._backend.run_status(run.run_id) == "FAILED"


def test_a_run_that_is_interrupted_is_marked_killed(store):
    with pytest.raises(KeyboardInterrupt), store.run("train") as run:
        raise KeyboardInterrupt

    assert store._backend.run_status(run.run_id) == "KILLED"


def test_a_run_whose_process_was_killed_is_taken_up_by_its_id(store, config):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from novacron.registry.config import RegistryConfig\n"
        "from novacron.registry.store import ModelStore\n"
        "store = ModelStore.connect(RegistryConfig(root=Path(sys.argv[1])))\n"
        "with store.run('train', params={'seed': 1}) as run:\n"
        "    run.log_metrics({'loss': 0.9}, step=0)\n"
        "    print(run.run_id, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(config.root)], capture_output=True, text=True, check=False
    )
    run_id = killed.stdout.strip()
    left_as = store._backend.run_status(run_id)

    with store.run("train", params={"seed": 1}, run_id=run_id) as run:
        run.log_metrics({"loss": 0.5}, step=1)

    history = client(store).get_metric_history(run_id, "loss")
    assert left_as == "RUNNING"
    assert [(point.step, point.value) for point in history] == [(0, 0.9), (1, 0.5)]
    assert store._backend.run_status(run_id) == "FINISHED"


def test_a_run_taken_up_with_other_settings_is_refused(store):
    with store.run("train", params={"seed": 1}) as run:
        pass

    with (
        pytest.raises(ConfigError, match="the values this run was started with"),
        store.run("train", params={"seed": 2}, run_id=run.run_id),
    ):
        pass


def test_a_run_that_does_not_exist_is_refused(store):
    with pytest.raises(NotFoundError, match="no run"), store.run("train", run_id="a" * 32):
        pass


def test_a_child_run_names_its_parent(store):
    with store.run("search") as parent, store.run("trial", parent_run_id=parent.run_id) as child:
        pass

    tags = client(store).get_run(child.run_id).data.tags
    assert tags["mlflow.parentRunId"] == parent.run_id


def test_more_settings_than_fit_one_request_are_all_kept(store):
    params = {f"p{number}": number for number in range(250)}

    with store.run("train", params=params) as run:
        run.log_metrics({f"m{number}": 1.0 for number in range(250)})

    stored = client(store).get_run(run.run_id).data
    assert (len(stored.params), len(stored.metrics)) == (250, 250)


def test_a_registered_model_shows_its_measured_values_and_pictures_in_its_run(store, tmp_path):
    import doubling_model

    figure = tmp_path / "error.png"
    figure.write_bytes(b"png")

    record = store.register(
        "bandwidth",
        doubling_model.write_bundle(tmp_path / "bundle"),
        doubling_model.card(),
        [figure],
    )

    stored = client(store).get_run(record.run_id)
    assert stored.data.metrics == {"oboe/wape_ratio_to_ewma": 0.8}
    assert client(store).list_artifacts(record.run_id, "figures")[0].path == "figures/error.png"
