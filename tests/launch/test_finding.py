"""The launcher that is used belongs to the MPI that mpi4py loads; otherwise a sentence says what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mpidl.errors import LaunchError
from mpidl.launch import launcher
from mpidl.launch.launcher import find_launcher
from mpidl.launch.library import Library, find_library, parse_library

OPENMPI_5 = "mpirun (Open MPI) 5.0.11\n\nReport bugs to ..."
OPENMPI_4 = "mpirun.real (OpenRTE) 4.1.4"
SRUN = """MPI plugin types are...
\tpmix
\tnone
\tcray_shasta
\tpmi2
specific pmix plugin versions available: pmix_v4"""
HYDRA = "HYDRA build details:\n    Version: 4.2.1"

FIND = """
import sys
from mpidl.launch.library import find_library
path = find_library().path
print(path is None or path.exists(), "mpi4py.MPI" in sys.modules)
"""


def executable(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    path.chmod(0o755)
    return path


def library(path: Path | None, text: str = "Open MPI v5.0.11, package: x") -> Library:
    return parse_library(text, [str(path)] if path else [])


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No launcher beside this Python, so that only what a test makes can be found."""
    monkeypatch.setattr(launcher.sys, "prefix", str(tmp_path / "no-venv"))


@pytest.mark.parametrize(
    ("text", "family", "version"),
    [
        ("Open MPI v5.0.11, package: Open MPI user@host Distribution, ident: 5.0.11", "openmpi", "5.0.11"),
        ("MPICH Version:      4.2.1\nMPICH Release date: unreleased", "mpich", "4.2.1"),
        ("MVAPICH2 Version      :\t2.3.7", "mpich", "2.3.7"),
        ("Intel(R) MPI Library 2021.13 for Linux* OS", "intel", "2021.13"),
    ],
)
def test_libraries_are_told_apart_by_their_own_words(text: str, family: str, version: str) -> None:
    found = parse_library(text, [])
    assert (found.family, found.version) == (family, version)


def test_an_unknown_mpi_is_named_with_the_cure() -> None:
    with pytest.raises(LaunchError, match="'Some MPI 1.0'.*with its own launcher"):
        parse_library("Some MPI 1.0\nmore", [])


def test_the_library_of_this_python_is_found_without_loading_it_here() -> None:
    # In a Python of its own: in this one, tests may have loaded it.
    done = subprocess.run([sys.executable, "-c", FIND], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_a_python_without_mpi_gets_the_cure(tmp_path: Path) -> None:
    python = executable(tmp_path / "python", "")
    python.write_text("#!/bin/sh\necho 'RuntimeError: cannot load MPI library' >&2\nexit 1\n")
    with pytest.raises(LaunchError, match="cannot load MPI library.*mpidl\\[mpi\\]"):
        find_library(str(python))


@pytest.mark.parametrize("place", ["mpi/lib", "mpi/lib/release", "mpi/lib/x86_64-linux-gnu/openmpi/lib"])
def test_the_launcher_beside_the_library_comes_first(tmp_path: Path, place: str) -> None:
    beside = executable(tmp_path / "mpi/bin/mpirun", OPENMPI_5)
    on_path = executable(tmp_path / "other/mpirun", OPENMPI_5)
    found = find_launcher(library(tmp_path / place / "libmpi.so.40"), {"PATH": str(on_path.parent)})
    assert (found.path, found.kind, found.major) == (str(beside), "openmpi", 5)


@pytest.mark.parametrize("other", [OPENMPI_4, HYDRA, "mpirun: command failed"])
def test_a_launcher_of_another_mpi_is_passed_over(tmp_path: Path, other: str) -> None:
    wrong = executable(tmp_path / "wrong/mpirun", other)
    right = executable(tmp_path / "right/mpirun.openmpi", OPENMPI_5)
    found = find_launcher(library(None), {"PATH": f"{wrong.parent}:{right.parent}"})
    assert found.path == str(right)


def test_mpich_is_started_by_hydra(tmp_path: Path) -> None:
    executable(tmp_path / "mpirun", OPENMPI_5)
    right = executable(tmp_path / "mpiexec.mpich", HYDRA)
    found = find_launcher(library(None, "MPICH Version: 4.2.1"), {"PATH": str(tmp_path)})
    assert (found.path, found.kind) == (str(right), "mpich")


def srun(path: Path, offers: str = SRUN) -> Path:
    """A stand-in for srun, which tells what it offers as Slurm 22.05 does."""
    return executable(path / "srun", offers)


JOB = {"SLURM_JOB_ID": "7"}


def test_srun_is_used_only_in_an_allocation_without_mpirun(tmp_path: Path) -> None:
    path = srun(tmp_path)
    assert find_launcher(library(None), {"PATH": str(tmp_path), **JOB}).path == str(path)
    with pytest.raises(LaunchError, match="mpi4py loads Open MPI 5.0.11.*mpirun.*install one for this Python"):
        find_launcher(library(None), {"PATH": str(tmp_path)})
    mpirun = executable(tmp_path / "mpirun", OPENMPI_5)
    assert find_launcher(library(None), {"PATH": str(tmp_path), **JOB}).path == str(mpirun)


@pytest.mark.parametrize(
    ("text", "offers", "plugin"),
    [
        ("Open MPI v5.0.11, package: x", SRUN, "pmix"),
        ("Open MPI v4.1.4, package: x", "MPI plugin types are...\n\tnone\n\tpmi2", "pmi2"),
        ("MPICH Version: 4.2.1", SRUN, "pmi2"),
        ("MPICH Version: 4.2.1", "srun: MPI types are...\nsrun: none\nsrun: pmix", "pmix"),
        ("Intel(R) MPI Library 2021.18", SRUN, "pmi2"),
        ("MPI VERSION    : CRAY MPICH version 8.1.27.26 (ANL base 3.4a2)", SRUN, "cray_shasta"),
    ],
)
def test_ranks_find_each_other_under_srun_by_what_their_mpi_knows(
    text: str, offers: str, plugin: str, tmp_path: Path
) -> None:
    srun(tmp_path, offers)
    found = find_launcher(library(None, text), {"PATH": str(tmp_path), **JOB})
    assert (found.kind, found.plugin) == ("srun", plugin)


def test_an_srun_that_offers_nothing_for_this_mpi_is_refused_before_each_rank_trains_alone(tmp_path: Path) -> None:
    srun(tmp_path, "MPI plugin types are...\n\tnone\n\tpmi2")
    with pytest.raises(LaunchError, match="find each other under srun by pmix, and srun --mpi=list offers none, pmi2;"):
        find_launcher(library(None), {"PATH": str(tmp_path), **JOB})


def test_an_srun_that_fails_is_told_in_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "srun"
    path.write_text("#!/bin/sh\necho 'srun: fatal: Could not establish a configuration source' >&2; exit 1\n")
    path.chmod(0o755)
    with pytest.raises(LaunchError, match=r"list ends with code 1 \(srun: fatal: Could not .* source\); see that"):
        find_launcher(library(None), {"PATH": str(tmp_path), **JOB})


def test_a_site_chooses_the_launcher_and_one_that_cannot_be_is_refused(tmp_path: Path) -> None:
    path, mpirun = srun(tmp_path / "bin"), executable(tmp_path / "bin" / "mpirun", OPENMPI_5)
    other = executable(tmp_path / "other" / "mpirun", OPENMPI_5)
    place = {"PATH": str(tmp_path / "bin")}
    assert find_launcher(library(None), place).path == str(mpirun)
    assert find_launcher(library(None), {**place, **JOB, "MPIDL_LAUNCHER": "srun"}).path == str(path)
    assert find_launcher(library(None), {**place, "MPIDL_LAUNCHER": str(other)}).path == str(other)
    for chosen, sentence in (
        (
            "srun",
            "MPIDL_LAUNCHER is srun, which starts ranks in a job of Slurm alone: mpidl submit makes one; unset it",
        ),
        ("mpiruns", "MPIDL_LAUNCHER is 'mpiruns', which is no program here; name another, or unset it"),
        (str(path), "does not say that it belongs to Open MPI 5.0.11"),
    ):
        with pytest.raises(LaunchError) as error:
            find_launcher(library(None), {**place, "MPIDL_LAUNCHER": chosen})
        assert sentence in str(error.value)
    path.unlink()
    with pytest.raises(LaunchError, match="MPIDL_LAUNCHER is srun, which is not on PATH; unset it"):
        find_launcher(library(None), {**place, **JOB, "MPIDL_LAUNCHER": "srun"})


def test_a_launcher_that_needs_a_home_is_found_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    needy = executable(tmp_path / "mpirun", OPENMPI_5)
    needy.write_text(needy.read_text().replace("cat", '[ -n "$HOME" ] || exit 1\ncat', 1))
    assert find_launcher(library(None), {"PATH": str(tmp_path)}).path == str(needy)


def test_a_folder_that_is_named_like_mpi4py_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = find_library()
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    assert find_library() == expected
