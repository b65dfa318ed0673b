"""Graphs from elsewhere: networkx's generators by name, and a user's own function that returns weights or edges."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from mpidl.errors import ConfigError, choices_sentence, suggestion
from mpidl.graphs.base import Graph, Mixing, Periodic, Topology
from mpidl.graphs.drawn import DRAWS
from mpidl.graphs.paths import connected
from mpidl.graphs.weights import Neighbours, Rule, by_rule, directed, undirected
from mpidl.registry import keyword_part
from mpidl.seeding import stream
from mpidl.sentences import told

if TYPE_CHECKING:
    import networkx

# Parameters of networkx's generators that choose classes and back ends, not graphs.
_INTERNAL = {"create_using", "backend", "backend_kwargs"}


class Networkx(Graph):
    """Networkx: any of networkx's graph generators by name, with its arguments by keyword.

    The value `agents` is their number: `{generator: barabasi_albert_graph, arguments: {n: agents, m: 2}}`.
    A generator with a `seed` gets one from the run's and is drawn again, at most 100 times, until the graph is
    connected. Agents are numbered in the generator's order; self-loops are left out, parallel edges count once.
    """

    generator: str = Field(description="name of the generator, such as watts_strogatz_graph")
    arguments: dict[str, Any] = Field(default_factory=dict, description="its arguments; `agents` is their number")
    weights: Rule | None = Field(None, description="a weight rule; null: metropolis, or out-degree where directed")

    def build(self, agents: int, seed: int) -> Topology:
        function, parameters = _generator(self.generator)
        for name in self.arguments:
            if name not in parameters:
                raise ConfigError(choices_sentence(name, parameters), f"graph.arguments.{name}")
        given = {name: agents if value == "agents" else value for name, value in self.arguments.items()}
        for name in parameters:
            if parameters[name].default is inspect.Parameter.empty and name not in given:
                raise ConfigError(
                    f"{self.generator} needs {name!r} (takes {', '.join(parameters)}; write agents for their number)",
                    "graph.arguments",
                )
        own_seed = "seed" in parameters and "seed" not in given
        for attempt in range(DRAWS if own_seed else 1):
            if own_seed:
                given["seed"] = int(stream(seed, "networkx", 0, attempt).integers(2**32))
            try:
                graph = function(**given)
            except Exception as error:
                # Whatever networkx raises, and it raises many kinds, the arguments are at fault.
                raise ConfigError(f"{self.generator}: {type(error).__name__}: {error}", "graph.arguments") from error
            neighbours = _neighbours(graph, agents, f"networkx's {self.generator}")
            if not own_seed or connected(neighbours):
                return by_rule(neighbours, self.weights, graph.is_directed())
        raise ConfigError(
            f"none of {DRAWS} draws connected the {agents} agents; change the arguments", "graph.arguments"
        )


def _generator(name: str) -> tuple[Callable[..., Any], dict[str, inspect.Parameter]]:
    import networkx.generators

    known = {
        key: value for key, value in vars(networkx.generators).items() if inspect.isfunction(value) and key[0] != "_"
    }
    if name not in known:
        raise ConfigError(f"networkx has no generator {name!r}{suggestion(name, known)}", "graph.generator")
    parameters = inspect.signature(known[name]).parameters
    return known[name], {key: value for key, value in parameters.items() if key not in _INTERNAL}


def _neighbours(graph: networkx.Graph, agents: int, source: str) -> Neighbours:
    import networkx

    if not isinstance(graph, networkx.Graph):
        raise ConfigError(f"{source} returned {type(graph).__name__}, not a graph", "graph")
    if len(graph) != agents:
        raise ConfigError(f"{source} has {len(graph)} agents, not {agents}", "graph")
    number = {node: place for place, node in enumerate(graph)}
    edges = ((number[edge[0]], number[edge[1]]) for edge in graph.edges())
    return (directed if graph.is_directed() else undirected)(agents, edges)


class FromFunction(Graph):
    """From a function: `function(agents, seed, **keys)` returns W, a list of W (a round each), or a networkx graph."""

    function: ClassVar[Callable[..., Any]]

    def build(self, agents: int, seed: int) -> Topology:
        taken = inspect.signature(type(self).function).parameters
        supplied = {key: value for key, value in {"agents": agents, "seed": seed}.items() if key in taken}
        keys = {
            key: getattr(self, key) for key in [*type(self).model_fields, *(self.model_extra or {})] if key != "name"
        }
        try:
            result = type(self).function(**supplied, **keys)
        except Exception as error:
            # A user's function may raise anything; whatever it is, the culprit is this name.
            raise ConfigError(f"{self.name!r} raised {told(error)}", "graph.name") from error
        return _topology(result, agents, repr(self.name))


def part_of(function: Callable[..., Any]) -> type[FromFunction]:
    """A graph whose keys are the parameters of this function."""
    base = type(function.__name__, (FromFunction,), {"function": staticmethod(function), "__module__": __name__})
    return keyword_part(function, base, ("agents", "seed"))


def _topology(result: Any, agents: int, source: str) -> Topology:
    """What a user's function returned, as a topology."""
    if hasattr(result, "is_directed"):
        topology = by_rule(_neighbours(result, agents, source), None, result.is_directed())
    elif isinstance(result, Topology):
        topology = result
    elif isinstance(result, Mixing):
        topology = Periodic([result])
    else:
        several = isinstance(result, (list, tuple)) and np.ndim(result[0] if result else 0) == 2
        rounds = list(result) if several else [result]
        topology = Periodic([Mixing.from_dense(matrix, f"what {source} returned") for matrix in rounds])
    for t in topology.rounds(1):
        if topology.at(t).agents != agents:
            raise ConfigError(f"{source} has {topology.at(t).agents} agents, not {agents}", "graph")
    return topology
