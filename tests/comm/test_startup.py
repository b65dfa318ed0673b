"""A rank starts in order: threads, device, MPI, checks; what is wrong on one rank is refused on all."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from unittest import mock

import pytest
import torch

from mpidl.comm.gossip.sizes import ON_CPU, Cargo
from mpidl.comm.start import device as devices
from mpidl.comm.start import startup
from mpidl.comm.start.launchers import Place
from mpidl.comm.world import World
from mpidl.errors import ConfigError
from tests.mpirun import environment
from tests.ranks import logged, on_ranks

ALONE = """
from mpidl.comm.start.failures import guard
with guard():
    from mpidl.comm.start.startup import start
    start("cpu")
"""


@on_ranks(4)
def test_start_returns_all_ranks_and_sets_the_threads(comm):
    torch.set_num_threads(2)
    assert startup.start("cpu", threads="auto").size == 4
    assert torch.get_num_threads() == 2
    with logged() as warned:
        world = startup.start("cpu", threads=1)
    assert torch.get_num_threads() == 1
    assert world.rank == comm.rank
    assert not warned, "the launcher's variables and shared memory should agree here"


@on_ranks(4)
def test_a_gpu_that_one_host_lacks_is_refused_on_every_rank(comm):
    def choose(wanted: str, local_rank: int) -> torch.device:
        if comm.rank == 2:
            raise ConfigError("'cuda' cannot be used here", "train.device")
        return torch.device("cpu")

    with mock.patch.object(devices, "choose", choose), pytest.raises(ConfigError) as caught:
        startup.start("cuda")
    sentences = set(comm.allgather(str(caught.value)))
    assert len(sentences) == 1
    assert sentences.pop().startswith("train.device: on ")


@on_ranks(4)
def test_a_launcher_that_contradicts_shared_memory_is_reported_once(comm):
    wrong = {"SLURM_PROCID": str(comm.rank), "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": str(3 - comm.rank)}
    with mock.patch.dict(os.environ, wrong, clear=True), logged() as warned:
        startup.start("cpu")
    if comm.rank:
        assert not warned
    else:
        ((level, text),) = warned
        # Without a GPU it does no harm.
        assert level == logging.INFO
        assert text.startswith("for srun, rank 0 is 3 of ?, not 0 of 4 among the ranks of its host")


@on_ranks(4)
@pytest.mark.parametrize("gpus", [2, 4])
def test_sharing_a_gpu_is_noted(comm, gpus):
    with mock.patch.object(devices, "identity", lambda device: f"GPU-{comm.rank % gpus}"):
        world = World(comm, 4)
    if gpus == 2:
        assert world.warning.startswith("2 of the 2 GPUs in use are shared by several ranks (up to 2 each)")
    else:
        assert not world.warning


TCP = {f"OMPI_MCA_btl_tcp_{name}" for name in ("eager_limit", "rndv_eager_limit", "max_send_size")}


@pytest.mark.parametrize("local_size", ["2", "4"])
@pytest.mark.parametrize("said", [{}, {"OMPI_MCA_btl_tcp_max_send_size": "65536"}])
def test_ranks_of_several_hosts_send_chunks_unasked_unless_a_user_says_how_tcp_is_used(local_size, said):
    class StartedError(Exception):
        pass

    def join(place: Place) -> None:
        raise StartedError

    launcher = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
    launcher |= {"OMPI_COMM_WORLD_LOCAL_SIZE": local_size}
    mpi = mock.Mock(Is_initialized=lambda: False)
    with (
        mock.patch.dict(os.environ, launcher | said, clear=True),
        mock.patch.multiple(startup, MPI=mpi, join=join),
    ):
        with pytest.raises(StartedError):
            startup.start("cpu")
        found = {name: value for name, value in os.environ.items() if name in TCP}
    # A receiver that has room for less than what is sent unasked would write behind it.
    assert found == (dict.fromkeys(TCP, str(startup.UNASKED)) if local_size == "2" and not said else said)


def test_the_longest_chunk_and_its_header_are_sent_unasked():
    longest = max(ON_CPU.chunk_of(Cargo(1, dtype)) * dtype.itemsize for dtype in (torch.float64, torch.uint8))
    assert longest + 256 <= startup.UNASKED < longest + 2**16


@pytest.mark.parametrize("rank", ["0", "1"])
def test_processes_that_mpi_did_not_join_are_refused_and_one_speaks(rank):
    """As plain `srun -n 4` starts them without a fitting --mpi: each takes itself for a world of one."""
    env = environment({"SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": rank})
    done = subprocess.run(
        [sys.executable, "-c", ALONE], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    if rank == "0":
        assert done.stderr.startswith("mpidl: srun started 4 processes, but MPI (")
        assert "srun --mpi=" in done.stderr
        assert done.stderr.count("\n") == 1
    else:
        assert not done.stderr
