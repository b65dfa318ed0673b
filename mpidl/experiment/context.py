"""What an algorithm is given, put together once for the run and for its rehearsal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mpidl.algorithms.base import Algorithm, Context, ExchangeMaker, Oracle, Ranks, Reduction
from mpidl.errors import ConfigError
from mpidl.seeding import stream
from mpidl.training.blame import failed

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.schemes.base import EdgeExchange, Exchange
    from mpidl.comm.placement import Placement
    from mpidl.experiment.inputs import Inputs
    from mpidl.experiment.schema import Config
    from mpidl.graphs.base import Topology
    from mpidl.layout import Layout
    from mpidl.state import State

# Agents whose gradients are asked for at once where `train.batched` says so: their rows are kept beside each other.
TOGETHER = 16


@dataclass(frozen=True)
class Links:
    """The parts of a context that reach beyond this rank: those of a run, or stand-ins that take no memory."""

    oracle: Oracle
    exchanges: ExchangeMaker
    topology: Topology | None
    reduction: Reduction
    measuring: Reduction
    ranks: Ranks
    count_bytes: Callable[[int], None]


class NoExchanges:
    """In place of a graph's, for methods that have none."""

    @property
    def gamma(self) -> float:
        raise ConfigError("the algorithm asks for a consensus step, but the run has no graph", "graph")

    def exchange(self, name: str, blocks: int = 2, readable: bool = False) -> Exchange:
        raise ConfigError(f"the algorithm mixes {name!r}, but the run has no graph", "graph")

    def edges(self, name: str) -> EdgeExchange:
        raise ConfigError(f"the algorithm sends {name!r} to neighbours, but the run has no graph", "graph")


def make_algorithm(
    inputs: Inputs, placement: Placement, layout: Layout, state: State, initial: Tensor, links: Links
) -> Algorithm:
    """The algorithm of the configuration, with its state declared."""
    config, length = inputs.config, inputs.length
    agents = placement.of_rank(links.ranks.rank)
    context = Context(
        agents=agents,
        everyone=placement.everyone,
        owners=placement.owners,
        sizes=inputs.sizes,
        layout=layout,
        state=state,
        initial=initial,
        models=config.evaluate.models or config.method.models,
        oracle=links.oracle,
        exchanges=links.exchanges,
        topology=links.topology,
        reduction=links.reduction,
        measuring=links.measuring,
        ranks=links.ranks,
        # An agent that dies with its rank must have been there whole, and no other with it.
        movable=movable(config) and not config.failures.dropping,
        together=min(TOGETHER, max(1, len(agents))) if config.train.batched else 1,
        steps_per_pass=inputs.steps_per_pass,
        seed=config.seed,
        stream=partial(stream, config.seed),
        factor=lambda t: config.schedule.at(t, length.rounds_per_epoch, length.rounds),
        count_bytes=links.count_bytes,
    )
    try:
        return config.method(config.algorithm, context)
    except Exception as error:
        if ":" not in config.algorithm.name:
            raise
        raise failed(error, "algorithm", config.algorithm.name) from error


def movable(config: Config) -> bool:
    """Whether any rank may run any agent: all hold all data, and a server's model is what agents start from."""
    return config.data.place == "replicate" and config.graph is None
