import os
import subprocess
import sys
from pathlib import Path

import pytest

from novacron.errors import InvalidInputError, NotFoundError, NotReadyError, NovacronError
from ray_jobs.cluster import LocalCluster
from ray_jobs.jobs import Jobs

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def jobs(cluster: LocalCluster) -> Jobs:
    return Jobs(cluster.state)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "say.py").write_text(
        "import os, sys, time\n"
        "print('working in', sorted(os.listdir('.')))\n"
        "print('colour', os.environ.get('COLOUR'))\n"
        "time.sleep(float(sys.argv[2]))\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    for name in (".git", "runs", "data"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "big.bin").write_bytes(b"0" * 1000)
    return tmp_path


def test_a_job_runs_in_its_uploaded_folder_with_its_variables(jobs: Jobs, folder: Path) -> None:
    submission_id = jobs.submit(
        ["python", "say.py", "0", "0"], working_dir=folder, env={"COLOUR": "blue"}
    )
    lines: list[str] = []
    outcome = jobs.follow(submission_id, lines.append)

    assert outcome.status == "SUCCEEDED"
    assert outcome.exit_code == 0
    assert "working in ['say.py']" in lines
    assert outcome.last_line == "colour blue"


def test_a_failed_job_keeps_its_own_exit_code(jobs: Jobs, folder: Path) -> None:
    submission_id = jobs.submit(["python", "say.py", "3", "0"], working_dir=folder)
    outcome = jobs.follow(submission_id, lambda _line: None)

    assert (outcome.status, outcome.exit_code) == ("FAILED", 3)


def test_a_job_runs_with_the_interpreter_that_started_the_cluster(
    jobs: Jobs, folder: Path
) -> None:
    submission_id = jobs.submit(
        ["python", "-c", "import sys; print(sys.prefix)"], working_dir=folder
    )
    outcome = jobs.follow(submission_id, lambda _line: None)

    assert outcome.last_line == sys.prefix


def test_a_stopped_job_says_so(jobs: Jobs, folder: Path) -> None:
    submission_id = jobs.submit(["python", "say.py", "0", "60"], working_dir=folder)

    status = jobs.stop(submission_id)

    assert status == "STOPPED"


def test_a_job_that_takes_too_long_is_stopped_and_reported(jobs: Jobs, folder: Path) -> None:
    submission_id = jobs.submit(["python", "say.py", "0", "60"], working_dir=folder)

    with pytest.raises(NovacronError, match="longer than"):
        jobs.follow(submission_id, lambda _line: None, timeout_s=3.0)

    assert jobs.status(submission_id)["status"] == "STOPPED"


def test_a_job_that_waits_for_resources_for_ever_is_stopped_and_reported(
    jobs: Jobs, folder: Path
) -> None:
    submission_id = jobs.submit(["python", "say.py", "0", "0"], working_dir=folder, cpus=64)

    with pytest.raises(NotReadyError, match="waiting for resources"):
        jobs.follow(submission_id, lambda _line: None, pending_timeout_s=3.0)


def test_a_second_submission_of_the_same_id_is_refused(jobs: Jobs, folder: Path) -> None:
    jobs.submit(["python", "say.py", "0", "0"], working_dir=folder, submission_id="same")

    with pytest.raises(InvalidInputError, match="same"):
        jobs.submit(["python", "say.py", "0", "0"], working_dir=folder, submission_id="same")


def test_an_unknown_job_is_named_in_the_error(jobs: Jobs) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        jobs.status("nobody")


def test_rays_own_command_finds_the_cluster_by_the_variables_it_is_given(
    cluster: LocalCluster, folder: Path
) -> None:
    finished = subprocess.run(
        [
            str(Path(sys.executable).parent / "ray"),
            *("job", "submit", "--working-dir", "."),
            *("--", "python", "say.py", "0", "0"),
        ],
        cwd=folder,
        env=os.environ | cluster.state.client_env(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert finished.returncode == 0, finished.stderr[-2000:]
    assert "colour None" in finished.stdout
