"""Gradients of many small agents at once, where launching a kernel for each costs more than its arithmetic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from mpidl.errors import ConfigError
from mpidl.models.curvature import second_derivatives
from mpidl.seeding import torch_seed
from mpidl.training.gradients import Gradients


class _LossOf(nn.Module):
    """The loss as part of the network, so that it too sees the tensors of one agent in the network's places."""

    def __init__(self, network: nn.Module, mean_loss: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self._mean_loss = network, mean_loss

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self._mean_loss(self.network, x, y)


class BatchedGradients(Gradients):
    """Told of a block of rows ahead, it evaluates all its gradients by one vectorised pass (torch.func.vmap).

    Kernels for stacked matrices round differently, so numbers depend on which agents share a rank; a run says so with
    `train.batched: true`. Agents whose batches differ in size are stacked with their like.
    """

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        self._ready: dict[tuple[int, int, int], list[Tensor]] = {}
        """By agent, step and address of the row, the pieces of its gradient row, not yet divided by the loss scale."""
        self._whole = _LossOf(self._rows.module, self._mean_loss)

    def ahead(self, agents: Sequence[int], block: Tensor, step: int) -> None:
        with self._meters.time("gradient"):
            # What was announced and never asked for belongs to rows that may have changed since.
            self._ready.clear()
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
            torch.cat(ready, out=out)
            if self._precision.loss_scale != 1:
                out.div_(self._precision.loss_scale)

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
        X = block if len(places) == len(block) else block[list(places)]
        statistics: dict[str, Tensor] = {}
        local = [self._place[agent] for agent in agents]
        if self._buffers is not None:
            floats, integers = self._buffers.floats[local], self._buffers.integers[local]
            # Under vmap, BatchNorm updates a copy of statistics that are not contiguous.
            statistics = {name: view.contiguous() for name, view in rows.buffer_views(floats, integers).items()}
        torch.manual_seed(torch_seed(self._seed, "dropout", agents[0], step))

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            tensors = {f"network.{name}": tensor for name, tensor in (parameters | buffers).items()}
            return functional_call(self._whole, tensors, (x, y))

        together = vmap(grad_and_value(loss), randomness="different")
        try:
            with second_derivatives():
                found, losses = together(rows.views(X), statistics, torch.stack(xs), torch.stack(ys))
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ConfigError(
                f"the network {self._model!r} cannot be batched ({error}); say false", "train.batched"
            ) from error
        except Exception as error:
            raise self._failed(error) from error
        if self._buffers is not None:
            for name, view in rows.buffer_views(floats, integers).items():
                view.copy_(statistics[name])
            # As agent by agent, a further gradient of the same step leaves the statistics alone.
            first = [place for place, agent in enumerate(agents) if step > self._last_step[self._place[agent]]]
            into = [local[place] for place in first]
            self._buffers.floats[into], self._buffers.integers[into] = floats[first], integers[first]
        pieces = [found[name].reshape(len(agents), -1) for name in rows.names]
        for at, (place, agent) in enumerate(zip(places, agents, strict=True)):
            self._ready[agent, step, block[place].data_ptr()] = [piece[at] for piece in pieces]
            self._count(self._place[agent], step, losses[at] / self._precision.loss_scale)
