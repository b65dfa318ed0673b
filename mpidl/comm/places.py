"""Memory for chunks on their way, and the copies between it and the rows where MPI cannot have them as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

HOST = {"pin_memory": True}
"""Host memory that a GPU copies to and from by itself."""


@dataclass(frozen=True)
class Place:
    """Memory for one chunk, as MPI sees it and as sums read it."""

    outside: Tensor
    inside: Tensor


class Places:
    """Chunks of one length, shared by all routes of an exchange, since only one of them is under way at a time.

    `direct` says that MPI reaches the memory of `device`: always for the CPU, by `mpidl.comm.probe` for a GPU. Where it
    does not, places are in pinned host memory, and have twins on the device where sums are to read them (`twins`).
    """

    def __init__(
        self, elements: int, dtype: torch.dtype, device: torch.device, direct: bool, twins: bool = False
    ) -> None:
        self.elements, self.dtype, self.direct = elements, dtype, direct
        self._device, self._twins = device, twins and not direct
        self._places: list[Place] = []

    def take(self, start: int, stop: int) -> list[Place]:
        """Places number `start` to `stop`."""
        while len(self._places) < stop:
            where = {"device": self._device} if self.direct else HOST
            outside = torch.empty(self.elements, dtype=self.dtype, **where)  # type: ignore[call-overload]
            inside = torch.empty_like(outside, device=self._device) if self._twins else outside
            self._places.append(Place(outside, inside))
        return self._places[start:stop]

    def settle(self) -> None:
        """Until a GPU is through with memory that MPI is about to touch there; MPI knows nothing of streams."""
        if self.direct and self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()

    def idle(self) -> None:
        """Until a GPU is through with all places, which may be received into only then."""
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()

    def copies(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Copies:
        """Copies from the first to the second of each pair; where they are the same, nothing."""
        stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        return Copies([(source, target) for source, target in pairs if source is not target], stream)

    @property
    def memory(self) -> int:
        """Bytes of all places and their twins."""
        return sum(place.outside.nbytes * (1 + self._twins) for place in self._places)


class Copies:
    """Copies of a few chunks, with rounding where dtypes differ: done at once on a CPU, by a side stream on a GPU."""

    def __init__(self, pairs: Sequence[tuple[Tensor, Tensor]], stream: torch.cuda.Stream | None) -> None:
        self._pairs, self._stream = pairs, stream if pairs else None
        self._done = torch.cuda.Event() if self._stream else None

    def start(self) -> None:
        """Begins once the device has done all it was told before, and lets what it is told next wait for the copies."""
        if self._stream is None:
            for source, target in self._pairs:
                target.copy_(source)
            return
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for source, target in self._pairs:
                target.copy_(source, non_blocking=True)
            self._done.record()
        current.wait_event(self._done)

    def wait(self) -> None:
        """Until the copies are done."""
        if self._done is not None:
            self._done.synchronize()
