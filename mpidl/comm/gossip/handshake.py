"""How ranks that exchange rows tell each other what they believe, at the start and in every round.

Before the first round all compare what they are about to exchange. Then one message per round goes between two ranks
that have to do with each other: a header of 64 bytes, checked on receipt, and small rows behind it. Its arrival says
that the sender's rows are there to be read, and that the sender has finished its round before.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from mpidl.comm.gossip.sizes import HEADER_BYTES
from mpidl.errors import CommunicationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpi4py import MPI
    from torch import Tensor

    from mpidl.comm.gossip.messages import Lane
    from mpidl.comm.gossip.plan import Item, Link
    from mpidl.comm.gossip.sizes import Cargo
    from mpidl.graphs.base import Topology


VERSION = 2
_MAGIC = b"mpiD"
_LAYOUT = struct.Struct("<4sHHIIQQQI8s8sB3x")
# The block is the sender's choice; everything in front of it must be what the receiver expects.
_BLOCK_AT = 60

# The numbers are part of the format: a dtype keeps its own for good.
_DTYPES = {"float32": 1, "float64": 2, "bfloat16": 3, "float16": 4, "uint8": 5}
_NAMES = {code: name for name, code in _DTYPES.items()}
_FIELDS = ("dtype", "exchange", "rows", "turn", "round", "length", "sender", "graph", "format")


class Header(NamedTuple):
    """What all letters of one rank and turn have in common."""

    exchange: int
    """Number of the exchange."""
    turn: int
    """Rounds that the exchange has done."""
    round: int
    """The t that its caller gave."""
    length: int
    """Numbers of a row, or bytes of a packed one."""
    dtype: str
    graph: bytes
    """Digest of the round's mixing matrix."""
    format: bytes
    """Digest of what the numbers mean; see `Cargo`."""
    block: int
    """Which of its blocks the sender has published."""

    def pack(self, sender: int, rows: int) -> bytes:
        """The header of a letter from `sender` about so many rows."""
        return _LAYOUT.pack(
            _MAGIC,
            VERSION,
            _DTYPES[self.dtype],
            self.exchange,
            rows,
            self.turn,
            self.round,
            self.length,
            sender,
            self.graph,
            self.format,
            self.block,
        )

    def check(self, received: bytes, sender: int, rows: int, receiver: int, name: str) -> int:
        """The block that `sender` has published; an error that names both ranks where anything else is unexpected."""
        expected = self.pack(sender, rows)
        if received[:_BLOCK_AT] != expected[:_BLOCK_AT]:
            raise CommunicationError(
                f"exchange {name!r}: rank {sender} and rank {receiver} disagree: {_difference(received, expected)}"
            )
        return received[_BLOCK_AT]


def _difference(received: bytes, expected: bytes) -> str:
    magic, version, *there, _ = _LAYOUT.unpack(received)
    _, _, *here, _ = _LAYOUT.unpack(expected)
    if magic != _MAGIC:
        return f"what arrived is no message of mpidl's (it begins with {magic!r})"
    if version != VERSION:
        return f"they have versions {version} and {VERSION} of the message format; install the same mpidl for all ranks"
    different = [field for field in zip(_FIELDS, there, here, strict=True) if field[1] != field[2]]
    theirs, ours = (", ".join(f"{name} {_shown(name, values[side])}" for name, *values in different) for side in (0, 1))
    return f"{theirs} there, {ours} here; start all ranks from one configuration"


def _shown(name: str, value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return _NAMES.get(value, f"number {value}") if name == "dtype" and isinstance(value, int) else str(value)


TAG = 0

# What stands in a letter before it arrives; no header is all zeros.
_NOTHING = bytes(HEADER_BYTES)


@dataclass(frozen=True)
class Letter:
    """To or from one rank. `rows` are as many as the plan has between the two, also where they travel otherwise."""

    rank: int
    rows: int
    items: tuple[Item, ...]
    """Those whose rows are inside, in this order."""
    memory: Tensor
    head: memoryview
    """The first bytes of `memory`."""
    payload: Tensor
    """`[items, length]` in the wire's dtype, inside `memory`."""
    here: Tensor
    """The same once it has arrived, on this rank's device."""


class Letters:
    """The letters of one kind of round."""

    def __init__(
        self,
        lane: Lane,
        outgoing: Sequence[tuple[Link, bool]],
        incoming: Sequence[tuple[Link, bool]],
        cargo: Cargo,
        device: torch.device,
    ) -> None:
        """Links of the plan (without items for a mere acknowledgement), and whether their rows go inside."""
        self._rank, self._cargo = lane.comm.rank, cargo
        self.outgoing = [self._letter(link, inside, torch.device("cpu")) for link, inside in outgoing]
        self.incoming = [self._letter(link, inside, device) for link, inside in incoming]
        self.sent, self.arrived = lane.batch(), lane.batch()
        for letter in self.outgoing:
            self.sent.send(letter.memory, letter.rank, TAG)
        for letter in self.incoming:
            self.arrived.receive(letter.memory, letter.rank, TAG)

    def _letter(self, link: Link, inside: bool, device: torch.device) -> Letter:
        items = link.items if inside else ()
        memory = torch.zeros(HEADER_BYTES + len(items) * self._cargo.row_bytes, dtype=torch.uint8)
        payload = memory[HEADER_BYTES:].view(self._cargo.dtype).view(len(items), self._cargo.length)
        head = memory[:HEADER_BYTES].numpy().data
        here = payload if device.type == "cpu" else torch.empty_like(payload, device=device)
        return Letter(link.rank, len(link.items), items, memory, head, payload, here)

    @property
    def memory(self) -> int:
        return self.sent.bytes + self.arrived.bytes

    @property
    def payload_bytes(self) -> int:
        """Bytes of rows that leave inside letters."""
        return sum(letter.payload.nbytes for letter in self.outgoing)

    def clear(self) -> None:
        """Forgets those that have arrived; to be done before `arrived` is started."""
        for letter in self.incoming:
            letter.head[:] = _NOTHING

    def write(self, header: Header, rows: Mapping[Item, Tensor]) -> None:
        """Header and rows (rounded to the wire's dtype) into those that leave; `sent.start()` sends them."""
        for letter in self.outgoing:
            letter.head[:] = header.pack(self._rank, letter.rows)
            for place, item in enumerate(letter.items):
                letter.payload[place].copy_(rows[item])

    def check(self, header: Header, name: str) -> dict[int, int]:
        """By sender, the block it has published, once all have arrived; an error where one is not as expected."""
        return {letter.rank: self._check(letter, header, name) for letter in self.incoming}

    def land(self) -> None:
        """Brings the rows that have arrived to this rank's device."""
        for letter in self.incoming:
            if letter.here is not letter.payload:
                letter.here.copy_(letter.payload)

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
            except CommunicationError as disagreement:
                return disagreement
        whose = f"; rank {self._rank} has heard nothing from rank {', '.join(missing)}" if missing else ""
        return CommunicationError(f"exchange {name!r}: {error}{whose}")

    def free(self) -> None:
        self.sent.free()
        self.arrived.free()


def compare_beliefs(comm: MPI.Intracomm, beliefs: Mapping[str, str], hosts: tuple[str, ...]) -> None:
    """Raises the same error on every rank, naming two of them and what differs, unless all believe the same."""
    beliefs_by_rank = comm.allgather(dict(beliefs))
    for rank, other in enumerate(beliefs_by_rank):
        different = [key for key in beliefs_by_rank[0] if other.get(key) != beliefs_by_rank[0][key]]
        if different:
            first, second = (
                ", ".join(f"{key} {who.get(key)}" for key in different) for who in (beliefs_by_rank[0], other)
            )
            raise CommunicationError(
                f"rank 0 on {hosts[0]} and rank {rank} on {hosts[rank]} disagree about what they exchange: {first} on "
                f"the one, {second} on the other; start all ranks from one configuration"
            )


def graph_digest(topology: Topology) -> str:
    """All rounds of a periodic graph, or the first round of one that is drawn (the others are checked as they come)."""
    return "+".join(topology.at(t).digest.hex() for t in topology.rounds(1))
