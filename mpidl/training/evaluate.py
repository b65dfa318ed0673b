"""Loss and accuracy of models on held-out data, the same numbers on any number of ranks.

Examples come in chunks of a fixed size and sums run over chunks in their order, because a matrix product rounds
differently for another number of rows. A model that every rank holds is measured by all ranks, a chunk each in turn;
agents' own models are measured where they live.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mpidl.errors import ConfigError
from mpidl.parameters import RowModule
from mpidl.rows import on_boundary
from mpidl.seeding import torch_seed
from mpidl.training.blame import network_failed

if TYPE_CHECKING:
    from mpidl.comm.world import World
    from mpidl.data.batches import Batches
    from mpidl.models.losses import Loss
    from mpidl.training.buffers import AgentBuffers
    from mpidl.training.precision import Precision


class Evaluator:
    """Measures models of the run on parts of the data set ("test", "validation")."""

    def __init__(
        self,
        world: World,
        rows: RowModule,
        batches: Batches,
        loss: Loss,
        counts_hits: bool,
        buffers: AgentBuffers | None,
        precision: Precision,
        seed: int,
        model: str = "",
    ) -> None:
        """`model` is the network's name, for messages."""
        self._world, self._rows, self._batches, self._loss, self._seed = world, rows, batches, loss, seed
        self._counts_hits, self._buffers, self._precision = counts_hits, buffers, precision
        self._model = model or type(rows.module).__name__
        self.quantities = ("loss", "accuracy") if counts_hits else ("loss",)

    def shared(self, row: Tensor, part: str) -> dict[str, float]:
        """Quantities of a model that every rank holds. A collective call."""
        buffers: tuple[Tensor | None, Tensor | None] = (None, None)
        if self._buffers is not None:
            with self._precision.context(self._world.device):
                buffers = self._buffers.of_shared_model(self._rows, row, self._batches)
        chunks = self._batches.test_chunks(part)
        measured = np.zeros((chunks, 3))
        for chunk, sums in self._measure(row, *buffers, part, range(self._world.rank, chunks, self._world.size)):
            measured[chunk] = sums
        # Every entry is zero on all ranks but one, so this sum is exact in any order.
        return self._means(self._world.comm.allreduce(measured))

    def each(self, block: Tensor, part: str) -> dict[str, np.ndarray]:
        """Quantities of every local agent's own model, [k] each."""
        found = []
        for place, row in enumerate(block):
            buffers = (self._buffers.floats[place], self._buffers.integers[place]) if self._buffers else (None, None)
            chunks = self._measure(row, *buffers, part, range(self._batches.test_chunks(part)))
            found.append(self._means(np.array([sums for _, sums in chunks])))
        return {quantity: np.array([means[quantity] for means in found]) for quantity in self.quantities}

    def rehearse(self, part: str) -> None:
        """Measures one chunk, so that a network or a loss that fails does so before a run begins."""
        buffers = (self._buffers.floats[0], self._buffers.integers[0]) if self._buffers else (None, None)
        list(self._measure(self._rows.flatten(), *buffers, part, range(1)))

    def _means(self, measured: np.ndarray) -> dict[str, float]:
        """From chunks' (examples, sum of losses, sum of hits) the means over examples, added in the chunks' order."""
        examples, losses, hits = (sum(column) for column in measured.T.tolist())
        means = {"loss": losses / examples, "accuracy": hits / examples}
        return {quantity: means[quantity] for quantity in self.quantities}

    def _measure(
        self, row: Tensor, floats: Tensor | None, integers: Tensor | None, part: str, chunks: Iterable[int]
    ) -> Iterator[tuple[int, tuple[float, float, float]]]:
        """For each chunk the number of examples, the sum of their losses, and of their hits where those are counted."""
        module = self._rows.module
        self._rows.point(on_boundary(row))
        self._rows.point_buffers(floats, integers)
        with self._evaluating(module) as outputs:
            for chunk in chunks:
                x, y = self._batches.test(part, chunk)
                # Some networks draw random numbers even here; which ones must not depend on the placement.
                torch.manual_seed(torch_seed(self._seed, "evaluation", index=chunk))
                try:
                    losses = self._loss(module, x, y).double().sum().item()
                except Exception as error:
                    raise network_failed(error, module, self._model, self._loss.name) from error
                if self._counts_hits and not outputs:
                    raise ConfigError("it never calls the network as a whole, whose hits are to be counted", "loss")
                hits = _hits(outputs[-1], y) if self._counts_hits else 0.0
                yield chunk, (len(x), losses, hits)

    @contextmanager
    def _evaluating(self, module: nn.Module) -> Iterator[list[Tensor]]:
        """Inside, the module is in evaluation mode, nothing is differentiated, and its latest output is in the list."""
        outputs: list[Tensor] = []

        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            outputs[:] = [output]

        catching = module.register_forward_hook(keep)
        # One by one: a network may keep some of its layers (a frozen BatchNorm) in evaluation mode for good.
        flags = [(layer, layer.training) for layer in module.modules()]
        module.eval()
        try:
            with torch.no_grad(), self._precision.context(self._world.device):
                yield outputs
        finally:
            for layer, training in flags:
                layer.training = training
            catching.remove()


def _hits(outputs: Tensor, y: Tensor) -> float:
    """The number of examples whose largest output is the target; for texts, each counts its share of right tokens."""
    right = (outputs.argmax(-1) == y).double()
    return (right.flatten(1).mean(1) if y.ndim > 1 else right).sum().item()
