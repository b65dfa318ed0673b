"""Gradients of agents on their own data, written as flat rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpidl.models.curvature import second_derivatives
from mpidl.rows import on_boundary

if TYPE_CHECKING:
    from mpidl.algorithms.base import Rows
    from mpidl.comm.meters import Meters
    from mpidl.training.learner import Learner
    from mpidl.training.observations import Observations
    from mpidl.training.statistics import Statistics


class Gradients:
    """The oracle of configured runs: one module, pointed at the asked row, on the agent's batch of the asked step.

    What a step's first gradient shows is noted in `observations`; it alone moves the agent's BatchNorm statistics.
    """

    def __init__(
        self, learner: Learner, statistics: Statistics | None, observations: Observations, meters: Meters
    ) -> None:
        self._learner, self._statistics, self._meters = learner, statistics, meters
        self.observations = observations
        # Seeding costs as much as a small layer, so it is left out once the first evaluation has drawn nothing. But a
        # module or a loss that is neither torch's nor mpidl's may start to draw at any time.
        parts = learner.rows.module.modules()
        foreign = any(not type(part).__module__.startswith(("torch.", "mpidl.")) for part in parts)
        self._stochastic: bool | None = True if foreign or ":" in learner.loss.name else None

    def __call__(self, agents: Sequence[int], rows: Rows, steps: Sequence[int], out: Rows) -> None:
        """Write the gradient of each agent's mean loss over its batch of that step, at its row, into its `out`."""
        with self._meters.time("gradient"):
            for agent, row, step, into in zip(agents, rows, steps, out, strict=True):
                self._one(agent, row, step, into)

    def whole(self, agent: int, row: Tensor, out: Tensor) -> None:
        """Write the gradient of the agent's mean loss over all its data, at `row`, into `out`.

        Its examples come as they are, chunk by chunk; neither statistics nor what was seen of the agent change.
        """
        learner, batches = self._learner, self._learner.batches
        with self._meters.time("gradient"):
            into = self._prepare(agent, row, out, moves_statistics=False)
            for chunk in range(batches.chunks(agent)):
                x, y = batches.chunk(agent, chunk)
                learner.seed_torch("whole gradient", agent, chunk)
                try:
                    loss = learner.mean_loss(learner.rows.module, x, y)
                    (loss * (len(x) / batches.sizes[agent])).backward()
                except Exception as error:
                    raise learner.blamed(error) from error
            self._deliver(into, out)

    def hessian_product(self, agent: int, row: Tensor, step: int, vector: Tensor, out: Tensor) -> None:
        """Write H·vector into `out`, H the Hessian of the agent's mean loss over its batch of that step, at `row`."""
        learner, rows = self._learner, self._learner.rows
        with self._meters.time("gradient"):
            self._prepare(agent, row, out, moves_statistics=False)
            x, y = learner.batches.batch(agent, step)
            learner.seed_torch("dropout", agent, step)
            parameters, directions = rows.parameters, list(rows.views(vector).values())
            try:
                with second_derivatives():
                    loss = learner.mean_loss(rows.module, x, y)
                    first = torch.autograd.grad(loss, parameters, create_graph=True)
                    # Zeros where a parameter enters linearly or not at all: nothing depends on it any more.
                    product = torch.autograd.grad(first, parameters, directions, materialize_grads=True)
            except Exception as error:
                raise learner.blamed(error) from error
            out.copy_(torch.cat([piece.reshape(-1) for piece in product]))
            learner.unscale(out)

    def check(self, agents: Sequence[int], steps: int) -> None:
        """Gradients of which nothing remains, so that a network or a loss that fails does so before a run begins.

        One of any batch, and one of a batch with a single example, on which BatchNorm fails, where one of these agents
        meets one in so many steps.
        """
        row, batches = self._learner.rows.flatten(), self._learner.batches
        ends = {agent: batches.steps_per_pass(agent) - 1 for agent in agents if batches.smallest(agent) == 1}
        single = [(agent, step) for agent, step in ends.items() if step < steps]
        before = self._statistics.copied() if self._statistics else None
        try:
            for agent, step in [(agents[0], 0), *single[:1]]:
                self([agent], row[None], [step], torch.empty_like(row)[None])
        finally:
            self.observations.forget()
            if self._statistics is not None and before is not None:
                self._statistics.restore(before)

    def _one(self, agent: int, row: Tensor, step: int, out: Tensor) -> None:
        learner = self._learner
        x, y = learner.batches.batch(agent, step)
        into = self._prepare(agent, row, out, moves_statistics=self.observations.is_first(agent, step))
        before = None
        if self._stochastic is not False:
            learner.seed_torch("dropout", agent, step)
            before = learner.random_state()
        try:
            loss = learner.mean_loss(learner.rows.module, x, y)
            loss.backward()
        except Exception as error:
            raise learner.blamed(error) from error
        if self._stochastic is None and before is not None:
            self._stochastic = not torch.equal(before, learner.random_state())
        self._deliver(into, out)
        value = loss.detach()
        if learner.precision.loss_scale != 1:
            value = value / learner.precision.loss_scale
        self.observations.see(agent, step, value, out, len(x))

    def _prepare(self, agent: int, row: Tensor, out: Tensor, moves_statistics: bool) -> Tensor:
        """Points the module at row, statistics and gradient; returns where the gradient is added up, zeros so far."""
        floats = integers = None
        if self._statistics is not None:
            floats, integers = self._statistics.of_agent(agent)
            if not moves_statistics:
                floats, integers = floats.clone(), integers.clone()
        self._learner.point(row, floats, integers)
        into = on_boundary(out)
        into.zero_()
        self._learner.rows.point_gradient(into)
        return into

    def _deliver(self, into: Tensor, out: Tensor) -> None:
        if into is not out:
            out.copy_(into)
        self._learner.unscale(out)
