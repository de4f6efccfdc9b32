import shutil
import subprocess

import numpy as np
import pytest

from novacron.registry.lineage import library_versions, read_code_version

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(directory, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "code.txt").write_text("one")
    git(tmp_path, "add", "code.txt")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


@needs_git
def test_the_commit_of_a_clean_folder_is_its_full_hash(repository):
    version = read_code_version(repository)

    assert len(version) == 40
    assert set(version) <= set("0123456789abcdef")


@needs_git
def test_a_tag_does_not_hide_the_commit(repository):
    git(repository, "tag", "-a", "v1", "-m", "v1")

    assert len(read_code_version(repository)) == 40


@needs_git
def test_changed_files_are_told(repository):
    (repository / "code.txt").write_text("two")

    assert read_code_version(repository).endswith("-dirty")


def test_a_folder_without_git_has_an_unknown_version(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert read_code_version(tmp_path) == "unknown"


def test_a_machine_without_git_has_an_unknown_version(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert read_code_version(tmp_path) == "unknown"


def test_library_versions_are_the_installed_ones():
    assert library_versions(["numpy"])["numpy"] == np.__version__
