"""BatchNorm statistics of agents, and what becomes of them when models are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from mpidl.errors import ConfigError
from mpidl.models.buffers import batch_norms, reestimate
from mpidl.rows import copied, on_boundary

if TYPE_CHECKING:
    from mpidl.comm.reduce import Reducer
    from mpidl.data.batches import Batches
    from mpidl.parameters import RowModule

Policy = Literal["average", "reestimate"]


class AgentBuffers:
    """The statistics of this rank's agents, a row each, and those of a model that is nobody's own.

    An averaged model has either the average of all agents' statistics, or statistics of its own, estimated anew on
    every agent's training data and pooled by the number of examples: mean = Σ w_a mean_a, and
    variance = Σ w_a (variance_a + (mean_a − mean)²), since agents with different data have different means. An agent
    with one example has no variance and is left out.
    """

    def __init__(
        self,
        floats: Tensor,
        integers: Tensor,
        agents: Sequence[int],
        owners: Sequence[int],
        reduction: Reducer,
        policy: Policy,
    ) -> None:
        self.floats, self.integers = floats, integers
        self._agents, self._owners, self._reduction, self._policy = agents, owners, reduction, policy

    def of_shared_model(self, rows: RowModule, row: Tensor, batches: Batches) -> tuple[Tensor, Tensor]:
        """Statistics for the model in `row`, which all ranks hold. A collective call."""
        if self._policy == "average":
            weights = [1 / len(self._owners)] * len(self._owners)
            return self._sum(self.floats, self.integers, weights)
        floats, integers = copied(self.floats), copied(self.integers)
        rows.point(on_boundary(row))
        sizes = [size if size > 1 else 0 for size in batches.sizes]
        if not any(sizes):
            raise ConfigError("'reestimate' needs an agent with two examples; say average", "evaluate.buffers")
        for place, agent in enumerate(self._agents):
            if sizes[agent]:
                rows.point_buffers(floats[place], integers[place])
                chunks = range(batches.chunks(agent))
                reestimate(rows.module, (batches.chunk(agent, chunk)[0] for chunk in chunks))
        weights = [size / sum(sizes) for size in sizes]
        rows.point_buffers(*self._sum(floats, integers, weights))
        layers = batch_norms(rows.module)
        centres = [layer.running_mean for layer in layers]
        for place in range(len(self._agents)):
            rows.point_buffers(floats[place], integers[place])
            for layer, centre in zip(layers, centres, strict=True):
                layer.running_var += (layer.running_mean - centre).square()
        return self._sum(floats, integers, weights)

    def _sum(self, floats: Tensor, integers: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
        """The weighted mean over all agents; counters are rounded to whole numbers."""
        both = torch.cat([floats.double(), integers.double()], dim=1)
        leaves = ((agent, both[place] * weights[agent]) for place, agent in enumerate(self._agents))
        mean = self._reduction.sum(leaves, len(self._owners), self._owners)
        mean_floats, mean_integers = mean.split([floats.shape[1], integers.shape[1]])
        return mean_floats.to(floats.dtype), mean_integers.round().to(torch.int64)
