"""Memory that the ranks of a node share.

Each rank has one file in /dev/shm. Its name cannot be guessed, is told by message, and is removed as soon as all ranks
of the node have mapped the file, before it takes any room: from then on nothing is left behind however a rank ends.
"""

from __future__ import annotations

import mmap
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mpidl.rows import room

if TYPE_CHECKING:
    from mpi4py import MPI
    from torch import Tensor


FOLDER = Path("/dev/shm")


class SharedBlocks:
    """The blocks `[k, P]` of every rank of this node; made by all ranks of the communicator together.

    `failure` is empty, or says which rank of this node could not take part and why, in the same words on all of them;
    then there are no blocks.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        node_ranks: tuple[int, ...],
        rows: int,
        length: int,
        dtype: torch.dtype,
        blocks: int = 2,
    ) -> None:
        self._count, self._length, self._dtype = blocks, length, dtype
        self._blocks: dict[int, tuple[Tensor, ...]] = {}
        self._comm, self._node_ranks = comm, node_ranks
        self.failure, self._agreed = "", False
        size = room(blocks * rows, length, dtype)
        handle, path = self._create(size)
        try:
            files = comm.allgather((path, rows))
            self._agree()
            self._map({rank: files[rank] for rank in node_ranks})
            self._agree()
        finally:
            if path:
                Path(path).unlink()
        self._fill(handle, size)
        self._agree()
        if self.failure:
            self.close()

    def of(self, rank: int) -> tuple[Tensor, ...]:
        """The blocks of a rank of this node."""
        return self._blocks[rank]

    def close(self) -> None:
        """Lets go of the mappings; the memory is freed once no tensor uses it."""
        self._blocks.clear()

    def _agree(self) -> None:
        """Makes the failure of the lowest rank of this node that had one everybody's."""
        new = self.failure and not self._agreed
        failures = self._comm.allgather(f"rank {self._comm.rank}: {self.failure}" if new else self.failure)
        self.failure = next((failures[rank] for rank in self._node_ranks if failures[rank]), "")
        self._agreed = bool(self.failure)

    def _create(self, size: int) -> tuple[int, str]:
        path = FOLDER / f"mpidl-{secrets.token_hex(16)}"
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                os.ftruncate(handle, size)
            except OSError:
                os.close(handle)
                path.unlink()
                raise
        except OSError as error:
            self.failure = f"{FOLDER} cannot be used: {error.strerror}"
            return -1, ""
        return handle, str(path)

    def _map(self, files: dict[int, tuple[str, int]]) -> None:
        if self.failure:
            return
        for rank, (path, rows) in files.items():
            if not rows * self._length:
                self._blocks[rank] = torch.empty(self._count, rows, self._length, dtype=self._dtype).unbind()
                continue
            try:
                handle = os.open(path, os.O_RDWR)
                try:
                    memory = mmap.mmap(handle, 0)
                finally:
                    os.close(handle)
            except OSError as error:
                self.failure = f"the memory of rank {rank} cannot be mapped: {error.strerror}"
                return
            every = torch.frombuffer(memory, dtype=self._dtype).view(self._count, rows, -1)
            self._blocks[rank] = every[..., : self._length].unbind()

    def _fill(self, handle: int, size: int) -> None:
        """Takes the pages now: a page that is not there when it is first touched would kill the process."""
        if handle < 0:
            return
        try:
            if size and not self.failure:
                os.posix_fallocate(handle, 0, size)
        except OSError as error:
            self.failure = f"{FOLDER} has no room for {size / 2**20:.0f} MiB: {error.strerror}"
        finally:
            os.close(handle)
