"""A run whose models are analysed: its network and data, and the models that it has kept, read as they are asked for.

The loss is the one that the run minimises: L = Σ p_i L_i over agents, L_i the mean over agent i's training examples as
they are, never moved at random, and p_i the weights of the method's averages (`weighting`; else they are equal). A
network is in evaluation mode, and computes in the type that rows have, also where training computes in 16 bits. A model
has the running statistics with which the run evaluates it (`evaluate.buffers`), and its neighbourhood the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from mpidl.analysis.objective import Chunk, Objective
from mpidl.analysis.workers import ALONE, Workers
from mpidl.comm.start import device as devices
from mpidl.data.shares import Shares
from mpidl.errors import ResultsError
from mpidl.experiment.measuring import configuration, make_learner
from mpidl.experiment.schema import Config
from mpidl.layout import FLOATS, PARAMETERS
from mpidl.results import Run, models
from mpidl.results.checkpoints import reader as checkpoints
from mpidl.results.models import OWN, Kept, KeptModel
from mpidl.results.snapshots import BEST
from mpidl.seeding import stream
from mpidl.training.precision import set_arithmetic

MOST_AGENTS = 1000
"""Whose rows or gradients are compared pair by pair."""

Call = tuple[Callable[..., Chunk], tuple[Any, ...]]

# Of agents' rows that are kept in memory; of larger ones, one at a time is read from the file.
_BYTES = 2**28


class Missing(ResultsError):
    """What a study needs, and this run does not have."""


class Moment:
    """The models of one round, as rows [P] or [P + F] with running statistics behind the parameters.

    `name`: of the model that all agents or the server hold, which is read when it is first asked for; `own`: the
    agents'. None where they were not kept.
    """

    def __init__(self, round: int, name: str | None, own: Sequence[Tensor] | None, read: Callable[[], Tensor]) -> None:
        self.round, self.name, self.own, self._read = round, name, own, read

    @cached_property
    def held(self) -> Tensor:
        """The model that all hold; Missing where it was not kept."""
        if self.name is None:
            raise Missing(f"of round {self.round}, only agents' own models were kept")
        return self._read()


class Subject:
    """A run, or one of its checkpoints, opened to be analysed."""

    def __init__(
        self,
        path: Path,
        config: Config,
        kept: Sequence[Kept],
        read: Callable[[Kept, str | int | None], KeptModel],
        agents: int,
        workers: Workers = ALONE,
        examples: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        """`read` returns a model that is kept; `examples`: at most so many of the training part are looked at."""
        self.path, self.config, self.kept, self.agents, self.workers = path, config, kept, agents, workers
        self._read = read
        device = device or devices.resolve(devices.choose(config.train.device, 0))
        set_arithmetic(config.train.tf32, config.train.deterministic)
        if config.train.threads != "auto":
            torch.set_num_threads(config.train.threads)
        dataset = config.data.load()
        shares = config.data.deal(dataset, agents, config.seed)
        self.weights = _weights(config, shares)
        first = kept[0]
        name = first.shared
        shares = _part_of(shares, examples, config.seed)
        self._learner = make_learner(read(first, 0 if name is None else name), config, dataset, shares, device)
        self.train_examples = sum(self._learner.batches.sizes)
        self.classifies = dataset.task != "regression"

    @cached_property
    def train(self) -> Objective:
        """Σ p_i L_i."""
        learner = self._learner
        places = [(agent, chunk) for agent in range(self.agents) for chunk in range(learner.batches.chunks(agent))]
        # An agent's examples share its weight.
        weights = [self.weights[agent] / learner.batches.sizes[agent] for agent, _ in places]
        return self._objective([(learner.batches.chunk, place) for place in places], weights, self.workers)

    @cached_property
    def test(self) -> Objective:
        """The mean loss over the test part, as the run measures it."""
        batches = self._learner.batches
        chunks = [(batches.test, ("test", chunk)) for chunk in range(batches.test_chunks("test"))]
        return self._objective(chunks, None, self.workers)

    @cached_property
    def by_agent(self) -> list[Objective]:
        """L_i of each agent, each for one worker."""
        batches = self._learner.batches
        return [
            self._objective([(batches.chunk, (agent, chunk)) for chunk in range(batches.chunks(agent))], None, ALONE)
            for agent in range(self.agents)
        ]

    def _objective(self, calls: Sequence[Call], weights: list[float] | None, workers: Workers) -> Objective:
        learner = self._learner
        return Objective(
            learner.rows.module,
            learner.loss,
            _Chunks(calls),
            weights,
            counts_hits=self.classifies,
            seed=learner.seed,
            workers=workers,
            rows=learner.rows,
        )

    def at(self, round: int | str | None = None) -> Moment:
        """The models of a round that are kept, the "best", or by default the newest."""
        return self._moment(models.choose(self.path, self.kept, round))

    def own(self, round: int | str | None = None) -> Sequence[Tensor]:
        """The agents' own models of such a round; Missing where there are none."""
        moment = self.at(round)
        if OWN not in self.config.method.models:
            raise Missing(f"{self.config.algorithm.name} trains one model, and agents have none of their own")
        if moment.own is None:
            raise Missing(
                f"{str(self.path)!r} keeps no agent's own model of round {moment.round}; let that run keep them, with "
                "checkpoint.final: all"
            )
        return moment.own

    @cached_property
    def trajectory(self) -> list[int]:
        """The rounds of which models are kept, ascending; the best apart."""
        return sorted(each.round for each in self.kept if each.group != BEST)

    def along(self, most: int) -> list[int]:
        """At most so many of these rounds, evenly spread, the first and the last among them."""
        rounds = self.trajectory
        if len(rounds) <= most:
            return rounds
        return [rounds[place] for place in np.linspace(0, len(rounds) - 1, most).round().astype(int)]

    def _moment(self, kept: Kept) -> Moment:
        own = None
        if OWN in kept.models:
            own = Rows(self.agents, lambda agent: self._row(self._read(kept, agent)))
        return Moment(kept.round, kept.shared, own, lambda: self._row(self._read(kept, kept.shared)))

    def _row(self, kept: KeptModel) -> Tensor:
        return row_of(kept).to(self._learner.device)


def of_run(
    run: Run,
    workers: Workers = ALONE,
    examples: int | None = None,
    overrides: Iterable[str] = (),
    plug_ins: bool = False,
    device: torch.device | None = None,
) -> Subject:
    """A run by its file. `overrides` are `key=value`, as of `data.root`; a model and data that do not come with mpidl
    are code, which runs only where `plug_ins` says so."""
    if not run.kept:
        # In the same words as whoever asks for one of its models.
        models.choose(run.path, run.kept, None)
    config = configuration(run.path, run.config, overrides, plug_ins)

    def read(kept: Kept, model: str | int | None) -> KeptModel:
        return models.read(run.path, kept, model)

    return Subject(run.path, config, run.kept, read, run.agents, workers, examples, device)


def of_checkpoint(
    path: Path, examples: int | None = None, overrides: Iterable[str] = (), plug_ins: bool = False
) -> Subject:
    """A run by one of its checkpoints, a folder; in one process, with memory for all its agents."""
    # A checkpoint is of ranks, and knows MPI.
    from mpidl.experiment.saved import checkpoint_keys, models_of_checkpoint

    checkpoint = checkpoints.open(path)
    config = configuration(path, checkpoint_keys(checkpoint, plug_ins), overrides, plug_ins)
    kept, found = models_of_checkpoint(checkpoint, plug_ins)

    def read(kept: Kept, model: str | int | None) -> KeptModel:
        name, agent = models.named(path, kept, model)
        return found[name][agent or 0].refuse_gone()

    return Subject(path, config, [kept], read, checkpoint.facts.agents, ALONE, examples)


def row_of(kept: KeptModel) -> Tensor:
    """A kept model as a row [P], or [P + F] with its running statistics."""
    return torch.cat([torch.from_numpy(kept.rows[kind]) for kind in (PARAMETERS, FLOATS) if kind in kept.rows])


class _Chunks(Sequence[Chunk]):
    """Chunks of examples that are made when they are asked for."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls

    def __len__(self) -> int:
        return len(self._calls)

    @overload
    def __getitem__(self, place: int) -> Chunk: ...

    @overload
    def __getitem__(self, place: slice) -> _Chunks: ...

    def __getitem__(self, place: int | slice) -> Chunk | _Chunks:
        if isinstance(place, slice):
            return _Chunks(self._calls[place])
        make, arguments = self._calls[place]
        return make(*arguments)


class Rows(Sequence[Tensor]):
    """Rows that are read when they are asked for, and kept where all of them are small."""

    def __init__(self, count: int, read: Callable[[int], Tensor]) -> None:
        self._count, self._read = count, read
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Tensor: ...

    @overload
    def __getitem__(self, place: slice) -> list[Tensor]: ...

    def __getitem__(self, place: int | slice) -> Tensor | list[Tensor]:
        if isinstance(place, slice):
            return [self[number] for number in range(self._count)[place]]
        if not 0 <= place < self._count:
            raise IndexError(place)
        if place in self._kept:
            return self._kept[place]
        row = self._read(place)
        if row.nbytes * self._count <= _BYTES:
            self._kept[place] = row
        return row


def _weights(config: Config, shares: Shares) -> list[float]:
    """p_i."""
    if getattr(config.algorithm, "weighting", "uniform") == "data":
        return (shares.sizes / shares.sizes.sum()).tolist()
    return [1 / len(shares)] * len(shares)


def _part_of(shares: Shares, examples: int | None, seed: int) -> Shares:
    """Of each agent's examples so many, drawn by the seed, that all together are at most `examples`, but one each."""
    everything = int(shares.sizes.sum())
    if examples is None or examples >= everything:
        return shares
    parts = []
    for agent, share in enumerate(shares):
        count = max(min(1, len(share)), len(share) * examples // everything)
        parts.append(np.sort(stream(seed, "analysed examples", agent).permutation(share)[:count]))
    return Shares(parts, shares.validation)
