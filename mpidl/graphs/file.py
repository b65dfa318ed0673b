"""A graph from an edge list: one edge a line, `agent agent` or `agent agent weight`, `#` begins a comment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mpidl import files
from mpidl.errors import ConfigError, choices_sentence
from mpidl.graphs.base import Graph, Mixing, Periodic, Topology
from mpidl.graphs.weights import RULES, by_rule, directed, undirected

_MOST_BYTES = 2**28


def _known(value: object) -> object:
    if value is not None and value not in (*RULES, "given"):
        raise ConfigError(choices_sentence(value, (*RULES, "given")))
    return value


class File(Graph):
    """File: edges from a text file, a line each: two agents (0 to N − 1) and perhaps a weight.

    A directed line `j i w` says that j sends to i, so that w = w_ij. A weight stands on every line or on none; the
    line `i i w` gives a self-weight, and where there is none it follows: columns sum to 1.
    """

    path: str = Field(description="the file")
    directed: bool = Field(False, description="whether a line `j i` means that only j sends to i")
    weights: Annotated[
        Literal["metropolis", "uniform", "lazy", "best-constant", "out-degree", "given"] | None, BeforeValidator(_known)
    ] = Field(
        None,
        description="given (the file's), or a rule, whatever the file says; null: given where the file has weights, "
        "otherwise metropolis, or out-degree where directed",
    )

    def build(self, agents: int, seed: int) -> Topology:
        edges = read_edges(self.path, self.directed)
        _require_size(self.path, edges, agents)
        weighted = bool(edges) and edges[0].weight is not None
        if self.weights == "given" or (self.weights is None and weighted):
            if not weighted and agents > 1:
                raise ConfigError(f"{self.path!r} has no weights; add a third column or choose a rule", "graph.weights")
            return Periodic([_given(self.path, edges, agents, self.directed)])
        pairs = [(edge.sender, edge.receiver) for edge in edges]
        return by_rule((directed if self.directed else undirected)(agents, pairs), self.weights, self.directed)


@dataclass(frozen=True)
class Edge:
    sender: int
    receiver: int
    weight: float | None


def read_edges(path: str, one_way: bool) -> list[Edge]:
    """Every edge of the file, each at most once, or one sentence with the line at fault."""
    try:
        text = files.read(Path(path), _MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {path!r}: {error.strerror}", "graph.path") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path!r} is not a text file", "graph.path") from error
    edges: list[Edge] = []
    first: dict[tuple[int, int], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            edge = _edge(words)
            if edges and (edge.weight is None) != (edges[0].weight is None):
                raise ValueError("has a weight where others have none" if words[2:] else "lacks the weight others have")
            pair = (edge.sender, edge.receiver)
            if not one_way:
                pair = (min(pair), max(pair))
            if pair in first:
                what = f"self-loop of agent {pair[0]}" if pair[0] == pair[1] else f"edge {pair[0]} {pair[1]}"
                raise ValueError(f"gives the {what} again (first on line {first[pair]})")
        except ValueError as error:
            raise ConfigError(f"{path!r}, line {number}: {error}", "graph.path") from error
        first[pair] = number
        edges.append(edge)
    return edges


def _edge(words: list[str]) -> Edge:
    shown = " ".join(words)[:60]
    if len(words) not in (2, 3):
        raise ValueError(f"{shown!r} is not 'agent agent' or 'agent agent weight'")
    for word in words[:2]:
        if not (word.isascii() and word.isdigit() and len(word) < 10):
            raise ValueError(f"{word[:60]!r} is not the number of an agent")
    sender, receiver = int(words[0]), int(words[1])
    if len(words) == 2:
        if sender == receiver:
            raise ValueError("a self-loop needs its weight; without weights leave it out")
        return Edge(sender, receiver, None)
    try:
        weight = float(words[2])
    except ValueError:
        raise ValueError(f"{words[2][:60]!r} is not a weight") from None
    if not 0 < weight < math.inf and not (weight == 0 and sender == receiver):
        raise ValueError(f"the weight {words[2][:60]} is not a positive number")
    return Edge(sender, receiver, weight)


def _require_size(path: str, edges: list[Edge], agents: int) -> None:
    if not edges and agents > 1:
        raise ConfigError(f"{path!r} has no edges, but there are {agents} agents", "graph.path")
    last = max((max(edge.sender, edge.receiver) for edge in edges), default=0)
    if last + 1 != agents:
        raise ConfigError(f"{path!r} has {last + 1} agents (0 to {last}), not {agents}", "graph.path")


def _given(path: str, edges: list[Edge], agents: int, one_way: bool) -> Mixing:
    columns: list[dict[int, float]] = [{} for _ in range(agents)]
    own: dict[int, float] = {}
    for edge in edges:
        weight = 0.0 if edge.weight is None else edge.weight
        if edge.sender == edge.receiver:
            own[edge.sender] = weight
            continue
        columns[edge.sender][edge.receiver] = weight
        if not one_way:
            columns[edge.receiver][edge.sender] = weight
    for agent, column in enumerate(columns):
        total = math.fsum(column.values())
        # The rounding of decimal fractions may take a sum of 1 just above it.
        rest = 0.0 if abs(1 - total) < 1e-12 else 1 - total
        if agent not in own and rest < 0:
            raise ConfigError(
                f"{path!r}: the weights at agent {agent} sum to {total:.12g}, above 1, and leave it no self-weight",
                "graph.path",
            )
        own.setdefault(agent, rest)
    rows: list[dict[int, float]] = [{} for _ in range(agents)]
    for sender, column in enumerate(columns):
        for receiver, weight in column.items():
            rows[receiver][sender] = weight
    return Mixing(
        tuple(tuple(row) for row in rows),
        tuple(tuple(row.values()) for row in rows),
        tuple(own[agent] for agent in range(agents)),
    )
