"""The batches of every agent, a pure function of (agent, step), on the device that trains.

Step s of an agent is batch s mod n of its pass s div n over its own examples, n batches a pass; each pass is shuffled
anew by stream(seed, "shuffle", agent, pass), and the last, short batch is kept. Nothing is remembered between calls
but the current order of each agent, so any step can be asked for at any time, by any rank that holds the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from mpidl.data.dataset import Dataset
from mpidl.data.prefetch import Prefetch
from mpidl.data.rows import in_memory, row_bytes, take, whole
from mpidl.data.shares import Shares
from mpidl.data.transform import Transform
from mpidl.errors import ConfigError
from mpidl.seeding import stream

# Rows of a file are loaded up to this size on a CPU; on a GPU, anything up to half of its free memory is.
_LOADED_ON_CPU = 2**30

Batch = tuple[torch.Tensor, torch.Tensor]


class Batches:
    """Training batches of each agent, and fixed chunks of the test and validation parts.

    With `place="own"`, examples of the agents in `mine` are loaded, and those of another agent when it is first asked
    for; with "replicate", all are. `streamed` keeps them where they are and moves one batch at a time (None: decided
    by their size). Neither changes a bit of any batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        shares: Shares | Sequence[np.ndarray],
        batch: int | Literal["full"],
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        *,
        mine: Sequence[int] | None = None,
        place: Literal["replicate", "own"] = "replicate",
        streamed: bool | None = None,
        crop: int = 0,
        flip: bool = False,
        chunk: int = 512,
    ) -> None:
        self.dataset = dataset
        self.device = torch.device(device)
        self.sizes: tuple[int, ...] = tuple(len(share) for share in shares)
        self._shares = [np.asarray(share, dtype=np.int64) for share in shares]
        self._validation = np.asarray(getattr(shares, "validation", np.empty(0, np.int64)), dtype=np.int64)
        self._batch, self._seed, self._chunk = batch, seed, chunk
        self._transform = Transform(dataset, seed, self.device, dtype or torch.get_default_dtype(), crop, flip)
        self._orders: dict[int, tuple[int, torch.Tensor]] = {}
        self._blocks: dict[int, Batch] = {}
        self._all: Batch | None = None
        self._own = place == "own"
        mine = range(len(shares)) if mine is None else mine
        rows = sum(self.sizes[agent] for agent in mine) if self._own else len(dataset)
        self.streamed = self._too_large(rows) if streamed is None else streamed
        self._prefetch = Prefetch(self._fetch, self.device) if self.streamed else None
        if not self.streamed and self._own:
            for agent in mine:
                self._block(agent)
        elif not self.streamed:
            self._all = self._load(None)
        self._test = None if self.streamed else self._stored(whole(dataset.x_test), whole(dataset.y_test))

    def steps_per_pass(self, agent: int) -> int:
        """Batches in one pass of this agent over its examples."""
        return 1 if self._batch == "full" else -(-self.sizes[agent] // self._batch)

    def batch(self, agent: int, step: int) -> Batch:
        """The examples and targets of an agent's step, on the device."""
        if not 0 <= agent < len(self.sizes) or step < 0:
            raise ConfigError(f"there is no step {step} of agent {agent}")
        if self._prefetch is not None:
            x, y = self._prefetch.get((agent, step), (agent, step + 1))
        else:
            rows = self._rows(agent, step)
            x, y = (part.index_select(0, rows) for part in (self._block(agent) if self._own else self._all or ()))
        return self._transform(x, y, (agent, step))

    def test_chunks(self, part: Literal["test", "validation"] = "test") -> int:
        """Chunks in which a part is evaluated; 0 where there is no validation part."""
        size = len(self._validation) if part == "validation" else int(self.dataset.x_test.shape[0])
        return -(-size // self._chunk)

    def test(self, part: Literal["test", "validation"], chunk: int) -> Batch:
        """One chunk of the test or validation part, in order, on the device."""
        start, stop = chunk * self._chunk, (chunk + 1) * self._chunk
        if part == "validation":
            return self._still(self._validation[start:stop])
        if self._test is not None:
            return self._transform(*(rows[start:stop] for rows in self._test))
        stop = min(stop, int(self.dataset.x_test.shape[0]))
        indices = np.arange(start, stop)
        found = self._stored(take(self.dataset.x_test, indices), take(self.dataset.y_test, indices))
        return self._transform(*found)

    def chunks(self, agent: int) -> int:
        """Chunks that hold all of an agent's examples once."""
        return -(-self.sizes[agent] // self._chunk)

    def chunk(self, agent: int, chunk: int) -> Batch:
        """One chunk of an agent's examples, in ascending order, neither shuffled nor moved at random."""
        start, stop = chunk * self._chunk, (chunk + 1) * self._chunk
        if self._own and not self.streamed:
            return self._transform(*(rows[start:stop] for rows in self._block(agent)))
        return self._still(self._shares[agent][start:stop])

    def close(self) -> None:
        """End the thread that fetches ahead, if there is one."""
        if self._prefetch is not None:
            self._prefetch.close()

    def _still(self, indices: np.ndarray) -> Batch:
        if self._all is not None:
            rows = torch.from_numpy(indices).to(self.device)
            return self._transform(*(part.index_select(0, rows) for part in self._all))
        return self._transform(*self._load(indices))

    def _too_large(self, rows: int) -> bool:
        size = rows * (row_bytes(self.dataset.x) + row_bytes(self.dataset.y))
        if self.device.type == "cuda":
            return size > torch.cuda.mem_get_info(self.device)[0] // 2
        return not in_memory(self.dataset.x) and size > _LOADED_ON_CPU

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
        return self._as_stored(take(self.dataset.x, indices), take(self.dataset.y, indices))

    def _block(self, agent: int) -> Batch:
        if agent not in self._blocks:
            self._blocks[agent] = self._load(self._shares[agent])
        return self._blocks[agent]

    def _load(self, indices: np.ndarray | None) -> Batch:
        x, y = (whole(part) if indices is None else take(part, indices) for part in (self.dataset.x, self.dataset.y))
        return self._stored(x, y)

    def _as_stored(self, x: torch.Tensor, y: torch.Tensor) -> Batch:
        return self._transform.stored(x), self._transform.targets(y)

    def _stored(self, x: Any, y: Any) -> Batch:
        x, y = self._as_stored(x, y)
        return x.to(self.device), y.to(self.device)
