"""What a compressor is: settings, which make a codec for rows of one layout, which turns rows into bytes and back.

C(v) is what a receiver makes of the bytes of v. The sender decodes its own bytes by the same functions, so that all
copies of C(v) are equal bit for bit. They depend on the numbers of the row and on the draw alone: not on where the row
lies in memory, on its neighbours, or on how often the codec was used before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from pydantic import PositiveInt

from mpidl.errors import DivergenceError
from mpidl.metrics import Metric
from mpidl.registry import Part
from mpidl.seeding import stream

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from mpidl.layout import Layout

Per = Literal["row", "tensor"] | PositiveInt
"""What is compressed by itself: the whole row, each tensor in it, or each so many consecutive numbers of the row."""

NOTHING: Mapping[str, Tensor] = MappingProxyType({})


Add: TypeAlias = "Callable[[Tensor, float], object]"
"""`add(out, weight)`: out += weight · C(v) of one packed row v."""


@dataclass(frozen=True)
class Draw:
    """What the random choices of one packed row follow from; a receiver that needs them is told the sender's."""

    seed: int
    purpose: str
    agent: int
    index: int

    def stream(self) -> np.random.Generator:
        """The same numbers at each call."""
        return stream(self.seed, self.purpose, self.agent, self.index)


class Compressor(Part, ABC):
    """Settings of one compressor, and the bound on its error that theory asks for.

    Either E‖C(v) − v‖² ≤ (1 − δ)‖v‖² (a contraction), or E C(v) = v and E‖C(v) − v‖² ≤ ω‖v‖² (unbiased).
    """

    @abstractmethod
    def codec(self, layout: Layout, dtype: torch.dtype, device: torch.device) -> Codec:
        """For rows of this layout; it takes no memory before it is used, so that bytes can be told beforehand."""

    def contraction(self, layout: Layout) -> float | None:
        """δ, not more than it is; None: not a contraction, or nobody knows."""
        return None

    def variance(self, layout: Layout) -> float | None:
        """ω, not less than it is; None: not unbiased, or nobody knows."""
        return None


class Codec(ABC):
    """Rows [P] to packed bytes [nbytes] and back; one thread at a time may use it."""

    nbytes: int
    """Bytes of a packed row, the same for every row."""

    memory: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    """What it remembers of an agent from one row to the next, by name and shape; zeros before the first."""

    @abstractmethod
    def pack(self, row: Tensor, out: Tensor, draw: Draw, memory: Mapping[str, Tensor] = NOTHING) -> None:
        """Writes the row's bytes into `out`, uint8, and brings `memory` up to date; refuses infinities and NaN."""

    @abstractmethod
    def add(self, packed: Tensor, out: Tensor, weight: float, draw: Draw) -> None:
        """out += weight · C(row), the sender's draw given; onto zeros with weight 1 it gives what `unpack` does."""

    @abstractmethod
    def unpack(self, packed: Tensor, out: Tensor, draw: Draw) -> None:
        """out = C(row)."""


def beyond_range() -> DivergenceError:
    """What a row that cannot be compressed is answered with."""
    return DivergenceError(
        "a row that should be compressed holds infinities, NaN, or numbers beyond the range of what is sent"
    )


@runtime_checkable
class Lossy(Protocol):
    """What packs rows of agents, and tells what it loses of them."""

    losses: Losses


class Losses:
    """What packing loses of the rows that agents pack in a round: noted where that is asked for, and never changed."""

    metric: ClassVar[Metric] = Metric(
        "compression_error",
        "1",
        "mean over agents of ‖v − C(v)‖²/‖v‖², v what they packed in the round: 1 less the contraction reached",
    )

    def __init__(self) -> None:
        self._wanted = False
        self._squares: dict[int, tuple[float, float]] = {}

    def begin(self, wanted: bool) -> None:
        """A round begins; whether it is one to be noted."""
        self._wanted = wanted
        self._squares.clear()

    def see(self, agent: int, v: Tensor, add: Add) -> None:
        """One of the agent's rows, and how to add what was packed of it."""
        if self._wanted:
            lost = v.clone()
            add(lost, -1.0)
            whole, left = (float(row.double().square().sum()) for row in (v, lost))
            before = self._squares.get(agent, (0.0, 0.0))
            self._squares[agent] = (before[0] + whole, before[1] + left)

    def shares(self) -> dict[int, float]:
        """By agent, Σ ‖v − C(v)‖² / Σ ‖v‖² over its rows; without agents that packed nothing but zeros."""
        return {agent: left / whole for agent, (whole, left) in self._squares.items() if whole}
