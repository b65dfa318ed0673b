"""Copies of each rank's state in memory, from which the others go on when one has died: in its own and a buddy's.

Every so many rounds each rank copies what it holds, keeps the copy, and sends it to its buddy. Such a generation of
copies is whole once all ranks have said that theirs have arrived, and the one before is kept until then: who dies while
copies are on their way leaves that as it was. It is enough that one rank has heard of it from all: by then every rank
holds what it should. A rank and its buddy that die together take a part along, and with it the generation.

Where the others go on without the agents of the dead, nobody needs a buddy: each rank keeps copies of its own alone, by
the same generations, so that all go back to one round, the newest that all of them have done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mpidl.comm import survivors
from mpidl.comm.moves import confirm, move_items, swap
from mpidl.errors import CommunicationError
from mpidl.training.copies import StateCopies
from mpidl.training.loop import Hook, Training

if TYPE_CHECKING:
    from mpidl.comm.meters import Meters
    from mpidl.comm.world import World
    from mpidl.state import State

# Of a state, moved at once when it is loaded.
_BYTES = 2**26


@dataclass(frozen=True)
class RankState:
    """What one rank held: by state, which items, and their values [k, *shape] in the host's memory."""

    seconds: float
    """Of training so far, as this rank has measured it."""
    states: Mapping[str, tuple[Sequence[int], Tensor]]


@dataclass
class Generation:
    """Copies of all ranks after the same round, as far as this rank keeps them; each rank's own is its first."""

    round: int
    ranks: int
    parts: dict[int, RankState]
    whole: bool = False
    """Whether this rank knows that all parts were kept by those who should."""


@dataclass(frozen=True)
class Holding:
    """What the ranks that are left have of a generation that they hold whole; round and seconds are the same on all."""

    round: int
    seconds: float
    parts: list[RankState]
    """Those that this rank gives to the others, and no other rank gives."""


class Memory:
    """What a rank keeps while other ranks die, and it takes over their agents."""

    def __init__(self) -> None:
        self.generations: list[Generation] = []
        """The newest that is whole, and one that is being made."""

    def look(self, world: World, alone: bool = False) -> tuple[Holding | None, int | None]:
        """The newest that these ranks hold whole, if any, and the round of a newer one, if some of that is gone.

        `alone`: it is whole if each of these ranks has its own part. What is neither is forgotten. A collective call.
        """
        rows = [
            (each.round, each.ranks, each.whole, place, rank, world.rank, part.seconds)
            for each in self.generations
            for place, (rank, part) in enumerate(each.parts.items())
        ]
        known = world.concatenate(np.array(rows, dtype=np.float64).reshape(-1, 7)).tolist()
        world.refuse_loss()
        lost = None
        # Of the same round, copies among fewer ranks are newer: those that were left have made them.
        for which in sorted({(row[0], row[1]) for row in known if row[2]}, key=lambda each: (-each[0], each[1])):
            # A rank's own copy stands before that which its buddy keeps.
            parts = sorted(row[3:] for row in known if (row[0], row[1]) == which)
            givers = {rank: giver for _, rank, giver, _ in reversed(parts)}
            if len(givers) == (world.size if alone else which[1]):
                self.generations = [each for each in self.generations if (each.round, each.ranks) == which]
                given = list[RankState]()
                for each in self.generations:
                    each.whole = True
                    given += [part for rank, part in each.parts.items() if givers[rank] == world.rank]
                return Holding(int(which[0]), max(seconds for *_, seconds in parts), given), lost
            lost = lost or int(which[0])
        self.generations = []
        return None, lost


class OwnCopies(Hook):
    """Makes a generation every so many rounds, and where a run goes on, since its ranks have changed.

    Each rank keeps its own part, in which is also what all hold alike.
    """

    def __init__(
        self, memory: Memory, every: int, state: State, world: World, meters: Meters, as_rank: int = 0
    ) -> None:
        """`as_rank`: of what all ranks hold alike, rank 0 has a copy."""
        self._memory, self._every, self._state, self._world, self._meters = memory, every, state, world, meters
        # By turns, so that one is left as it is while the next is made.
        self._room = [(StateCopies(state, as_rank), dict[str, Tensor]()) for _ in range(2)]

    def start(self, training: Training) -> None:
        if training.done:
            self._make(training)

    def after_round(self, training: Training, done: int) -> None:
        if done % self._every == 0 and done < training.rounds:
            self._make(training)

    def _make(self, training: Training) -> None:
        memory, world = self._memory, self._world
        with self._meters.time("checkpoint"):
            training.settle()
            world.refuse_loss()
            self._room.reverse()
            copies, received = self._room[0]
            states = {declared.name: (ids, values) for declared, ids, values in copies.tensors()}
            own = RankState(training.seconds, states)
            generation = Generation(training.done, world.size, {world.rank: own} | self._of_others(own, received))
            memory.generations.append(generation)
            world.refuse_loss()
            confirm(world, training.done)
            generation.whole = True
            memory.generations = [generation]

    def _of_others(self, own: RankState, received: dict[str, Tensor]) -> dict[int, RankState]:
        """By rank, what this one keeps for another, in memory that was there for the generation before the last."""
        return {}


class Buddies(OwnCopies):
    """Generations of which each rank keeps its own part, and that of the rank whose buddy it is."""

    def __init__(self, memory: Memory, every: int, state: State, world: World, meters: Meters) -> None:
        super().__init__(memory, every, state, world, meters, as_rank=world.rank)
        following = buddies(world.hosts)
        self._buddy, self._ward = following[world.rank], following.index(world.rank)

    def _of_others(self, own: RankState, received: dict[str, Tensor]) -> dict[int, RankState]:
        return {self._ward: self._exchange(own, received)}

    def _exchange(self, own: RankState, received: dict[str, Tensor]) -> RankState:
        """Sends a part to the buddy; returns that of which this rank is the buddy, in memory that is there already."""
        counts = [float(len(ids)) for ids, _ in own.states.values()]
        told = torch.tensor([own.seconds, *counts], dtype=torch.float64)
        heard = torch.full_like(told, -1)
        swap(self._world, self._buddy, self._ward, [told], [heard])
        seconds, *numbers = heard.tolist()
        ids = torch.tensor([item for items, _ in own.states.values() for item in items], dtype=torch.int64)
        others = torch.empty(int(sum(numbers)), dtype=torch.int64)
        for (name, declared), count in zip(self._state.declarations.items(), numbers, strict=True):
            if name not in received or len(received[name]) != count:
                received[name] = torch.empty((int(count), *declared.shape), dtype=declared.dtype)
        values = [values for _, values in own.states.values()]
        swap(self._world, self._buddy, self._ward, [ids, *values], [others, *received.values()])
        split = others.split([int(count) for count in numbers])
        return RankState(
            seconds, {name: (part.tolist(), received[name]) for name, part in zip(received, split, strict=True)}
        )


def useless(world: World) -> str:
    """Why copies in memory would not help on these ranks; empty where they do."""
    if world.size == 1:
        return "checkpoint.memory is of no use to one rank: there is no other to go on when it dies"
    if not survivors.supported():
        return "checkpoint.memory is of no use here: when a rank dies, all end (it needs mpidl run, and Open MPI 5)"
    return ""


def buddies(hosts: Sequence[str]) -> list[int]:
    """The rank that keeps the copy of each: on another host for as many as can be, as each keeps one."""
    order = sorted(range(len(hosts)), key=lambda rank: hosts.index(hosts[rank]))
    most = max(Counter(hosts).values())
    distance = most if most < len(hosts) else 1
    following = dict(zip(order, order[distance:] + order[:distance], strict=True))
    return [following[rank] for rank in range(len(hosts))]


def deal(world: World, state: State, parts: Sequence[RankState]) -> None:
    """Loads every item to where it belongs now, from the parts that the ranks give together. A collective call."""
    for name, declared in state.declarations.items():
        items, givers = _everywhere(world, [item for part in parts for item in part.states[name][0]])
        places, takers = _everywhere(world, state.wanted(name, items))
        moves = [(place, givers[place], taker) for place, taker in zip(places, takers, strict=True)]
        first = givers.index(world.rank) if world.rank in givers else 0
        here = dict(enumerate((value for part in parts for value in part.states[name][1]), first))
        loaded, at_once = list[int](), max(1, _BYTES // max(1, declared.item_bytes))
        for begin in range(0, len(moves), at_once):
            arrived = move_items(world, moves[begin : begin + at_once], here, declared.shape, declared.dtype)
            if arrived:
                ids = [items[place] for place in arrived]
                state.load(name, ids, torch.stack(list(arrived.values())))
                loaded += ids
        if not state.complete(name, loaded):
            raise CommunicationError(f"the copies in memory do not hold every item of {name!r} once")


def restore(state: State, parts: Sequence[RankState]) -> None:
    """Takes back what this rank itself held of agents that are left; what speaks of others, too, begins anew."""
    for part in parts:
        for name, (ids, values) in part.states.items():
            if name in state.renewed:
                continue
            state.load(name, ids, values)
            loaded = [ids[place] for place in state.wanted(name, ids)]
            if state.declarations[name].edges or not state.complete(name, loaded):
                raise CommunicationError(
                    f"the state {name!r} does not fit the agents that are left, and its owner does not renew it"
                )


def _everywhere(world: World, numbers: Sequence[int]) -> tuple[list[int], list[int]]:
    """The numbers of all ranks, one rank's after another's, and whose each is. A collective call."""
    rows = np.array([(number, world.rank) for number in numbers], dtype=np.float64).reshape(-1, 2)
    found, ranks = world.concatenate(rows).astype(np.int64).T.tolist()
    return found, ranks
