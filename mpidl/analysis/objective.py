"""The loss of a network as a function of its parameters: its value, gradient and Hessian, over all given examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mpidl.analysis.workers import ALONE, Workers, dealt
from mpidl.errors import ConfigError
from mpidl.models.curvature import second_derivatives
from mpidl.parameters import RowModule
from mpidl.rows import on_boundary
from mpidl.seeding import torch_seed
from mpidl.training.evaluate import count_hits, evaluating, evaluation_mode

if TYPE_CHECKING:
    from mpidl.layout import Layout

Chunk = tuple[Tensor, Tensor]
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""`loss(module, x, y)`: a loss for each example."""


class Score(NamedTuple):
    """Mean loss, and the share of right predictions: NaN where none are counted."""

    loss: float
    accuracy: float


class Objective:
    """L(x) = Σ w_e ℓ_e(x) / Σ w_e over examples e, where all examples of a chunk have the same weight.

    x is a row: the trained parameters as one flat vector [P], or [P + F] with the network's running statistics
    (floating buffers) behind them, which then move with it; otherwise they stay as they were last. The network is in
    evaluation mode, so that L is a function of x alone: no dropout, and batch normalisation by running statistics.
    Whatever a network draws nonetheless, it draws anew from the seed for each chunk.

    Terms are computed chunk by chunk, derivatives in the row's dtype and added in float64, by `workers`. `chunks` may
    be any sequence of (examples, targets), such as one that loads them when they are asked for. The network is left
    where it was looked at last.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        chunks: Sequence[Chunk],
        weights: Sequence[float] | None = None,
        *,
        counts_hits: bool = False,
        seed: int = 0,
        workers: Workers = ALONE,
        rows: RowModule | None = None,
    ) -> None:
        """`weights`: of each chunk's examples, by default all alike. `counts_hits`: whether targets are classes, of
        which the largest output is right or wrong. `rows`: of the module, where there is one already.
        """
        if not len(chunks):
            raise ConfigError("an objective needs examples")
        self.rows = RowModule(module) if rows is None else rows
        self.loss, self.chunks, self.workers, self.seed = loss, chunks, workers, seed
        self.counts_hits = counts_hits
        self._weights = [1.0] * len(chunks) if weights is None else list(weights)
        self._owners = dealt(len(chunks), workers)
        self.mine: list[int] = [place for place, owner in enumerate(self._owners) if owner == workers.rank]
        """The chunks that this worker computes."""
        self._total: float | None = None

    @property
    def layout(self) -> Layout:
        """The tensors of a row."""
        return self.rows.layout

    @property
    def size(self) -> int:
        """P, the numbers that are trained."""
        return self.rows.size

    @property
    def dtype(self) -> torch.dtype:
        """Of rows."""
        return self.rows.dtype

    @property
    def device(self) -> torch.device:
        """Where rows are."""
        return self.rows.parameters[0].device

    def row(self) -> Tensor:
        """The network as it stands, with its running statistics, [P + F]."""
        return torch.cat([self.rows.flatten(), self.rows.flatten_buffers(self.dtype)[0]])

    def moved(self, x: Tensor, direction: Tensor, amount: float = 1.0) -> Tensor:
        """x + amount · direction, where a direction [P] leaves statistics alone; rounded once, to the row's dtype."""
        moved = x.to(torch.float64, copy=True)
        moved[: len(direction)].add_(direction.double(), alpha=amount)
        return moved.to(self.dtype)

    def value(self, x: Tensor) -> float:
        """L(x)."""
        return self.measure(x).loss

    def measure(self, x: Tensor) -> Score:
        """L(x), with the share of hits, weighted alike. Sums run over chunks in their order, in float64."""
        measured = np.zeros((len(self.chunks), 3))
        with self._standing_at(x), evaluating(self.rows.module) as outputs:
            for place, (inputs, targets) in self._my_chunks():
                losses = self.loss(self.rows.module, inputs, targets).double().sum().item()
                hits = count_hits(outputs[-1], targets) if self.counts_hits else 0.0
                measured[place] = len(targets), losses, hits
        weighed = self.workers.sum(measured) * np.array(self._weights)[:, None]
        examples, losses, hits = (sum(column) for column in weighed.T.tolist())
        return Score(losses / examples, hits / examples if self.counts_hits else float("nan"))

    def outputs(self, x: Tensor, places: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """What the network says of the examples in these chunks, and their targets. No collective call."""
        with self._standing_at(x), torch.no_grad():
            return [(self.rows.module(inputs), targets) for _, (inputs, targets) in self._my_chunks(places)]

    def gradient(self, x: Tensor) -> Tensor:
        """∇L(x), [P], in float64."""
        return self._summed(x, lambda loss: torch.autograd.grad(loss, self.rows.parameters, allow_unused=True))

    def hessian_product(self, x: Tensor, vector: Tensor) -> Tensor:
        """∇²L(x) · vector, [P], in float64."""
        directions = list(self.rows.views(vector.to(self.dtype)).values())

        def product(loss: Tensor) -> Sequence[Tensor | None]:
            first = torch.autograd.grad(loss, self.rows.parameters, create_graph=True, materialize_grads=True)
            # Of a parameter that enters linearly, nothing is left to differentiate.
            left = [(piece, along) for piece, along in zip(first, directions, strict=True) if piece.requires_grad]
            if not left:
                return [None] * len(first)
            pieces, along = zip(*left, strict=True)
            return torch.autograd.grad(pieces, self.rows.parameters, along, allow_unused=True)

        with second_derivatives():
            return self._summed(x, product)

    def _summed(self, x: Tensor, derivative: Callable[[Tensor], Sequence[Tensor | None]]) -> Tensor:
        total = self._whole_weight()

        def terms() -> Iterator[tuple[int, Tensor]]:
            for place, (inputs, targets) in self._my_chunks():
                loss = self.loss(self.rows.module, inputs, targets).sum() * (self._weights[place] / total)
                yield place, self._flat(derivative(loss))

        with self._standing_at(x):
            return self.workers.sum_rows(terms(), self._owners, self.size)

    def _flat(self, pieces: Iterable[Tensor | None]) -> Tensor:
        sizes = self.layout.sizes
        full = [
            torch.zeros(size, dtype=torch.float64, device=self.device) if piece is None else piece.reshape(-1).double()
            for piece, size in zip(pieces, sizes, strict=True)
        ]
        return torch.cat(full)

    def _whole_weight(self) -> float:
        """Σ w_e."""
        if self._total is None:
            sizes = np.zeros(len(self.chunks))
            for place in self.mine:
                sizes[place] = len(self.chunks[place][1])
            self._total = sum((self.workers.sum(sizes) * np.array(self._weights)).tolist())
        return self._total

    def _my_chunks(self, places: Sequence[int] | None = None) -> Iterator[tuple[int, Chunk]]:
        for place in self.mine if places is None else places:
            chunk = self.chunks[place]
            torch.manual_seed(torch_seed(self.seed, "evaluation", index=place))
            yield place, chunk

    @contextmanager
    def _standing_at(self, x: Tensor) -> Iterator[None]:
        """Inside, the network is in evaluation mode with the numbers of x."""
        rows = self.rows
        if len(x) not in (rows.size, rows.size + rows.float_buffers):
            raise ConfigError(
                f"a row of this network has {rows.size} numbers, or with its statistics "
                f"{rows.size + rows.float_buffers}, not {len(x)}"
            )
        x = x.detach().to(self.device, self.dtype)
        rows.point(on_boundary(x[: rows.size]))
        if len(x) > rows.size:
            rows.point_buffers(on_boundary(x[rows.size :]), None)
        with evaluation_mode(rows.module):
            yield
