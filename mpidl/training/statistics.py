"""BatchNorm statistics of agents, and what becomes of them when models are averaged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from mpidl.errors import ConfigError
from mpidl.models.buffers import batch_norms, reestimate, running
from mpidl.rows import copied, new_rows
from mpidl.training.loop import Hook, Training

if TYPE_CHECKING:
    from mpidl.comm.reduce import Reducer
    from mpidl.comm.world import World
    from mpidl.state import State
    from mpidl.training.learner import Learner

Policy = Literal["average", "reestimate"]
Pair = tuple[Tensor, Tensor]
"""The statistics of one model: a row of numbers, and one of counters."""


class Statistics(Hook, ABC):
    """The statistics of this rank's agents, and of a model that is nobody's own.

    An averaged model has either the average of its agents' statistics, or statistics of its own, estimated anew on
    every agent's training data and pooled by the number of examples: mean = Σ w_a mean_a, and
    variance = Σ w_a (variance_a + (mean_a − mean)²), since agents with different data have different means. An agent
    with one example has no variance and is left out.
    """

    def __init__(self, world: World, reduction: Reducer, policy: Policy) -> None:
        self._agents, self._everyone = world.mine, world.everyone
        self._owners, self._rank = world.placement.owners, world.rank
        self._reduction, self._policy = reduction, policy

    @abstractmethod
    def of_agent(self, agent: int) -> Pair:
        """Where the statistics of an agent that this rank runs are kept and moved."""

    @abstractmethod
    def averaged(self) -> Pair:
        """The average over the agents, as far as they were trained. A collective call."""

    @abstractmethod
    def copied(self) -> tuple[Tensor, ...]:
        """A copy of all that is kept here, for `restore`."""

    @abstractmethod
    def restore(self, before: tuple[Tensor, ...]) -> None:
        """Take back what happened since the copy was made."""

    def of_shared_model(self, learner: Learner, row: Tensor) -> Pair:
        """Statistics for the model in `row`, which all ranks hold. A collective call."""
        if self._policy == "average":
            return self.averaged()
        rows, batches = learner.rows, learner.batches
        sizes = {agent: batches.sizes[agent] if batches.sizes[agent] > 1 else 0 for agent in self._everyone}
        everything = sum(sizes.values())
        if not everything:
            raise ConfigError("'reestimate' needs an agent with two examples; say average", "evaluate.buffers")
        estimated = {agent: tuple(map(torch.clone, self.of_agent(agent))) for agent in self._agents}
        learner.point(row)
        for agent, (floats, integers) in estimated.items():
            if sizes[agent]:
                rows.point_buffers(floats, integers)
                reestimate(rows.module, (batches.chunk(agent, chunk)[0] for chunk in range(batches.chunks(agent))))
        weights = {agent: size / everything for agent, size in sizes.items()}
        rows.point_buffers(*self._mean(estimated, weights))
        layers = batch_norms(rows.module)
        centres = [running(layer)[0] for layer in layers]
        for floats, integers in estimated.values():
            rows.point_buffers(floats, integers)
            for layer, centre in zip(layers, centres, strict=True):
                mean, variance = running(layer)
                variance += (mean - centre).square()
        return self._mean(estimated, weights)

    def _mean(self, values: Mapping[int, Sequence[Tensor]], weights: Mapping[int, float]) -> Pair:
        """The weighted mean over everyone, of values of the agents owned here."""
        return self._sum(self._everyone, self._owners, values.__getitem__, weights, self._agents)

    def _sum(
        self,
        agents: Sequence[int],
        runners: Sequence[int],
        values: Callable[[int], Sequence[Tensor]],
        weights: Mapping[int, float],
        here: Sequence[int],
    ) -> Pair:
        """Σ w_a v_a over `agents`, of which this rank has those in `here`; counters are rounded to whole numbers."""
        floats, integers = self._kinds()
        leaves = []
        positions = {agent: position for position, agent in enumerate(agents)}
        for agent in sorted(here, key=positions.__getitem__):
            numbers, counters = values(agent)
            leaves.append((positions[agent], torch.cat([numbers.double(), counters.double()]) * weights[agent]))
        mean = self._reduction.sum(iter(leaves), len(agents), runners)
        numbers, counters = mean.split([len(floats), len(integers)])
        return numbers.to(floats.dtype), counters.round().to(torch.int64)

    @abstractmethod
    def _kinds(self) -> Pair:
        """A pair as all of them are, for lengths and dtypes."""


class OwnStatistics(Statistics):
    """Every agent keeps statistics of its own from round to round."""

    def __init__(self, state: State, initial: Pair, world: World, reduction: Reducer, policy: Policy) -> None:
        super().__init__(world, reduction, policy)
        self._kind = initial
        self.floats = state.buffers("float buffers", len(initial[0]), initial[0].dtype)
        self.integers = state.buffers("integer buffers", len(initial[1]), torch.int64)
        self.floats.copy_(initial[0])
        self.integers.copy_(initial[1])
        self._place = {agent: place for place, agent in enumerate(state.agents)}

    def of_agent(self, agent: int) -> Pair:
        place = self._place[agent]
        return self.floats[place], self.integers[place]

    def averaged(self) -> Pair:
        values = {agent: self.of_agent(agent) for agent in self._agents}
        return self._mean(values, dict.fromkeys(self._everyone, 1 / len(self._everyone)))

    def copied(self) -> tuple[Tensor, ...]:
        return copied(self.floats), copied(self.integers)

    def restore(self, before: tuple[Tensor, ...]) -> None:
        self.floats.copy_(before[0])
        self.integers.copy_(before[1])

    def _kinds(self) -> Pair:
        return self._kind


class ServerStatistics(Statistics):
    """The server's model has the statistics; each agent that takes part starts a round from them, as from x.

    After the round they are the mean over those agents, by the weights of the method. Agents that took no part, and
    were never trained, have no say.
    """

    def __init__(self, state: State, initial: Pair, world: World, reduction: Reducer, policy: Policy) -> None:
        super().__init__(world, reduction, policy)
        self.floats = state.shared("float buffers", len(initial[0]), initial[0].dtype)
        self.integers = state.shared("integer buffers", len(initial[1]), torch.int64)
        self.floats.copy_(initial[0])
        self.integers.copy_(initial[1])
        self._moved: dict[int, Pair] = {}

    def of_agent(self, agent: int) -> Pair:
        if agent not in self._moved:
            floats, integers = (new_rows(row.shape, row.dtype, row.device) for row in (self.floats, self.integers))
            self._moved[agent] = floats.copy_(self.floats), integers.copy_(self.integers)
        return self._moved[agent]

    def averaged(self) -> Pair:
        return self.floats, self.integers

    def after_round(self, training: Training, done: int) -> None:
        crew = training.algorithm.took_part()
        if crew is not None:
            here = [crew.agents[position] for position in crew.run_by(self._rank)]
            weights = dict(zip(crew.agents, crew.weights, strict=True))
            floats, integers = self._sum(crew.agents, crew.runners, self.of_agent, weights, here)
            self.floats.copy_(floats)
            self.integers.copy_(integers)
        self._moved.clear()

    def copied(self) -> tuple[Tensor, ...]:
        return ()

    def restore(self, before: tuple[Tensor, ...]) -> None:
        self._moved.clear()

    def _kinds(self) -> Pair:
        return self.floats, self.integers
