"""The command line and the environment with which ranks are started.

The environment carries these words to the ranks, on whatever hosts they are:

- `MPIDL_LAUNCHED=1`: you are a rank, do not start any.
- `MPIDL_TERMINAL=<columns>`: what you write to stderr ends on a terminal this wide, though you see a pipe.
- `MPIDL_OUTPUT=<columns>`: the same of stdout; where it is not said, no terminal is there, though you may see one.
- `MPIDL_FAILURE_FILE=<path>`: where a failing rank leaves its line (comm/start/failures.py), printed last.
- `MPIDL_CONFIGURATION=<packed>`: what to run, as the launching process has loaded it; a file may change, and a variable
  in it may have another value on another host.
- `OMP_NUM_THREADS=1` unless it is set: ranks that all use every core slow each other down.
- `PYTHONPATH` begins with the folder of this mpidl, where only the current folder had it: ranks do not look there.
- `HOME`, where it is not set: mpirun of Open MPI does not start without.
"""

from __future__ import annotations

import base64
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from mpidl.comm.start.failures import DEBUG
from mpidl.comm.start.presence import FAILURE_FILE
from mpidl.errors import ConfigError
from mpidl.launch.binding import Room
from mpidl.launch.folders import Folders
from mpidl.launch.launcher import Launcher
from mpidl.launch.received import CONFIGURATION
from mpidl.launch.surroundings import modules_path, with_home

# Linux takes 128 KiB for a variable, its name and what ends it included.
_LONGEST = 2**17 - 256

PASSED_ON = (
    "MPIDL_LAUNCHED",
    "MPIDL_TERMINAL",
    "MPIDL_OUTPUT",
    FAILURE_FILE,
    CONFIGURATION,
    DEBUG,
    "OMP_NUM_THREADS",
    "MPIDL_DATA",
    "PYTHONPATH",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_MPS_PIPE_DIRECTORY",
)
# On hosts that a person has named, these too, and all that begins like this: no scheduler has brought them there.
_WHERE = ("PATH", "LD_LIBRARY_PATH")
_KINDS = ("MPIDL_", "OMP_", "MKL_", "OPENBLAS_", "TORCH_", "NCCL_", "HDF5_", "MPI4PY_", "UCX_", "FI_", "WANDB_")


def this_mpidl(*words: str) -> list[str]:
    """The command `mpidl` with these words, in this Python: what ranks execute.

    -P keeps the current folder out of the search for modules: one named mpidl may lie there, beside a clone, say.
    """
    return [sys.executable, "-P", "-m", "mpidl", *words]


def launch_command(
    launcher: Launcher,
    ranks: int,
    program: Sequence[str],
    *,
    room: Room,
    environment: Mapping[str, str],
    as_root: bool,
    outliving: bool = False,
) -> list[str]:
    """The command that runs `program` on so many ranks; `environment` is that of `rank_environment`.

    `outliving`: whether the others go on when a rank dies.
    """
    if launcher.kind == "openmpi":
        flags = ["--allow-run-as-root"] if as_root else []
        flags += room.openmpi(ranks, launcher.major)
        if launcher.major >= 5 and "MPIDL_TERMINAL" in environment:
            # Open MPI 5 passes on whole lines only, and a progress bar has none.
            flags += ["--stream-buffering", "0"]
        if outliving:
            flags += ["--with-ft", "ulfm"]
        if launcher.hosts is not None:
            flags += ["--host", str(launcher.hosts)]
        if room.in_job or launcher.hosts is not None:
            # Ranks on other hosts get only what is named; those on this host inherit everything.
            names = _passed_on(environment, everything=launcher.hosts is not None)
            flags += [word for name in names for word in ("-x", name)]
    elif launcher.kind == "srun":
        flags = [f"--mpi={launcher.plugin}", "--kill-on-bad-exit=1", *room.srun(ranks)]
    elif launcher.kind == "intel":
        flags = room.intel(ranks, environment)
    else:
        flags = room.hydra(ranks)
    if launcher.hosts is not None and launcher.kind in ("mpich", "intel"):
        # Hydra passes on everything.
        flags += ["-hosts", str(launcher.hosts)]
    return [launcher.path, *flags, "-n", str(ranks), *program]


def _passed_on(environment: Mapping[str, str], everything: bool) -> list[str]:
    """The names of what ranks on other hosts get; `everything`: also what schedulers bring there."""
    names = [name for name in PASSED_ON if name in environment]
    if everything:
        more = sorted(name for name in environment if name in _WHERE or name.startswith(_KINDS))
        names += [name for name in more if name not in PASSED_ON]
    return names


def rank_environment(
    base: Mapping[str, str] = os.environ,
    *,
    failure_file: Path | None = None,
    terminal: int | None = None,
    output: int | None = None,
    configuration: str | None = None,
) -> dict[str, str]:
    """The environment of the ranks: ours, and the words above; `terminal` is of stderr, `output` of stdout."""
    environment = with_home(base)
    environment["MPIDL_LAUNCHED"] = "1"
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment.pop("MPIDL_TERMINAL", None)
    environment.pop("MPIDL_OUTPUT", None)
    environment.pop(FAILURE_FILE, None)
    environment.pop(CONFIGURATION, None)
    if terminal is not None:
        environment["MPIDL_TERMINAL"] = str(terminal)
    if output is not None:
        environment["MPIDL_OUTPUT"] = str(output)
    if failure_file is not None:
        environment[FAILURE_FILE] = str(failure_file)
    path = modules_path(environment)
    if path is not None:
        environment["PYTHONPATH"] = path
    if configuration is not None:
        environment[CONFIGURATION] = _packed(configuration)
    return environment


def _packed(configuration: str) -> str:
    packed = base64.b64encode(zlib.compress(configuration.encode(), 9)).decode()
    if len(packed) > _LONGEST:
        raise ConfigError(
            f"the configuration takes {len(packed)} bytes, packed, and ranks can be handed at most {_LONGEST}; "
            "move what is long, such as the edges of a graph, into a file of its own"
        )
    return packed


def keep_session(environment: dict[str, str], folders: Folders, elsewhere: bool = False) -> None:
    """Has Open MPI keep its files in the folders of this launch alone, unless the user says where.

    `elsewhere`: whether ranks are on other hosts, too, which have no such folders.

    Version 5 names those of mpirun by its process number, and where a killed one of the same number has left some, it
    fails with "The PMIx server's listener thread failed to start" and exit code 213. Those in shared memory would stay
    when all ranks are killed at once.
    """
    if not any(name.startswith("PRTE_MCA_prte_") and name.endswith("tmpdir_base") for name in environment):
        environment["PRTE_MCA_prte_local_tmpdir_base" if elsewhere else "PRTE_MCA_prte_tmpdir_base"] = str(
            folders.words
        )
    if folders.memory is not None and not elsewhere:
        # Version 4 has it under the other name.
        for name in ("OMPI_MCA_btl_sm_backing_directory", "OMPI_MCA_btl_vader_backing_directory"):
            environment.setdefault(name, str(folders.memory))
