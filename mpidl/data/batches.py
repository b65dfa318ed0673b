"""The batches of every agent, a pure function of (agent, step), on the device that trains.

Step s of an agent is batch s mod n of its pass s div n over its own examples, n batches per pass; each pass is shuffled
anew by stream(seed, "shuffle", agent, pass), and the last, short batch is kept. Nothing is remembered between calls
but the current order of each agent, so any step can be asked for at any time, by any rank that holds the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from mpidl.data.checks import in_memory
from mpidl.data.dataset import Dataset
from mpidl.data.prefetch import Prefetch
from mpidl.data.reading import finite, row_bytes
from mpidl.data.shares import Shares, batches_per_pass
from mpidl.data.transform import Moves, Transform
from mpidl.errors import ConfigError
from mpidl.seeding import stream

# Rows of files are loaded up to this size on a CPU.
_LOADED_ON_CPU = 2**30

Batch = tuple[torch.Tensor, torch.Tensor]
EvaluationPart = Literal["test", "validation"]


@dataclass(frozen=True)
class Storage:
    """Where a rank keeps examples, and the device and type in which they reach the model.

    With `place="own"`, examples of the agents in `mine` (None: all) are loaded, and those of another agent when it is
    first asked for; with "replicate", all are. `streamed` leaves them where they are and moves one batch at a time
    (None: decided by their size: on a GPU, half of its free memory is for the `sharers`, the ranks that share it).
    Neither changes a bit of any batch. `chunk` is the most examples that a chunk holds: with more of them, networks of
    convolutions were slower on a CPU (lenet5 1.5 times with 2,048), and small ones hardly faster (an MLP 1.1 times).
    """

    device: torch.device | str = "cpu"
    dtype: torch.dtype | None = None
    mine: Sequence[int] | None = None
    sharers: int = 1
    place: Literal["replicate", "own"] = "replicate"
    streamed: bool | None = None
    chunk: int = 512


class Batches:
    """Training batches of each agent, and fixed chunks of its own examples and of the test and validation parts.

    Rows of files are checked to be finite as they are read.
    """

    def __init__(
        self,
        dataset: Dataset,
        shares: Shares | Sequence[np.ndarray],
        batch: int | Literal["full"],
        seed: int,
        storage: Storage | None = None,
        moves: Moves | None = None,
    ) -> None:
        storage, moves = storage or Storage(), moves or Moves()
        self.dataset = dataset
        self.device = torch.device(storage.device)
        self.sizes: tuple[int, ...] = tuple(len(share) for share in shares)
        self._shares = [np.asarray(share, dtype=np.int64) for share in shares]
        self._validation = shares.validation if isinstance(shares, Shares) else np.empty(0, np.int64)
        self._batch, self._seed, self.chunk_size = batch, seed, storage.chunk
        self._transform = Transform(dataset, seed, self.device, storage.dtype or torch.get_default_dtype(), moves)
        self._orders: dict[int, tuple[int, torch.Tensor]] = {}
        self._blocks: dict[int, Batch] = {}
        self._all: Batch | None = None
        self._own = storage.place == "own"
        mine = range(len(shares)) if storage.mine is None else storage.mine
        rows = sum(self.sizes[agent] for agent in mine) if self._own else len(dataset)
        self.streamed = self._too_large(rows, storage.sharers) if storage.streamed is None else storage.streamed
        self._prefetch = Prefetch(self._fetch, self.device, len(mine)) if self.streamed else None
        if not self.streamed and self._own:
            for agent in mine:
                self._block(agent)
        elif not self.streamed:
            self._all = self._stored("")
        self._test = None if self.streamed else self._stored("_test")

    def steps_per_pass(self, agent: int) -> int:
        """Batches in one pass of this agent over its examples."""
        return batches_per_pass(self.sizes[agent], self._batch)

    def examples(self, agent: int, step: int) -> int:
        """Examples in the batch of an agent's step."""
        size = self.sizes[agent] if self._batch == "full" else self._batch
        return min(size, self.sizes[agent] - step % self.steps_per_pass(agent) * size)

    def smallest(self, agent: int) -> int:
        """Examples in the last batch of each pass, which has what is left over."""
        return self.examples(agent, self.steps_per_pass(agent) - 1)

    def batch(self, agent: int, step: int) -> Batch:
        """The examples and targets of an agent's step, on the device."""
        if not 0 <= agent < len(self.sizes) or step < 0:
            raise ConfigError(f"there is no step {step} of agent {agent}")
        if self._prefetch is not None:
            x, y = self._prefetch.get((agent, step), (agent, step + 1))
        else:
            x, y = _select(self._block(agent), self._rows(agent, step))
        return self._transform(x, y, (agent, step))

    def test_chunks(self, part: EvaluationPart = "test") -> int:
        """Chunks in which a part is evaluated; 0 where there is no validation part."""
        return -(-self.size_of(part) // self.chunk_size)

    def test(self, part: EvaluationPart, chunk: int) -> Batch:
        """One chunk of the test or validation part, in order, on the device."""
        start, stop = chunk * self.chunk_size, (chunk + 1) * self.chunk_size
        if part == "validation":
            return self._still(self._validation[start:stop])
        if self._test is not None:
            x, y = self._test
            return self._transform(x[start:stop], y[start:stop])
        stop = min(stop, int(self.dataset.x_test.shape[0]))
        return self._transform(*self._stored("_test", np.arange(start, stop)))

    def picked(self, part: EvaluationPart, indices: np.ndarray) -> Batch:
        """These examples of the test or validation part, on the device."""
        if part == "validation":
            return self._still(self._validation[indices])
        if self._test is not None:
            return self._transform(*_select(self._test, torch.from_numpy(indices).to(self.device)))
        return self._transform(*self._stored("_test", indices))

    def labels(self, part: EvaluationPart) -> np.ndarray | None:
        """The class of each example of a part, where the task has classes."""
        if self.dataset.task != "classification":
            return None
        return self.dataset.labels[self._validation] if part == "validation" else np.asarray(self.dataset.y_test)

    def size_of(self, part: EvaluationPart) -> int:
        """Examples of the test or validation part."""
        return len(self._validation) if part == "validation" else int(self.dataset.x_test.shape[0])

    def chunks(self, agent: int) -> int:
        """Chunks that hold all of an agent's examples once: what a gradient over its whole data is summed over."""
        return -(-self.sizes[agent] // self.chunk_size)

    def chunk(self, agent: int, chunk: int) -> Batch:
        """One chunk of an agent's examples as they are: in ascending order, never shifted or mirrored at random.

        Chunks are as equal as may be, so that what is averaged over them is not that of a small last one; a mean over
        the agent's examples weighs each chunk by its number of examples all the same.
        """
        start, stop = (self.sizes[agent] * edge // self.chunks(agent) for edge in (chunk, chunk + 1))
        if self._own and not self.streamed:
            x, y = self._block(agent)
            return self._transform(x[start:stop], y[start:stop])
        return self._still(self._shares[agent][start:stop])

    def close(self) -> None:
        """End the thread that fetches ahead, if there is one."""
        if self._prefetch is not None:
            self._prefetch.close()

    def _still(self, indices: np.ndarray) -> Batch:
        if self._all is not None:
            return self._transform(*_select(self._all, torch.from_numpy(indices).to(self.device)))
        return self._transform(*self._stored("", indices))

    def _too_large(self, rows: int, sharers: int) -> bool:
        """Whether so many training rows and the test part are too much to keep on the device."""
        data, tests = self.dataset, int(self.dataset.x_test.shape[0])
        parts = ((rows, data.x), (rows, data.y), (tests, data.x_test), (tests, data.y_test))
        if self.device.type != "cpu":
            size = sum(count * row_bytes(part) for count, part in parts)
            free: int = torch.get_device_module(self.device).mem_get_info(self.device)[0]
            return size > free // (2 * sharers)
        return sum(count * row_bytes(part) for count, part in parts if not in_memory(part)) > _LOADED_ON_CPU

    def _rows(self, agent: int, step: int) -> torch.Tensor:
        """Where the examples of a step stand: in the agent's own block, or among all."""
        turn, place = divmod(step, self.steps_per_pass(agent))
        if self._batch == "full":
            turn = 0
        if self._orders.get(agent, (-1, None))[0] != turn:
            where = "cpu" if self.streamed else self.device
            self._orders[agent] = (turn, torch.from_numpy(self._order(agent, turn)).to(where))
        order = self._orders[agent][1]
        return order if self._batch == "full" else order[place * self._batch : (place + 1) * self._batch]

    def _order(self, agent: int, turn: int) -> np.ndarray:
        share = np.arange(self.sizes[agent]) if self._own and not self.streamed else self._shares[agent]
        if self._batch == "full":
            return share
        return share[stream(self._seed, "shuffle", agent, turn).permutation(len(share))]

    def _fetch(self, agent: int, step: int) -> Batch:
        """A step's examples in host memory; runs in the prefetching thread, and only there."""
        indices = self._rows(agent, step).numpy()
        return self._read("", indices)

    def _block(self, agent: int) -> Batch:
        """What an agent's rows are taken from: all examples, or its own, loaded when they are first asked for."""
        if self._all is not None:
            return self._all
        if agent not in self._blocks:
            self._blocks[agent] = self._stored("", self._shares[agent])
        return self._blocks[agent]

    def _stored(self, suffix: Literal["", "_test"], indices: np.ndarray | None = None) -> Batch:
        x, y = self._read(suffix, indices)
        return x.to(self.device), y.to(self.device)

    def _read(self, suffix: Literal["", "_test"], indices: np.ndarray | None) -> Batch:
        """Rows of x and y, or of x_test and y_test, in host memory; all of them without indices."""
        x, y = (finite(name, getattr(self.dataset, name), indices) for name in (f"x{suffix}", f"y{suffix}"))
        return self._transform.stored(x), self._transform.targets(y)


def _select(block: Batch, rows: torch.Tensor) -> Batch:
    x, y = block
    return x.index_select(0, rows), y.index_select(0, rows)
