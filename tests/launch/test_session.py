"""What a killed mpirun leaves behind disturbs no later launch."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mpidl.launch.command import keep_session
from mpidl.launch.folders import Folders
from mpidl.launch.launcher import find_launcher
from mpidl.launch.library import find_library
from tests.mpirun import environment

# A launcher that finds the files of a killed one of its own process number, as it happens when numbers come again.
HAUNTED = """#!/bin/sh
mkdir "$TMPDIR/ompi.$$" && touch "$TMPDIR/ompi.$$/pmix.{host}.tool" && exec "{launcher}" "$@"
"""
PARENT = """
import dataclasses, os, sys
from mpidl.launch import process
find = process.find
library, launcher = find()
process.find = lambda: (library, dataclasses.replace(launcher, path=sys.argv[1]))
sys.exit(process.Launch(2, ["echo", "alive"]).run())
"""


@pytest.mark.mpi
def test_files_of_a_killed_launcher_of_the_same_number_are_no_hindrance(tmp_path: Path) -> None:
    launcher = find_launcher(find_library())
    if launcher.kind != "openmpi" or launcher.major < 5:
        pytest.skip("only Open MPI 5 names its files by its process number alone")
    haunted = tmp_path / "mpirun"
    haunted.write_text(HAUNTED.format(host=socket.gethostname().partition(".")[0], launcher=launcher.path))
    haunted.chmod(0o755)
    found = environment({"TMPDIR": str(tmp_path)})
    del found["PRTE_MCA_prte_tmpdir_base"]

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=found, capture_output=True, text=True, timeout=60, check=False)

    plain = run(str(haunted), "--allow-run-as-root", "-n", "1", "echo", "alive")
    if plain.returncode != 213:
        pytest.skip(f"this Open MPI finds its way ({plain.returncode})")
    done = run(sys.executable, "-c", PARENT, str(haunted))
    assert (done.returncode, done.stdout) == (0, "alive\nalive\n"), done.stderr
    assert not list(tmp_path.glob("mpidl-*")), "the folder of the launch goes with it"


def test_a_folder_that_the_user_has_chosen_stays() -> None:
    for name in ("prte_tmpdir_base", "prte_local_tmpdir_base"):
        chosen = {f"PRTE_MCA_{name}": "/scratch"}
        keep_session(chosen, Folders(Path("/elsewhere"), None))
        assert chosen == {f"PRTE_MCA_{name}": "/scratch"}
    mine = {"OMPI_MCA_btl_vader_backing_directory": "/scratch"}
    keep_session(mine, Folders(Path("/elsewhere"), Path("/memory")))
    assert mine == {
        "PRTE_MCA_prte_tmpdir_base": "/elsewhere",
        "OMPI_MCA_btl_sm_backing_directory": "/memory",
        "OMPI_MCA_btl_vader_backing_directory": "/scratch",
    }


def test_hosts_that_are_named_get_no_folder_of_this_one() -> None:
    mine: dict[str, str] = {}
    keep_session(mine, Folders(Path("/words"), Path("/memory")), elsewhere=True)
    # Daemons on other hosts would make the others, and leave them.
    assert mine == {"PRTE_MCA_prte_local_tmpdir_base": "/words"}
