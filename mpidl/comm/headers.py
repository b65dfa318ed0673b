"""The 64 bytes in front of every exchange between two ranks: what the sender believes it sends, checked on receipt."""

from __future__ import annotations

import struct
from typing import NamedTuple

from mpidl.errors import CommunicationError

SIZE = 64
VERSION = 1
_MAGIC = b"mpiD"
_LAYOUT = struct.Struct("<4sHHIIQQQI8sB11x")
# The block is the sender's choice; everything in front of it must be what the receiver expects.
_BLOCK_AT = 52

# The numbers are part of the format: a dtype keeps its own for good.
_DTYPES = {"float32": 1, "float64": 2, "bfloat16": 3, "float16": 4, "uint8": 5}
_NAMES = {code: name for name, code in _DTYPES.items()}
_FIELDS = ("dtype", "exchange", "rows", "turn", "round", "parameters", "sender", "graph")


class Header(NamedTuple):
    """What all letters of one rank and turn have in common."""

    exchange: int
    """Number of the exchange."""
    turn: int
    """Rounds that the exchange has done."""
    round: int
    """The t that its caller gave."""
    parameters: int
    dtype: str
    graph: bytes
    """Digest of the round's mixing matrix."""
    block: int
    """Which of its two blocks the sender has published."""

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
            self.parameters,
            sender,
            self.graph,
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
    told, believed = (
        ", ".join(f"{name} {_shown(name, values[side])}" for name, *values in different) for side in (0, 1)
    )
    return f"{told} there, {believed} here; start all ranks from one configuration"


def _shown(name: str, value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return _NAMES.get(value, f"number {value}") if name == "dtype" else str(value)  # type: ignore[call-overload]
