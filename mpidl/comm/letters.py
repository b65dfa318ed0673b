"""One message a round between two ranks that have to do with each other: a header, and small rows behind it.

Its arrival says that the sender's rows are there to be read, and that the sender has finished its round before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mpidl.comm import headers
from mpidl.comm.headers import Header
from mpidl.errors import CommunicationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from mpidl.comm.messages import Lane
    from mpidl.comm.plan import Link

TAG = 0

# What stands in a letter before it arrives; no header is all zeros.
_NOTHING = bytes(headers.SIZE)


@dataclass(frozen=True)
class Letter:
    """To or from one rank. `rows` are as many as the plan has between the two, also where they travel otherwise."""

    rank: int
    rows: int
    agents: tuple[int, ...]
    """Those whose rows are inside, in this order."""
    memory: Tensor
    head: memoryview
    """The first bytes of `memory`."""
    payload: Tensor
    """`[agents, P]` in the wire's dtype, inside `memory`."""


class Letters:
    """The letters of one kind of round."""

    def __init__(
        self,
        lane: Lane,
        outgoing: Sequence[tuple[Link, bool]],
        incoming: Sequence[tuple[Link, bool]],
        parameters: int,
        wire: torch.dtype,
    ) -> None:
        """Links of the plan (without agents for a mere acknowledgement), and whether their rows go inside."""
        self._rank, self._parameters, self._wire = lane.comm.rank, parameters, wire
        self.outgoing = [self._letter(link, inside) for link, inside in outgoing]
        self.incoming = [self._letter(link, inside) for link, inside in incoming]
        self.sent, self.arrived = lane.batch(), lane.batch()
        for letter in self.outgoing:
            self.sent.send(letter.memory, letter.rank, TAG)
        for letter in self.incoming:
            self.arrived.receive(letter.memory, letter.rank, TAG)

    def _letter(self, link: Link, inside: bool) -> Letter:
        agents = link.agents if inside else ()
        size = len(agents) * self._parameters * self._wire.itemsize
        memory = torch.zeros(headers.SIZE + size, dtype=torch.uint8)
        payload = memory[headers.SIZE :].view(self._wire).view(len(agents), self._parameters)
        head = memory[: headers.SIZE].numpy().data
        return Letter(link.rank, len(link.agents), agents, memory, head, payload)

    @property
    def memory(self) -> int:
        return self.sent.bytes + self.arrived.bytes

    @property
    def payload_bytes(self) -> int:
        """Bytes of rows that leave inside letters."""
        return sum(letter.payload.nbytes for letter in self.outgoing)

    def start(self, header: Header, rows: Mapping[int, Tensor]) -> None:
        """Sends header and rows (rounded to the wire's dtype), and makes ready to receive."""
        for letter in self.incoming:
            letter.head[:] = _NOTHING
        self.arrived.start()
        for letter in self.outgoing:
            letter.head[:] = header.pack(self._rank, letter.rows)
            for place, agent in enumerate(letter.agents):
                letter.payload[place].copy_(rows[agent])
        self.sent.start()

    def check(self, header: Header, name: str) -> dict[int, int]:
        """By sender, the block it has published, once all have arrived; an error where one is not as expected."""
        return {letter.rank: self._check(letter, header, name) for letter in self.incoming}

    def _check(self, letter: Letter, header: Header, name: str) -> int:
        return header.check(bytes(letter.head), letter.rank, letter.rows, self._rank, name)

    def explain(self, error: CommunicationError, header: Header, name: str) -> CommunicationError:
        """The reason why letters failed to arrive, where a header that did arrive tells it (a row too long, say)."""
        missing = []
        for letter in self.incoming:
            if letter.head == _NOTHING:
                missing.append(str(letter.rank))
                continue
            try:
                self._check(letter, header, name)
            except CommunicationError as found:
                return found
        whose = f"; rank {self._rank} has heard nothing from rank {', '.join(missing)}" if missing else ""
        return CommunicationError(f"exchange {name!r}: {error}{whose}")

    def free(self) -> None:
        self.sent.free()
        self.arrived.free()
