"""Compressed uploads: what an agent sends is packed, and what the compressor left out is added to its next upload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mpidl.compressors import COMPRESSORS
from mpidl.compressors.base import Compressor, Draw, Losses
from mpidl.config import Strict

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.algorithms.base import Context


class Upload(Strict):
    """How the rows travel that agents send to the server after their local work."""

    compressor: Annotated[Compressor, COMPRESSORS] | None = Field(None, description="what packs them; null: nothing")
    error_feedback: bool = Field(True, description="whether agents add to a row what was left out of those before it")


class Uplink:
    """v = row + e;  C(v) is sent;  e ← v − C(v), for each row that an agent uploads. e starts at 0, a row per agent."""

    def __init__(self, compressor: Compressor, error_feedback: bool, context: Context, rows: int) -> None:
        state = context.state
        self._codec = compressor.codec(context.layout, state.dtype, state.device)
        self._seed, numbers = context.seed, range(rows)
        self._errors = [state.lazy_rows(f"upload error {number}") for number in numbers] if error_feedback else []
        self._memory = [
            {name: state.lazy_factors(f"upload {name} {number}", shape) for name, shape in self._codec.memory.items()}
            for number in numbers
        ]
        numbers_packed = -(-self._codec.nbytes // state.dtype.itemsize)
        self.losses = Losses()
        self._packed, self._decoded = state.scratch(1, numbers_packed)[0], state.scratch(1, state.parameters)[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of a packed row."""
        return self._codec.nbytes

    def __call__(self, agent: int, t: int, rows: Tensor) -> None:
        """Turn the rows that an agent uploads in round t into what the server makes of them."""
        import torch

        packed = self._packed.view(torch.uint8)[: self._codec.nbytes]
        for number, row in enumerate(rows):
            draw = Draw(self._seed, f"upload {number}", agent, t)
            if self._errors:
                row.add_(self._errors[number][agent])
            memory = {name: items[agent] for name, items in self._memory[number].items()}
            self._codec.pack(row, packed, draw, memory)
            self._codec.unpack(packed, self._decoded, draw)
            self.losses.see(agent, row, self._add)
            if self._errors:
                self._errors[number][agent].copy_(row).sub_(self._decoded)
            row.copy_(self._decoded)

    def _add(self, out: Tensor, weight: float) -> None:
        """out += weight · C(v) of the row that was packed last."""
        out.add_(self._decoded, alpha=weight)
