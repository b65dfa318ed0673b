"""Gradients of many small agents at once, where launching a kernel for each costs more than its arithmetic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from mpidl.models.curvature import second_derivatives
from mpidl.seeding import torch_seed
from mpidl.training.gradients import Gradients


class BatchedGradients(Gradients):
    """Told of a block of rows ahead, it evaluates all its gradients by one vectorised pass (torch.func.vmap).

    Kernels for stacked matrices round differently, so numbers depend on which agents share a rank; a run says so with
    `train.batched: true`. Agents whose batches differ in size are stacked with their like.
    """

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        self._ready: dict[tuple[int, int, int], Tensor] = {}

    def ahead(self, agents: Sequence[int], block: Tensor, step: int) -> None:
        with self._meters.time("gradient"):
            alike = defaultdict(list)
            for place, agent in enumerate(agents):
                x, y = self._batches.batch(agent, step)
                alike[x.shape].append((place, x, y))
            for group in alike.values():
                self._evaluate([agents[place] for place, _, _ in group], block, step, *zip(*group, strict=True))

    def __call__(self, agent: int, row: Tensor, step: int, out: Tensor) -> None:
        ready = self._ready.pop((agent, step, row.data_ptr()), None)
        if ready is None:
            super().__call__(agent, row, step, out)
        else:
            out.copy_(ready)

    def _evaluate(
        self,
        agents: Sequence[int],
        block: Tensor,
        step: int,
        places: Sequence[int],
        xs: Sequence[Tensor],
        ys: Sequence[Tensor],
    ) -> None:
        """The gradients of these agents, kept until they are asked for."""
        rows = self._rows
        X = block[list(places)]
        buffers: dict[str, Tensor] = {}
        local = [self._place[agent] for agent in agents]
        if self._buffers is not None:
            floats, integers = self._buffers.floats[local], self._buffers.integers[local]
            buffers = rows.buffer_views(floats, integers)
        torch.manual_seed(torch_seed(self._seed, "dropout", agents[0], step))

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return self._mean_loss(lambda x: functional_call(rows.module, (parameters, buffers), (x,)), x, y)

        with second_derivatives():
            together = vmap(grad_and_value(loss), randomness="different")
            found, losses = together(rows.views(X), buffers, torch.stack(xs), torch.stack(ys))
        G = torch.empty_like(X)
        for name, view in rows.views(G).items():
            view.copy_(found[name])
        if self._buffers is not None:
            self._buffers.floats[local], self._buffers.integers[local] = floats, integers
        G.div_(self._precision.loss_scale)
        for place, agent, gradient, value in zip(places, agents, G, losses / self._precision.loss_scale, strict=True):
            self._ready[agent, step, block[place].data_ptr()] = gradient
            self._count(self._place[agent], step, value)
