"""Everything a run must remember between rounds, declared by whoever owns it.

Owners (the algorithm, a gossip scheme, a server optimizer) declare their state once; checkpoints, moving agents to
other ranks and the memory formula read the declarations and nothing else. On the device "meta" nothing is allocated,
so that memory can be told before a run starts.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from mpidl.declarations import Declaration, Kind, LazyEdges, LazyItems
from mpidl.rows import items, new_rows, room
from mpidl.spill import Spill


class State:
    """The declared state of one rank. `agents` are this rank's, out of `total` in the run."""

    def __init__(
        self,
        agents: Sequence[int],
        total: int,
        parameters: int,
        dtype: torch.dtype,
        device: torch.device | str,
        spill: Spill | None = None,
    ) -> None:
        """Lazy items go where `spill` says, if there is one; else into main memory, or the GPU's."""
        self._spill = spill
        self.agents, self.total, self.parameters = tuple(agents), total, parameters
        self.dtype, self.device = dtype, torch.device(device)
        self.declarations: dict[str, Declaration] = {}
        self._values: dict[str, Tensor | LazyItems] = {}
        self.renewed: set[str] = set()
        """See `renew`."""
        self._scratch_bytes = 0
        self._expected: dict[str, int] = {}
        self._sealed = False

    def seal(self) -> None:
        """Say that all is declared: what came later would be in no dry run, and missing where a run resumes."""
        self._sealed = True

    def rows(self, name: str, initial: float = 0.0, storage: Tensor | None = None) -> Tensor:
        """A block [k, P], a row for each agent here; `storage` is the memory to use where its owner has it already."""
        declared = self._declare(name, Kind.ROWS, (self.parameters,), self.dtype, initial, self.agents, self.total)
        return self._allocate(declared, storage)

    def lazy_rows(self, name: str, initial: float | Tensor = 0.0) -> LazyItems:
        """Rows of agents that come into being when first touched, wherever the agent is run."""
        declared = self._declare(name, Kind.ROWS, (self.parameters,), self.dtype, initial, (), self.total, lazy=True)
        lazy = LazyItems(declared, self.device, self._spill)
        self._values[name] = lazy
        return lazy

    def lazy_factors(self, name: str, shape: tuple[int, ...]) -> LazyItems:
        """Small tensors of agents that come into being, as zeros, when first touched, wherever the agent is run."""
        lazy = LazyItems(
            self._declare(name, Kind.FACTORS, shape, self.dtype, 0.0, (), self.total, lazy=True),
            self.device,
            self._spill,
        )
        self._values[name] = lazy
        return lazy

    def edge_rows(
        self, name: str, edges: Sequence[tuple[int, int]], initial: float = 0.0
    ) -> dict[tuple[int, int], Tensor]:
        """A row for each directed edge (i, j) of the list with i here, by edge."""
        here = tuple(index for index, (start, _) in enumerate(edges) if start in self.agents)
        shape = (self.parameters,)
        declared = self._declare(name, Kind.EDGE_ROWS, shape, self.dtype, initial, here, len(edges), edges=tuple(edges))
        block = self._allocate(declared, None)
        return {edges[index]: block[place] for place, index in enumerate(here)}

    def lazy_edge_rows(self, name: str, end: Literal[0, 1], expected: int) -> LazyEdges:
        """Rows of directed edges that come into being when first touched, held at the start (0) or the end (1).

        `expected`: about how many of them will exist here, for the memory formula.
        """
        shape, total = (self.parameters,), self.total**2
        declared = self._declare(name, Kind.EDGE_ROWS, shape, self.dtype, 0.0, (), total, lazy=True, end=end)
        lazy = LazyItems(declared, self.device, self._spill)
        self._values[name] = lazy
        self._expected[name] = expected
        return LazyEdges(lazy, self.total)

    def scalars(self, name: str, initial: float = 0.0, dtype: torch.dtype = torch.float64) -> Tensor:
        """One number for each agent here."""
        return self._allocate(self._declare(name, Kind.SCALARS, (), dtype, initial, self.agents, self.total), None)

    def server(self, name: str, initial: float = 0.0) -> Tensor:
        """One vector [P] that every rank holds and keeps equal."""
        declared = self._declare(name, Kind.SERVER, (self.parameters,), self.dtype, initial, (0,), 1)
        return self._allocate(declared, None)[0]

    def number(self, name: str, initial: float = 0.0, dtype: torch.dtype = torch.float64) -> Tensor:
        """One number that every rank holds and keeps equal."""
        return self._allocate(self._declare(name, Kind.SERVER, (), dtype, initial, (0,), 1), None)[0]

    def shared(self, name: str, size: int, dtype: torch.dtype, initial: float = 0.0) -> Tensor:
        """A vector [size] that every rank holds and keeps equal, such as a number for each agent of the run."""
        return self._allocate(self._declare(name, Kind.SERVER, (size,), dtype, initial, (0,), 1), None)[0]

    def counts(self, name: str, size: int) -> Tensor:
        """A whole number for each of so many, that every rank holds and keeps equal; 0 at first."""
        return self.shared(name, size, torch.int64)

    def factors(self, name: str, shape: tuple[int, ...], initial: float = 0.0) -> Tensor:
        """A small tensor for each agent here, as [k, *shape]."""
        return self._allocate(
            self._declare(name, Kind.FACTORS, shape, self.dtype, initial, self.agents, self.total), None
        )

    def buffers(self, name: str, size: int, dtype: torch.dtype) -> Tensor:
        """Module statistics of each agent here, as [k, size]."""
        return self._allocate(self._declare(name, Kind.BUFFERS, (size,), dtype, 0.0, self.agents, self.total), None)

    def renew(self, *names: str) -> None:
        """Name states that speak of several agents at once: when some are dropped, they begin anew with the others."""
        for name in names:
            if name not in self.declarations:
                raise ValueError(f"state {name!r} was never declared")
            self.renewed.add(name)

    def scratch(self, *shape: int) -> Tensor:
        """Memory for rows that need not survive a round; counted, never saved."""
        self.reserve(room(math.prod(shape[:-1]), shape[-1], self.dtype))
        return new_rows(shape, self.dtype, self.device)

    def scratch_bytes(self, size: int) -> Tensor:
        """Memory for so many bytes that need not survive a round; counted, never saved."""
        self.reserve(size)
        return torch.zeros(size, dtype=torch.uint8, device=self.device)

    def reserve(self, size: int) -> None:
        """Count so many bytes that their owner has allocated, and that need not survive a round."""
        if self._sealed:
            raise ValueError("scratch memory is asked for during the run; ask for it once, when its owner is made")
        self._scratch_bytes += size

    def row(self) -> Tensor:
        """Memory for one row more than was expected when memory was counted."""
        return new_rows((self.parameters,), self.dtype, self.device)

    def rebind(self, name: str, value: Tensor) -> None:
        """Say that a state now lives in other memory (the blocks of an exchange swap roles)."""
        if name not in self.declarations:
            raise ValueError(f"state {name!r} was never declared")
        self._values[name] = value

    @property
    def lazy(self) -> dict[str, LazyItems]:
        """The lazy states by name, whose items move with the agents that another rank runs."""
        lazy = ((name, value) for name, value in self._values.items() if isinstance(value, LazyItems))
        return {name: value for name, value in lazy if self.declarations[name].kind is not Kind.EDGE_ROWS}

    def bytes(self) -> int:
        """Main memory, or the GPU's, of all states and scratch on this rank; lazy rows count for each agent here."""
        return self._bytes(lazy=False) + self._scratch_bytes + self._bytes(lazy=True) - self.spilled_bytes()

    def spilled_bytes(self) -> int:
        """What of that lies in a file once all agents here have been touched."""
        return 0 if self._spill is None else max(0, self._bytes(lazy=True) - self._spill.budget)

    def saved_bytes(self) -> int:
        """Of all states on this rank, lazy ones as they are expected, wherever they lie."""
        return self._bytes(lazy=False) + self._bytes(lazy=True)

    def _bytes(self, lazy: bool) -> int:
        """Of the states that are lazy, or of those that are not."""
        chosen = {name: declared for name, declared in self.declarations.items() if declared.lazy == lazy}
        here = [self._expected.get(name, len(self.agents)) if lazy else len(chosen[name].ids) for name in chosen]
        return sum(map(operator.mul, here, [declared.item_bytes for declared in chosen.values()]))

    def items(self) -> Iterator[tuple[Declaration, tuple[int, ...], Tensor]]:
        """Each state with the ids held here and their values [len(ids), *shape]: all that a checkpoint needs."""
        for name, declared in self.declarations.items():
            value = self._values[name]
            if isinstance(value, LazyItems):
                ids = tuple(value.touched())
                empty = torch.empty((0, *declared.shape), dtype=declared.dtype)
                yield declared, ids, torch.stack([value[item] for item in ids]) if ids else empty
            else:
                yield declared, declared.ids, value

    def held(self) -> Iterator[tuple[Declaration, tuple[int, ...], Iterable[Tensor]]]:
        """Each state with the ids held here and their values, row by row where they lie; numbers of agents together."""
        for name, declared in self.declarations.items():
            value = self._values[name]
            ids = tuple(value.touched()) if isinstance(value, LazyItems) else declared.ids
            if isinstance(value, LazyItems):
                yield declared, ids, map(value.__getitem__, ids)
            else:
                yield declared, ids, value if declared.shape else [value]

    def load(self, name: str, ids: Sequence[int], values: Tensor) -> None:
        """Take from `values` [len(ids), *shape] the items that belong here, lazy ones where their agents do."""
        own, declared = self._values[name], self.declarations[name]
        if values.shape[1:] != declared.shape:
            raise ValueError(f"state {name!r} has items of shape {declared.shape}, not {tuple(values.shape[1:])}")
        places = {item: place for place, item in enumerate(declared.ids)}
        for at in self.wanted(name, ids):
            if isinstance(own, LazyItems):
                own.adopt(ids[at], values[at])
            else:
                own[places[ids[at]]].copy_(values[at])

    def wanted(self, name: str, ids: Sequence[int]) -> list[int]:
        """The places in `ids` of the items of a state that belong here, lazy ones where their agents do."""
        declared, agents = self.declarations[name], set(self.agents)
        if declared.lazy:
            return [place for place, item in enumerate(ids) if self._holder(declared, item) in agents]
        here = set(declared.ids)
        return [place for place, item in enumerate(ids) if item in here]

    def complete(self, name: str, loaded: Sequence[int]) -> bool:
        """Whether these are the items of a state that belong here, each once; which lazy ones exist is not known."""
        declared = self.declarations[name]
        once = len(loaded) == len(set(loaded))
        return once and (declared.lazy or sorted(loaded) == sorted(declared.ids))

    def _holder(self, declared: Declaration, item: int) -> int:
        """The agent with which an item of a lazy state is held."""
        return item if declared.end is None else divmod(item, self.total)[declared.end]

    def _declare(
        self,
        name: str,
        kind: Kind,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        initial: float | Tensor,
        ids: tuple[int, ...],
        total: int,
        lazy: bool = False,
        edges: tuple[tuple[int, int], ...] = (),
        end: Literal[0, 1] | None = None,
    ) -> Declaration:
        if self._sealed:
            raise ValueError(f"state {name!r} is declared during the run; declare it once, when its owner is made")
        if name in self.declarations:
            raise ValueError(f"state {name!r} is declared twice; declare it once, when its owner is made")
        declared = Declaration(name, kind, shape, dtype, initial, ids, total, lazy, edges, end)
        self.declarations[name] = declared
        return declared

    def _allocate(self, declared: Declaration, storage: Tensor | None) -> Tensor:
        value = items(len(declared.ids), declared.shape, declared.dtype, self.device) if storage is None else storage
        if value.device.type != "meta":
            initial = declared.initial
            value.copy_(initial) if isinstance(initial, Tensor) else value.fill_(initial)
        self._values[declared.name] = value
        return value
