"""A run file says which code made it, also where there is no git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import mpidl
from mpidl.results import provenance


def git(*arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def test_commit_and_changes_of_the_current_folder_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git("init")
    (tmp_path / "code.py").write_text("x = 1\n")
    git("add", "code.py")
    git("commit", "-m", "first")
    clean = provenance.gather()
    (tmp_path / "code.py").write_text("x = 2\n")
    changed = provenance.gather()
    assert len(clean["git_commit"]) == 40
    assert (clean["git_dirty"], changed["git_dirty"]) == (False, True)
    assert changed["git_commit"] == clean["git_commit"]


def test_outside_a_repository_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.gather()["git_commit"] == ""


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.gather()["git_commit"] == ""


@pytest.mark.parametrize(
    ("variable", "value", "told"), [("SLURM_JOB_ID", "12", "slurm 12"), ("PBS_JOBID", "7.head", "pbs 7.head")]
)
def test_the_job_is_told(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str) -> None:
    monkeypatch.setenv(variable, value)
    assert provenance.job_id() == told


def test_versions_name_what_numbers_depend_on() -> None:
    versions = provenance.versions()
    assert versions["mpidl"] == mpidl.__version__
    assert versions["h5py"][0].isdigit()
    assert {"python", "torch", "numpy", "mpi4py"} <= set(versions)
