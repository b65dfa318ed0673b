"""Memory for what exceeds a budget of main memory, in a file on disk."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from mpidl.errors import SaveError

SEGMENT = 64 * 2**20
"""Bytes by which the file grows at least."""


class Spill:
    """Items of a state: in main memory up to a budget, and beyond it in a file that is mapped into memory.

    The operating system keeps in main memory what is in use of the file, and the rest as long as there is room: what
    nobody asks for goes to the disk. The file has no name, so that nothing is left behind however the process ends.
    Room on the disk is taken when the file grows: a page that finds none when it is written would kill the process.
    """

    def __init__(self, budget: int, folder: Path) -> None:
        self.budget, self._folder = budget, folder
        self._handle: int | None = None
        self._size = self._used = 0
        self._free: defaultdict[int, list[Tensor]] = defaultdict(list)

    def take(self, size: int) -> Tensor | None:
        """So many bytes of the file, whatever they hold; None while the budget has room for them in main memory."""
        if self._used + size <= self.budget:
            self._used += size
            return None
        if not self._free[size]:
            self._free[size] = self._grown(size)
        return self._free[size].pop()

    def give_back(self, size: int, memory: Tensor | None) -> None:
        """What `take` has returned is not needed any more."""
        if memory is None:
            self._used -= size
        else:
            self._free[size].append(memory)

    def _grown(self, size: int) -> list[Tensor]:
        """Items of this size in a new segment of the file."""
        count = max(SEGMENT // size, 1)
        length = -(-count * size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        try:
            if self._handle is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self._folder) as file:
                    self._handle = os.dup(file.fileno())
            os.posix_fallocate(self._handle, self._size, length)
            segment = mmap.mmap(self._handle, length, offset=self._size)
        except OSError as error:
            raise SaveError(
                f"{self._folder} takes no {length / 2**20:.0f} MiB of the agents' state beyond train.state_memory: "
                f"{error.strerror}"
            ) from error
        self._size += length
        return list(torch.frombuffer(segment, dtype=torch.uint8)[: count * size].view(count, size))
