"""Gradients of many small agents at once, where launching a kernel for each costs more than its arithmetic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from mpidl.errors import ConfigError
from mpidl.models.curvature import second_derivatives
from mpidl.training.gradients import Gradients

if TYPE_CHECKING:
    from mpidl.algorithms.base import Rows
    from mpidl.comm.meters import Meters
    from mpidl.training.learner import Learner
    from mpidl.training.observations import Observations
    from mpidl.training.statistics import Statistics


class _LossOf(nn.Module):
    """The loss as part of the network, so that it too sees the tensors of one agent in the network's places."""

    def __init__(self, network: nn.Module, mean_loss: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self._mean_loss = network, mean_loss

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self._mean_loss(self.network, x, y)


class BatchedGradients(Gradients):
    """Evaluates all gradients that are asked for in one call by vectorised passes (torch.func.vmap).

    Kernels for stacked matrices round differently, so numbers depend on which agents share a rank; a run says so with
    `train.batched: true`. Those whose batches differ in size are stacked with their like.
    """

    def __init__(
        self, learner: Learner, statistics: Statistics | None, observations: Observations, meters: Meters
    ) -> None:
        super().__init__(learner, statistics, observations, meters)
        self._with_loss = _LossOf(learner.rows.module, learner.mean_loss)

    def __call__(self, agents: Sequence[int], rows: Rows, steps: Sequence[int], out: Rows) -> None:
        with self._meters.time("gradient"):
            alike: defaultdict[torch.Size, list[tuple[int, Tensor, Tensor]]] = defaultdict(list)
            for place, (agent, step) in enumerate(zip(agents, steps, strict=True)):
                x, y = self._learner.batches.batch(agent, step)
                alike[x.shape].append((place, x, y))
            for group in alike.values():
                places = [place for place, _, _ in group]
                batch = torch.stack([x for _, x, _ in group]), torch.stack([y for _, _, y in group])
                asked = [(agents[place], rows[place], steps[place], out[place]) for place in places]
                self._evaluate(asked, *batch)

    def _evaluate(self, asked: Sequence[tuple[int, Tensor, int, Tensor]], x: Tensor, y: Tensor) -> None:
        """Writes the gradients of (agent, row, step, out), whose batches are the x and y of the same place."""
        learner, network = self._learner, self._learner.rows
        statistics: dict[str, Tensor] = {}
        pairs = [self._statistics.of_agent(agent) for agent, _, _, _ in asked] if self._statistics else []
        if pairs:
            floats, integers = (torch.stack(rows) for rows in zip(*pairs, strict=True))
            # Under vmap, BatchNorm updates a copy of statistics that are not contiguous.
            statistics = {name: view.contiguous() for name, view in network.buffer_views(floats, integers).items()}
        learner.seed_torch("dropout", asked[0][0], asked[0][2])

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            tensors = {f"network.{name}": tensor for name, tensor in (parameters | buffers).items()}
            return functional_call(self._with_loss, tensors, (x, y))

        together = vmap(grad_and_value(loss), randomness="different")
        X = torch.stack([row for _, row, _, _ in asked])
        try:
            with second_derivatives():
                gradients, losses = together(network.views(X), statistics, x, y)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ConfigError(
                f"the network {learner.model!r} cannot be batched ({error}); say false", "train.batched"
            ) from error
        except Exception as error:
            raise learner.blamed(error) from error
        if pairs:
            for name, view in network.buffer_views(floats, integers).items():
                view.copy_(statistics[name])
        pieces = [gradients[name].reshape(len(asked), -1) for name in network.names]
        for at, (agent, _, step, out) in enumerate(asked):
            if pairs and self.observations.is_first(agent, step):
                # As agent by agent, a further gradient of the same step leaves the statistics alone.
                pairs[at][0].copy_(floats[at])
                pairs[at][1].copy_(integers[at])
            torch.cat([piece[at] for piece in pieces], out=out)
            learner.unscale(out)
            self.observations.see(agent, step, losses[at] / learner.precision.loss_scale, out, x.shape[1])
