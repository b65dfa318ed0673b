"""Large rows by messages: chunk after chunk straight from the rows, so that one is summed while the next arrives.

Where MPI cannot have a chunk as it is, because it must be rounded first or lies on a GPU that MPI does not reach, it
goes by way of a ring of slots, chunk by chunk as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mpidl.comm.gossip.sums import split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from mpidl.comm.gossip.messages import Batch, Lane
    from mpidl.comm.gossip.plan import Item, Link
    from mpidl.comm.gossip.sizes import Cargo
    from mpidl.comm.gossip.sums import Chunks


HOST = {"pin_memory": True}
"""Host memory that a GPU copies to and from by itself."""


@dataclass(frozen=True)
class Slot:
    """Memory for one chunk, as MPI sees it and as sums read it."""

    outside: Tensor
    inside: Tensor


class Slots:
    """Chunks of one length, shared by all routes of an exchange, since only one of them is under way at a time.

    `direct` says that MPI reaches the memory of `device`: always for the CPU, by `messages.reaches` for a GPU. Where it
    does not, slots are in pinned host memory, and have twins on the device where sums are to read them (`twins`).
    """

    def __init__(
        self, elements: int, dtype: torch.dtype, device: torch.device, direct: bool, twins: bool = False
    ) -> None:
        self.elements, self.dtype, self.direct = elements, dtype, direct
        self._device, self._twins = device, twins and not direct
        # Asked of the device in every round, it would cost more than a message.
        self._on_gpu = device.type != "cpu"
        self._slots: list[Slot] = []
        self._wholes: list[Slot] = []

    def take(self, start: int, stop: int) -> list[Slot]:
        """Slots number `start` to `stop`."""
        while len(self._slots) < stop:
            self._slots.append(self._slot(self.elements))
        return self._slots[start:stop]

    def drop(self) -> None:
        """Lets go of all slots but those of whole rows, once nothing is under way in them."""
        self._slots.clear()

    def whole(self, number: int, length: int) -> Slot:
        """Memory for all of a row; `number` counts the rows that are kept whole."""
        while len(self._wholes) <= number:
            self._wholes.append(self._slot(length))
        return self._wholes[number]

    def _slot(self, length: int) -> Slot:
        where = {"device": self._device} if self.direct else HOST
        outside = torch.empty(length, dtype=self.dtype, **where)
        return Slot(outside, torch.empty_like(outside, device=self._device) if self._twins else outside)

    def settle(self) -> None:
        """Until a GPU is through with memory that MPI is about to touch there; MPI knows nothing of streams."""
        if self.direct and self._on_gpu:
            torch.accelerator.current_stream(self._device).synchronize()

    def idle(self) -> None:
        """Until a GPU is through with all slots, which may be received into only then."""
        if self._on_gpu:
            torch.accelerator.current_stream(self._device).synchronize()

    def copies(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Copies:
        """Copies from the first to the second of each pair; where they are the same, nothing."""
        stream = torch.Stream(self._device) if self._on_gpu else None
        return Copies([(source, target) for source, target in pairs if source is not target], stream)

    @property
    def memory(self) -> int:
        """Bytes of all slots and their twins."""
        return sum(slot.outside.nbytes * (1 + self._twins) for slot in (*self._slots, *self._wholes))


class Copies:
    """Copies of a few chunks, with rounding where dtypes differ: done at once on a CPU, by a side stream on a GPU."""

    def __init__(self, pairs: Sequence[tuple[Tensor, Tensor]], stream: torch.Stream | None) -> None:
        self._pairs, self._stream = pairs, stream if pairs else None
        self._done = torch.Event(self._stream.device) if self._stream else None

    def start(self) -> None:
        """Begins once the device has done all it was told before, and lets what it is told next wait for the copies."""
        if self._stream is None or self._done is None:
            for source, target in self._pairs:
                target.copy_(source)
            return
        current = torch.accelerator.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with self._stream:
            for source, target in self._pairs:
                target.copy_(source, non_blocking=True)
            self._done.record(self._stream)
        current.wait_event(self._done)

    def wait(self) -> None:
        """Until the copies are done."""
        if self._done is not None:
            self._done.synchronize()


ROW_TAG = 1
"""The tag of the first row between two ranks; the next row has the next one, so that rows need not take turns."""


class Arrival:
    """One row that arrives in a round, chunk after chunk through a ring of slots, or with a slot for each chunk.

    In the second case it is there as a `whole`, until the next one is received.
    """

    def __init__(
        self,
        lane: Lane,
        rank: int,
        tag: int,
        length: int,
        slots: Slots,
        ring: Sequence[Slot],
        whole: Tensor | None = None,
    ) -> None:
        starts = range(0, length, slots.elements)
        self.whole = whole
        self._chunks, self._ring, self._settle = len(starts), len(ring), slots.settle
        self.messages = [lane.batch() for _ in ring]
        """What is to be started before the sender sends: as many chunks as there are slots."""
        for message, slot in zip(self.messages, ring, strict=True):
            message.receive(slot.outside, rank, tag)
        self._copies = [slots.copies([(slot.outside, slot.inside)]) for slot in ring]
        self.row: Chunks = [ring[c % self._ring].inside[: length - start] for c, start in enumerate(starts)]
        """The chunks where they are read; each holds what it should from `arrive` to `release`."""

    def awaited(self, c: int) -> Batch:
        """What to wait for before `arrive`."""
        return self.messages[c % self._ring]

    def arrive(self, c: int) -> None:
        """Chunk c is here, and can be read after this."""
        self._copies[c % self._ring].start()

    def release(self, c: int) -> None:
        """Chunk c has been read: its slot is free for another."""
        if c + self._ring < self._chunks:
            self._copies[c % self._ring].wait()
            self._settle()
            self.messages[c % self._ring].start()

    def free(self) -> None:
        for message in self.messages:
            message.free()


def make_arrivals(
    lane: Lane, links: Sequence[Link], cargo: Cargo, slots: Slots, rings: Mapping[int, int]
) -> dict[Item, Arrival]:
    """By item, the rows that arrive over these links; `rings` has the length of the ring for each rank."""
    arrivals: dict[Item, Arrival] = {}
    taken = 0
    for link in links:
        ring = min(rings[link.rank], -(-cargo.length // slots.elements))
        for position, item in enumerate(link.items):
            tag, row = ROW_TAG + position, None
            if cargo.whole:
                slot = slots.whole(len(arrivals), cargo.length)
                chunks = zip(split(slot.outside, slots.elements), split(slot.inside, slots.elements), strict=True)
                mine, row = [Slot(outside, inside) for outside, inside in chunks], slot.inside
            else:
                mine = slots.take(taken, taken + ring)
                taken += ring
            arrivals[item] = Arrival(lane, link.rank, tag, cargo.length, slots, mine, row)
    return arrivals


class Departures:
    """The rows that leave in a round, all together chunk by chunk."""

    def __init__(
        self, lane: Lane, links: Sequence[Link], rows: Mapping[Item, Tensor], slots: Slots, ahead: int
    ) -> None:
        items = list(dict.fromkeys(item for link in links for item in link.items))
        chunks: dict[Item, Chunks] = {item: split(rows[item], slots.elements) for item in items}
        self._chunks = max(map(len, chunks.values()), default=0)
        self._ahead, self._settle = min(ahead, self._chunks), slots.settle
        self._copies: list[Copies] = []
        if not slots.direct or any(rows[item].dtype != slots.dtype for item in items):
            leaving: dict[Item, Chunks] = {}
            for number, (item, row) in enumerate(chunks.items()):
                ring = slots.take(number * self._ahead, (number + 1) * self._ahead)
                leaving[item] = [ring[c % self._ahead].outside[: len(chunk)] for c, chunk in enumerate(row)]
            for c in range(self._chunks):
                self._copies.append(slots.copies([(chunks[item][c], leaving[item][c]) for item in items]))
            chunks = leaving
        self.batches = [lane.batch() for _ in range(self._chunks)]
        """What to wait for before the rows may be written again, chunk by chunk."""
        for c, batch in enumerate(self.batches):
            for link in links:
                for position, item in enumerate(link.items):
                    batch.send(chunks[item][c], link.rank, ROW_TAG + position)
        self.bytes = sum(batch.bytes for batch in self.batches)
        self.messages = sum(batch.messages for batch in self.batches)

    def first(self) -> Iterator[Batch]:
        """The chunks that leave at once, each ready to be started."""
        self._settle()
        for c in range(self._ahead):
            yield self._ready(c)

    def advance(self, c: int) -> None:
        """This rank is at chunk c of its sum, and its neighbours not far from there: send the next chunk."""
        if c + self._ahead < self._chunks:
            self._ready(c + self._ahead).start()

    def _ready(self, c: int) -> Batch:
        if self._copies:
            if c >= self._ahead:
                # Its receivers make room for it before they wait for anything that this rank sends later.
                self.batches[c - self._ahead].wait()
            self._copies[c].start()
            self._copies[c].wait()
        return self.batches[c]

    def free(self) -> None:
        for batch in self.batches:
            batch.free()
