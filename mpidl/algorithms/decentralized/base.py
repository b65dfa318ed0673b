"""What decentralized algorithms share: a row for each agent, gradients on blocks, mixing with neighbours."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from mpidl.algorithms.base import Algorithm, AlgorithmSettings, Context
from mpidl.compressors.base import Losses, Lossy
from mpidl.metrics import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.schemes.base import EdgeExchange, Exchange
    from mpidl.graphs.base import Topology


class Decentralized(Algorithm):
    """Agents hold rows X = (x_1, …, x_N) and mix them with those of their neighbours.

    A subclass writes `round(X) -> X⁺`. X is the present block of the quantity "parameters"; `mix(Z)` returns another.
    Where Z is written out of place (`X − ηG`), X stays as it is until the end of the round, so that an equation may
    name x after mixing; `draft` gives memory to write such a Z without a temporary. A quantity named in `in_place` has
    one block less: its present block is what is mixed, and is spent by it.
    """

    models: ClassVar[tuple[str, ...]] = ("consensus", "local")
    mixed: ClassVar[tuple[str, ...]] = ("parameters",)
    """The quantities that travel to neighbours, each with its own exchange and scheme state."""
    in_place: ClassVar[tuple[str, ...]] = ()
    """Those that are only ever written in place before they are mixed."""
    neighbours_read: ClassVar[tuple[str, ...]] = ()
    """Those whose neighbours' rows are read by themselves after mixing."""
    edgewise: ClassVar[tuple[str, ...]] = ()
    """The quantities of which each neighbour gets a row of its own."""
    metrics: tuple[Metric, ...] = (
        Metric("consensus_distance", "1", "Tr Ξ, the mean over agents of the squared distance to their mean"),
    )

    topology: Topology

    def __init__(self, settings: AlgorithmSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.present: dict[str, Tensor] = {}
        """By quantity, its block as the last mixing left it; its rows may be written."""
        self._exchanges: dict[str, Exchange] = {}
        self._edges: dict[str, EdgeExchange] = {name: context.exchanges.edges(name) for name in self.edgewise}
        self._drafted: set[str] = set()
        self._sent: set[str] = set()
        """What has been sent and not received yet."""
        self._sendings: Counter[str] = Counter()
        """How often each quantity has been sent in this round."""
        self._alone = len(context.everyone) == 1
        self._spare: dict[str, Tensor] = {}
        """Of an agent that is alone, the block beside the present one."""
        for name in self.mixed:
            blocks = 2 if name in self.in_place else 3
            readable = name in self.neighbours_read
            self._exchanges[name] = exchange = context.exchanges.exchange(name, blocks, readable)
            self.present[name] = self.state.rows(name, storage=exchange.present)
        exchanges = (self._exchanges | self._edges).items()
        self._losses: dict[str, Losses] = {
            _error_metric(name): exchange.losses
            for name, exchange in exchanges
            if isinstance(exchange, Lossy) and not self._alone
        }
        self.metrics = (*self.metrics, *(replace(Losses.metric, name=name) for name in self._losses))
        if "parameters" not in self.mixed:
            self.present["parameters"] = self.state.rows("parameters")
        self.X.copy_(context.initial)
        self.G = self.state.scratch(*self.X.shape)
        self._mean: Tensor | None = None

    @classmethod
    def needs(cls, settings: AlgorithmSettings) -> tuple[str, ...]:
        return ("connected", "doubly stochastic", "averaging")

    @classmethod
    def rows_sent(cls, settings: AlgorithmSettings, agents: int, edges: float) -> Mapping[str, float]:
        return dict.fromkeys((*cls.mixed, *cls.edgewise), edges)

    @classmethod
    def messages(cls, settings: AlgorithmSettings) -> str:
        rows = sum(cls.rows_sent(settings, 1, 1.0).values())
        return "deg" if rows == 1 else f"{rows:g} deg"

    @property
    def X(self) -> Tensor:
        """The present rows of this rank's agents."""
        return self.present["parameters"]

    @abstractmethod
    def round(self, X: Tensor) -> Tensor:
        """X after one round."""

    def advance(self) -> None:
        self._mean = None
        self._drafted.clear()
        self._sendings.clear()
        for losses in self._losses.values():
            losses.begin(self.observed)
        X = self.round(self.X)
        for name in self._sent:
            raise self.refused(f"sends {name!r} and ends the round without receive({name!r})")
        if getattr(X, "shape", None) != self.X.shape:
            raise self.refused(f"returns {_described(X)} from round(); return {_whole(self.X)}")
        if X.data_ptr() != self.X.data_ptr():
            self.X.copy_(X)

    def gradient(self, X: Tensor, step: int | None = None) -> Tensor:
        """The block of each local agent's gradient at its row of X, by default of step t; valid until the next call."""
        self.gradients_at(self.agents, X, self.G, None if step is None else [step] * len(self.agents))
        return self.G

    def draft(self, name: str = "parameters") -> Tensor:
        """A block to write what is mixed next, while the present block stays as it is."""
        if name in self.in_place:
            raise self.refused(f"asks for draft({name!r}), but its `in_place` names it; write it in place")
        if name in self._drafted:
            raise self.refused(f"asks for draft({name!r}) after mixing it out of place; ask once in a round")
        return self._beside(name)

    def mix(self, Z: Tensor, name: str = "parameters") -> Tensor:
        """What the gossip scheme makes of Z: for exact gossip Z + γ(WZ − Z)."""
        self.send(Z, name)
        return self.receive(name)

    def send(self, Z: Tensor, name: str = "parameters") -> None:
        """The first half of `mix`: Z goes out to the neighbours, and must not change until `receive`."""
        exchange, present = self._exchange(name), self.present[name]
        if getattr(Z, "shape", None) != present.shape:
            raise self.refused(f"mixes {name!r} from {_described(Z)}; give {_whole(present)}")
        if name in self._sent:
            raise self.refused(f"sends {name!r} twice before receive({name!r})")
        self._count_sending(name)
        out_of_place = Z.data_ptr() != present.data_ptr()
        if out_of_place:
            Z = self._as_draft(Z, name)
        self._sent.add(name)
        if not self._alone:
            exchange.start(Z, self.t)
        elif out_of_place:
            self.present[name], self._spare[name] = Z, present

    def receive(self, name: str = "parameters") -> Tensor:
        """The second half of `mix`."""
        if name not in self._sent:
            raise self.refused(f"receives {name!r}, which it did not send")
        self._sent.remove(name)
        if self._alone:
            # Nobody to mix with: under every scheme the row stays as it is.
            block = self.present[name]
        else:
            block = self.present[name] = self._exchange(name).finish()
        self.state.rebind(name, block)
        return block

    def neighbours(self, agent: int, name: str = "parameters") -> Mapping[int, Tensor]:
        """The rows of a local agent's neighbours as they arrived in the last mixing, until the next one begins."""
        return {} if self._alone else self._exchange(name).neighbours(agent)

    def outgoing(self, name: str) -> Mapping[tuple[int, int], Tensor]:
        """Memory for the row of each edge (i, j) of this round, i here: what agent i has for its neighbour j."""
        return self._edge_exchange(name).outgoing(self.t)

    def swap(self, name: str) -> Mapping[tuple[int, int], Tensor]:
        """Sends what `outgoing` holds; the row of each edge (j, i) of this round, i here, until the next `outgoing`."""
        self._count_sending(name)
        return self._edge_exchange(name).swap(self.t)

    def keep(self, agent: int, row: Tensor, name: str) -> None:
        """Make of what an agent has for itself what its neighbours get of theirs, in place, where rows are packed."""
        self._edge_exchange(name).keep(agent, row, self.t)

    def local(self) -> Tensor:
        """The block of the agents' models; a method whose rows are not its models says what they are."""
        return self.X

    def model(self, name: str) -> Tensor:
        if name == "local":
            return self.local()
        if self._mean is None:
            self._mean = self.average(self.local())
        return self._mean

    def diagnostics(self) -> dict[str, list[float]]:
        """The squared distances ‖x_i − x̄‖², whose mean is Tr Ξ [Zhu et al. 2023]."""
        mean = self.model("consensus")
        return {"consensus_distance": [float((x - mean).double().square().sum()) for x in self.local()]}

    def crew_diagnostics(self) -> dict[str, dict[int, float]]:
        return {name: losses.shares() for name, losses in self._losses.items()}

    def average(self, block: Tensor) -> Tensor:
        """The mean over all agents of their rows, summed in a fixed order."""
        share, positions = 1 / len(self.everyone), {agent: at for at, agent in enumerate(self.everyone)}
        leaves = ((positions[agent], block[place] * share) for place, agent in enumerate(self.agents))
        return self.measuring.sum(leaves, len(self.everyone), self.owners)

    def _exchange(self, name: str) -> Exchange:
        """The exchange of a mixed quantity."""
        if name not in self._exchanges:
            raise self.refused(f"mixes {name!r}, which its `mixed` does not name ({', '.join(self.mixed)})")
        return self._exchanges[name]

    def _edge_exchange(self, name: str) -> EdgeExchange:
        """The exchange of a quantity of which each neighbour gets a row of its own."""
        if name not in self._edges:
            raise self.refused(
                f"sends {name!r} by edge, which its `edgewise` does not name ({', '.join(self.edgewise) or 'nothing'})"
            )
        return self._edges[name]

    def _count_sending(self, name: str) -> None:
        """Refuses what dry runs would not count: more rows for each neighbour than `rows_sent` says."""
        self._sendings[name] += 1
        times = self._sendings[name]
        if times > 1 and times > math.ceil(self.rows_sent(self.settings, 1, 1.0).get(name, 0)):
            raise self.refused(f"sends {name!r} {times} times in a round; let its `rows_sent` say so")

    def _beside(self, name: str) -> Tensor:
        """The block that may be written beside the present one."""
        return self._spare[name] if name in self._spare else self._exchange(name).draft

    def _as_draft(self, Z: Tensor, name: str) -> Tensor:
        """Z in memory that neighbours may read, for a Z that is not the present block."""
        if name in self.in_place:
            raise self.refused(f"mixes {name!r} out of place, but its `in_place` names it; write it in place")
        if name in self._drafted:
            raise self.refused(f"mixes {name!r} out of place twice in a round; write it in place the second time")
        self._drafted.add(name)
        draft = self._beside(name)
        return Z if Z.data_ptr() == draft.data_ptr() else draft.copy_(Z)


def _error_metric(quantity: str) -> str:
    """`compression_error` of the models themselves, `compression_error_tracker` of another quantity."""
    name = Losses.metric.name
    return name if quantity == "parameters" else f"{name}_{quantity.replace(' ', '_')}"


def _described(value: object) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"a block of shape {tuple(shape)}"


def _whole(block: Tensor) -> str:
    return f"the block of all rows, of shape {tuple(block.shape)}"
