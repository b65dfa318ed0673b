"""Gradients of agents on their own data, written as flat rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mpidl.errors import ConfigError, MpidlError
from mpidl.parameters import RowModule
from mpidl.rows import on_boundary
from mpidl.seeding import torch_seed
from mpidl.training.blame import network_failed

if TYPE_CHECKING:
    from mpidl.comm.meters import Meters
    from mpidl.data.batches import Batches
    from mpidl.models.losses import Loss
    from mpidl.training.buffers import AgentBuffers
    from mpidl.training.precision import Precision


class Gradients:
    """The oracle of configured runs: one module, pointed at the asked row, on the agent's batch of the asked step.

    `losses` holds the batch losses until they are collected; the first evaluation of a step counts, further ones on
    the same batch (at a perturbed point, say) do not. Those also leave the agent's BatchNorm statistics alone.
    """

    def __init__(
        self,
        rows: RowModule,
        batches: Batches,
        loss: Loss,
        agents: Sequence[int],
        buffers: AgentBuffers | None,
        seed: int,
        meters: Meters,
        precision: Precision,
        model: str = "",
    ) -> None:
        """`model` is the network's name, for messages."""
        self._rows, self._batches, self._loss, self._seed, self._meters = rows, batches, loss, seed, meters
        self._model = model or type(rows.module).__name__
        self._place = {agent: place for place, agent in enumerate(agents)}
        self._buffers = buffers
        self._device = torch.device(batches.device)
        self._precision, self._arithmetic = precision, precision.context(self._device)
        # Seeding costs as much as a small layer, so it is left out once the first evaluation has drawn nothing. But a
        # module or a loss that is neither torch's nor mpidl's may start to draw at any time.
        foreign = any(not type(part).__module__.startswith(("torch.", "mpidl.")) for part in rows.module.modules())
        self._stochastic: bool | None = True if foreign or ":" in loss.name else None
        self._last_step = [-1] * len(agents)
        self.losses = Losses(len(agents), self._device)

    def ahead(self, agents: Sequence[int], block: Tensor, step: int) -> None:
        """Says that these agents' gradients of this step, at the rows of the block, will be asked for next."""

    def __call__(self, agent: int, row: Tensor, step: int, out: Tensor) -> None:
        """Write the gradient of the mean loss over the agent's batch of that step, at `row`, into `out`."""
        with self._meters.time("gradient"):
            place = self._place[agent]
            x, y = self._batches.batch(agent, step)
            self._rows.point(on_boundary(row))
            into = on_boundary(out)
            into.zero_()
            self._rows.point_gradient(into)
            self._point_buffers(place, first=step > self._last_step[place])
            if self._stochastic is not False:
                torch.manual_seed(torch_seed(self._seed, "dropout", agent, step))
                before = self._random_state()
            try:
                loss = self._mean_loss(self._rows.module, x, y)
                loss.backward()
            except Exception as error:
                raise self._failed(error) from error
            if self._stochastic is None:
                self._stochastic = not torch.equal(before, self._random_state())
            value = loss.detach()
            if into is not out:
                out.copy_(into)
            if self._precision.loss_scale != 1:
                out.div_(self._precision.loss_scale)
                value = value / self._precision.loss_scale
            self._count(place, step, value)

    def rehearse(self, steps: int) -> None:
        """Gradients of which nothing remains, so that a network or a loss that fails does so before a run begins.

        One of any batch, and one of a batch with a single example, on which BatchNorm fails, where an agent meets one
        in so many steps.
        """
        row, batches = self._rows.flatten(), self._batches
        ends = {agent: batches.steps_per_pass(agent) - 1 for agent in self._place if batches.smallest(agent) == 1}
        single = [(agent, step) for agent, step in ends.items() if step < steps]
        wanted = [(next(iter(self._place)), 0), *single[:1]]
        # As second gradients of their steps they count neither in losses nor in statistics.
        self._last_step = [steps] * len(self._place)
        try:
            for agent, step in wanted:
                self.ahead([agent], row[None], step)
                self(agent, row, step, torch.empty_like(row))
        finally:
            self._last_step = [-1] * len(self._place)

    def _failed(self, error: Exception) -> Exception:
        return network_failed(error, self._rows.module, self._model, self._loss.name)

    def _mean_loss(self, module: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
        """The mean loss of the batch, times the loss scale."""
        try:
            with self._arithmetic:
                loss = self._loss.mean(module, x, y)
        except ValueError as error:
            if len(x) > 1 or isinstance(error, MpidlError):
                raise
            raise ConfigError(
                f"an agent's last batch holds a single example, which this network cannot train on ({error}); "
                "choose another batch size",
                "data.batch",
            ) from error
        return loss if self._precision.loss_scale == 1 else loss * self._precision.loss_scale

    def _count(self, place: int, step: int, loss: Tensor) -> None:
        """Remember the loss of a step when it is evaluated for the first time."""
        if step > self._last_step[place]:
            self._last_step[place] = step
            self.losses.add(place, step, loss)

    def _random_state(self) -> Tensor:
        return torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else torch.get_rng_state()

    def _point_buffers(self, place: int, first: bool) -> None:
        if self._buffers is not None:
            floats, integers = self._buffers.floats[place], self._buffers.integers[place]
            self._rows.point_buffers(*((floats, integers) if first else (floats.clone(), integers.clone())))


class Losses:
    """Sums of batch losses by agent, and when each first stopped being finite; on a GPU nothing waits for the host."""

    def __init__(self, agents: int, device: torch.device) -> None:
        self._on_host = device.type == "cpu"
        self._counts = np.zeros(agents)
        self._sums = np.zeros(agents) if self._on_host else torch.zeros(agents, dtype=torch.float64, device=device)
        first = np.full(agents, np.inf)
        self._first_bad = first if self._on_host else torch.as_tensor(first, device=device)

    def add(self, place: int, step: int, loss: Tensor) -> None:
        self._counts[place] += 1
        if self._on_host:
            value = loss.item()
            self._sums[place] += value
            if not math.isfinite(value):
                self._first_bad[place] = min(self._first_bad[place], step)
        else:
            self._sums[place] += loss
            bad = torch.where(torch.isfinite(loss), torch.inf, float(step)).double()
            self._first_bad[place] = torch.minimum(self._first_bad[place], bad)

    def first_bad(self) -> np.ndarray:
        """By local agent, the step at which its loss first was not finite; infinity where it always was."""
        return self._first_bad.copy() if self._on_host else self._first_bad.cpu().numpy()

    def collect(self) -> np.ndarray:
        """The mean batch loss of each local agent since the last call; NaN where there was none."""
        sums = self._sums if self._on_host else self._sums.cpu().numpy()
        with np.errstate(invalid="ignore"):
            means = np.array(sums) / self._counts
        self._counts[:] = 0
        self._sums[:] = 0
        return means
