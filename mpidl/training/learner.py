"""The network of a run with what it takes to use it: one module for a rank's agents, its data, loss and numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpidl.errors import ConfigError, MpidlError
from mpidl.rows import on_boundary
from mpidl.seeding import torch_seed
from mpidl.training.blame import network_failed

if TYPE_CHECKING:
    from mpidl.data.batches import Batches
    from mpidl.models.losses import Loss
    from mpidl.parameters import RowModule
    from mpidl.training.precision import Precision


@dataclass
class Learner:
    """What gradients and evaluation share. `model` is the network's name, for messages."""

    rows: RowModule
    batches: Batches
    loss: Loss
    precision: Precision
    seed: int
    model: str = ""
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        self.device = torch.device(self.batches.device)
        self.model = self.model or type(self.rows.module).__name__

    def point(self, row: Tensor, floats: Tensor | None = None, integers: Tensor | None = None) -> None:
        """Make the module's parameters views into this row, and its statistics views into those."""
        self.rows.point(on_boundary(row))
        self.rows.point_buffers(floats, integers)

    def mean_loss(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The mean loss of a batch, times the loss scale."""
        try:
            with self.precision.context(self.device):
                loss = self.loss.mean(module, x, y)
        except ValueError as error:
            if len(x) > 1 or isinstance(error, MpidlError):
                raise
            raise ConfigError(
                f"an agent's last batch holds a single example, which this network cannot train on ({error}); "
                "choose another batch size",
                "data.batch",
            ) from error
        return loss if self.precision.loss_scale == 1 else loss * self.precision.loss_scale

    def unscale(self, gradient: Tensor) -> None:
        """Divide a gradient of the scaled loss by the loss scale."""
        if self.precision.loss_scale != 1:
            gradient.div_(self.precision.loss_scale)

    def seed_torch(self, purpose: str, agent: int = 0, index: int = 0) -> None:
        """Have the network draw the numbers that belong to this purpose, agent and step."""
        seed = torch_seed(self.seed, purpose, agent, index)
        # torch.manual_seed takes 0.14 ms more, to note for GPUs not in use from where it was called.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def random_state(self) -> Tensor:
        """The state of the generator that the network draws from."""
        if self.device.type == "cpu":
            return torch.get_rng_state()
        state: Tensor = torch.get_device_module(self.device).get_rng_state(self.device)
        return state

    def blamed(self, error: Exception) -> Exception:
        """The error as one sentence that names whose code raised it: the network's or the loss's."""
        return network_failed(error, self.rows.module, self.model, self.loss.name)
