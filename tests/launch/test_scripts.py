"""The shell scripts: job scripts start what they say, and the set-up tells a cluster's MPI from its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*ROOT.glob("tools/*.sh"), *ROOT.glob("jobs/*.sh"), ROOT / ".ci" / "run"])


def bash(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin"} | variables
    return subprocess.run(["bash", *words], capture_output=True, text=True, env=environment, check=False)


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_valid_bash(script: Path) -> None:
    assert bash("-n", str(script)).stderr == ""


@pytest.mark.parametrize("script", sorted(ROOT.glob("jobs/*.sh")), ids=lambda path: path.name)
def test_a_job_script_without_a_configuration_says_how_it_is_used(script: Path, tmp_path: Path) -> None:
    done = bash("-c", f"cd {tmp_path} && bash {script}", PBS_O_WORKDIR=str(tmp_path))
    assert "usage: " in done.stderr and script.name.partition("-")[0] in done.stderr and done.returncode != 0


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], ""),
        (["cluster/bin/mpirun"], "cluster/bin/mpirun"),
        (["cluster/bin/mpicc"], "cluster/bin/mpicc"),
        ([".venv/bin/mpirun"], ""),
        ([".venv/bin/mpirun", "cluster/bin/mpirun"], "cluster/bin/mpirun"),
    ],
)
def test_the_set_up_sees_an_mpi_on_path_but_not_its_own(tmp_path: Path, found: list[str], expected: str) -> None:
    folders = [executable(tmp_path / name).parent for name in found]
    path = os.pathsep.join(map(str, folders)) or str(tmp_path)
    # Once the script is read, bash alone is needed, so that an MPI of this machine can be kept out of sight.
    done = bash("-c", f'source "{ROOT}/tools/setup_venv.sh"; PATH="{path}"; VENV="{tmp_path}/.venv"; foreign_mpi')
    assert done.stdout.strip().removeprefix(f"{tmp_path}/") == expected
