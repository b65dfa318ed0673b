"""Real launches whose mpirun or ranks are told to end, killed, or leave: one line, the exit code, and nothing left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from mpidl.comm.start import presence
from mpidl.launch.folders import SHARED_MEMORY
from tests.mpirun import ROOT, environment

pytestmark = pytest.mark.mpi

HOST = socket.gethostname()
PARENT = """
import sys
from mpidl.launch.process import Launch
sys.exit(Launch(2, [sys.executable, "-m", "tests.launch.waiting", sys.argv[1]]).run())
"""
Start = Callable[[str], subprocess.Popen[str]]
Found = TypeVar("Found")


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Start]:
    """Starts ranks that do as they are told."""
    started = []
    found = environment({"TMPDIR": str(tmp_path)})
    # So that the launch keeps mpirun's files as it does for a user.
    found.pop("PRTE_MCA_prte_tmpdir_base", None)

    def start(what: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PARENT, what]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=ROOT, env=found, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def waiting(process: subprocess.Popen[str]) -> list[int]:
    """The processes of the ranks, once they wait inside MPI."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("up "), process.communicate()[1]
    return [int(number) for number in line.split()[1:]]


def mpirun(process: subprocess.Popen[str]) -> int:
    """The only child of a launch."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def runs(process: int) -> bool:
    """Whether it does more than wait to be buried."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def memory() -> set[Path]:
    """The folders of launches in shared memory."""
    return set(SHARED_MEMORY.glob("mpidl-*-*-*-*"))


def launch_of(folder: Path) -> int:
    """The process whose folder this is."""
    return int(folder.name.split("-")[2])


@pytest.mark.parametrize(
    ("number", "to", "sentence", "code"),
    [
        (signal.SIGTERM, "mpirun", "interrupted", 143),
        (signal.SIGHUP, "mpirun", "interrupted", 143),
        (signal.SIGKILL, "mpirun", "was ended by SIGKILL", 5),
        (signal.SIGTERM, "rank 1", "interrupted", 143),
        (signal.SIGKILL, "rank 1", f"rank 1 on {HOST} was ended by SIGKILL", 5),
        (signal.SIGQUIT, "launch", "interrupted", 143),
    ],
)
def test_a_signal_ends_all_of_a_launch_and_is_told_as_what_it_was(
    launch: Start, tmp_path: Path, number: signal.Signals, to: str, sentence: str, code: int
) -> None:
    process = launch("wait")
    ranks = waiting(process)
    os.kill({"mpirun": mpirun(process), "rank 1": ranks[1], "launch": process.pid}[to], number)
    _, err = process.communicate(timeout=30)
    assert err.startswith("mpidl: ") and sentence in err and err.count("\n") == 1
    assert process.returncode == code
    assert not any(map(runs, ranks))
    assert not list(tmp_path.glob("mpidl-*"))
    assert process.pid not in map(launch_of, memory())


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("exit", "ended before its work was done, without a word"),
        ("abort", f"rank 1 on {HOST} ended before its work was done, with exit code 7"),
    ],
)
def test_a_rank_that_leaves_by_itself_ends_the_launch(launch: Start, what: str, sentence: str) -> None:
    process = launch(what)
    _, err = process.communicate(timeout=30)
    assert sentence in err and "PMI" not in err and process.returncode == 5


def test_a_stopped_rank_goes_with_its_launch(launch: Start, tmp_path: Path) -> None:
    process = launch("stop")
    rank = wait_for(lambda: next((found.process for found in everyone(tmp_path) if stopped(found.process)), None))
    os.kill(mpirun(process), signal.SIGKILL)
    assert process.wait(timeout=30) == 5
    assert not runs(rank)


def test_ranks_of_a_killed_launch_end_and_the_next_launch_clears_up(launch: Start, tmp_path: Path) -> None:
    process = launch("wait")
    ranks = waiting(process)
    process.kill()
    wait_for(lambda: not any(map(runs, ranks)))
    assert list(tmp_path.glob("mpidl-*"))
    launch("exit").communicate(timeout=30)
    assert not list(tmp_path.glob("mpidl-*"))


def stopped(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def everyone(folder: Path) -> list[presence.Presence]:
    return [found for words in folder.glob("mpidl-*") for found in presence.read(words)]


def wait_for(what: Callable[[], Found]) -> Found:
    """What this gives as soon as it gives anything."""
    deadline = time.monotonic() + 30
    while not (found := what()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)
    return found


def test_a_rank_that_is_told_to_end_before_mpi_starts_says_so_alone(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    (tmp_path / "run.yaml").write_text("model: slow:network\n")
    found = environment({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"})
    command = [sys.executable, "-P", "-m", "mpidl", "run", "run.yaml"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=found, text=True, **pipes) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        process.terminate()
        assert process.communicate(timeout=30)[1] == "mpidl: interrupted\n"
    assert process.returncode == 143


def test_what_a_rank_has_started_goes_with_the_launch(launch: Start) -> None:
    process = launch("leave a child")
    child = int(process.communicate(timeout=60)[0].split()[-1])
    assert process.returncode == 5
    assert not runs(child)
