"""Starting real mpirun from a test: the command, and an end for it, whatever it does."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Of Linux alone, with the option that has a process signalled when its parent dies.
PRCTL, PDEATHSIG = getattr(ctypes.CDLL(None), "prctl", None), 1
# Variables by which a process takes itself for a rank of a launch that runs already.
INHERITED = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "MPI_LOCAL", "HYDI_", "HYDRA_")


@functools.cache
def mpirun_command(python: str) -> tuple[str, ...]:
    """mpirun beside this Python, else on PATH, with the flags for any number of ranks, by any user, on any machine."""
    beside = Path(python).parent / "mpirun"
    launcher = str(beside) if beside.exists() else shutil.which("mpirun")
    if launcher is None:
        raise FileNotFoundError(f"no mpirun in {beside.parent} and none on PATH; `pip install -e .[mpi]` brings one")
    version = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    if "Open MPI" not in version and "OpenRTE" not in version:
        return (launcher,)
    return (
        launcher,
        *("--allow-run-as-root", "--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"),
        # Ranks that wait leave their core to the others: there are fewer cores than ranks.
        *("--mca", "mpi_yield_when_idle", "1"),
        # What nobody uses here sleeps for a second when it is closed, in each launch.
        *("--mca", "btl", "^ofi"),
    )


@functools.cache
def _sessions() -> str:
    """Where mpirun keeps its files, so that none meets those of a killed one that had its process number."""
    folder = tempfile.mkdtemp(prefix="mpidl-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """For a launched command: one thread per rank, this working tree first, no trace of another launch."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(INHERITED)}
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path), "PRTE_MCA_prte_tmpdir_base": _sessions()}
    return {**kept, **ours, **(extra or {})}


def start(ranks: int, argv: Sequence[str], env: Mapping[str, str] | None = None, **streams: object) -> subprocess.Popen:
    """mpirun with this command, which begins with a Python, in a session of its own."""
    command = [*mpirun_command(argv[0]), "-n", str(ranks), *argv]
    return subprocess.Popen(  # type: ignore[call-overload]
        command, cwd=ROOT, env=environment(env), start_new_session=True, preexec_fn=_end_with_tests, **streams
    )


def _end_with_tests() -> None:
    """Has the kernel end mpirun when the tests that wait for it are killed, where the kernel is Linux."""
    if PRCTL is not None:
        PRCTL(PDEATHSIG, signal.SIGTERM)


def end(process: subprocess.Popen) -> None:
    """Ends mpirun and all that it started here; mpirun gets a moment to do so itself."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
    # Open MPI gives each rank a process group of its own, but the session stays ours.
    for pid in _session(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _session(leader: int) -> list[int]:
    """The processes whose session is that of this leader."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # After the name, which is in brackets and may hold anything: state, parent, group, session.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                members.append(int(entry.name))
    return members


def run(
    ranks: int, argv: Sequence[str], timeout: float = 60, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command on this many ranks to its end; past the timeout it is ended and TimeoutExpired raised."""
    process = start(
        ranks, argv, env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        end(process)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
