"""What a user plugs in: data, networks that draw random numbers or keep statistics, losses, an algorithm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.algorithms.federated.local import Local
from mpidl.data import Dataset
from mpidl.errors import Diverged, Stopped
from mpidl.seeding import stream

FEATURES, CLASSES = 5, 4


def even(agents: int = 5, tests: int = 40) -> Dataset:
    """Classification; agent i owns 6 + 2i examples, so that no batch of 4 holds a single one."""
    rng = stream(7, "test even")
    owner = np.repeat(np.arange(agents), 6 + 2 * np.arange(agents))
    x = rng.normal(size=(len(owner), FEATURES)) + 0.5 * owner[:, None]
    labels = rng.normal(size=(FEATURES, CLASSES))
    x_test = rng.normal(size=(tests, FEATURES)) + 1
    return Dataset(x, (x @ labels).argmax(1), x_test, (x_test @ labels).argmax(1), owner=owner, classes=CLASSES)


def spiked(agents: int = 5) -> Dataset:
    """Regression in which the square of one target, the last of agent 3's twelve, is beyond every number."""
    rng = stream(8, "test spiked")
    owner = np.repeat(np.arange(agents), 12)
    x, y = rng.normal(size=(len(owner), FEATURES)), rng.normal(size=(len(owner), 1))
    y[47] = 1e200
    return Dataset(x, y, x[:5], y[:5], owner=owner, task="regression")


def counted(log: str, agents: int = 5, fails: bool = False, own_rows: bool = False) -> Dataset:
    """The data of `even`, each time with another line in a file; if wanted in rows of a class of its own."""
    with Path(log).open("a") as file:
        file.write("loaded\n")
    if fails:
        raise KeyError("no such data")
    data = even(agents)
    return replace(data, x=Rows(data.x)) if own_rows else data


class Rows:
    """Rows that are taken."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def take(self, indices: np.ndarray) -> np.ndarray:
        return self._rows[indices]


changed: dict[str, Any] = {}
"""What `varying` and `drifting` have otherwise in this process: as on a host with other files."""


def varying(agents: int = 5) -> Dataset:
    """The data of `even`, but for what is changed: entries that are replaced, arrays that lack their last row, keys."""
    data = even(agents)
    values = {name: getattr(data, name).copy() for name in ("x", "y", "x_test", "y_test", "owner")}
    for name, change in changed.items():
        if name not in values:
            values[name] = change
        elif change == "shorter":
            values[name] = values[name][:-1]
        elif change == "float32":
            values[name] = values[name].astype(np.float32)
        else:
            values[name][-1] = change
    return Dataset(**{"classes": CLASSES, **values})


def drifting(example_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A network with frozen weights and a buffer, of which one tensor is changed by one number."""
    module = nn.Sequential(nn.Linear(example_shape[0], 6), nn.BatchNorm1d(6), nn.Linear(6, outputs))
    module[0].weight.requires_grad_(False)
    for name, change in changed.items():
        module.state_dict()[name].view(-1)[-1] += change
    return module


def tanh_network(example_shape: tuple[int, ...], outputs: int, width: int = 6) -> nn.Module:
    """The built-in mlp with one hidden layer of tanh."""
    return nn.Sequential(nn.Flatten(), nn.Linear(example_shape[0], width), nn.Tanh(), nn.Linear(width, outputs))


class Scaled(nn.Module):
    """Has a parameter without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


def dropping(example_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(example_shape[0], 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, outputs))


def normed(example_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(example_shape[0], 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, outputs), Scaled())


class Noise(nn.Module):
    """Draws random numbers, in evaluation too, but not in every forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rand_like(x) if x[0, 0] > 0 else x


def noisy(example_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(example_shape[0], 6), Noise(), nn.Linear(6, outputs))


def frozen_norm(example_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Its BatchNorm is in evaluation mode for good, as in fine-tuning."""
    module = normed(example_shape, outputs)
    module[1].eval()
    return module


def cross_entropy(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(module(x), y, reduction="none")


def decaying(module: nn.Module, x: Tensor, y: Tensor, decay: float = 0.1) -> Tensor:
    """Looks at the network's parameters."""
    return cross_entropy(module, x, y) + decay * sum(value.square().sum() for value in module.parameters())


def jittered(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Draws random numbers for some batches, not for others."""
    return cross_entropy(module, x + 0.1 * torch.rand_like(x) if x[0, 0] > 0 else x, y)


def branching(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Asks for a value, which cannot be done for many agents at once."""
    losses = cross_entropy(module, x, y)
    return losses if losses.sum() > 0 else 2 * losses


def bypassing(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Calls the layers of a network, and never the network."""
    for layer in module:
        x = layer(x)
    return functional.cross_entropy(x, y, reduction="none")


class Functional(Decentralized):
    """Decentralized SGD, as its paper writes it."""

    def round(self, X: Tensor) -> Tensor:
        return self.mix(X - self.lr * self.gradient(X))


class Averaging(Local):
    """Federated averaging: every hook as the base has it."""


def ending(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A loss that says that all ranks end there."""
    raise Diverged("too large")


class Raising(Decentralized):
    """Fails in its second round."""

    def round(self, X: Tensor) -> Tensor:
        if self.t:
            raise IndexError("no such agent")
        return self.mix(X)


class Ending(Decentralized):
    """Says in its second round that all ranks end there."""

    def round(self, X: Tensor) -> Tensor:
        if self.t:
            raise Stopped("enough")
        return self.mix(X)


class Forgetful(Decentralized):
    """Returns nothing."""

    def round(self, X: Tensor) -> Tensor:
        self.mix(X)


class Misshapen(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        raise IndexError("too deep")


def misshapen(example_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Misshapen(example_shape[0], outputs)


class TrainingOnly(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            raise RuntimeError("only for training")
        return super().forward(x)


def training_only(example_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return TrainingOnly(example_shape[0], outputs)


def lazy(example_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.LazyLinear(outputs))


class Scattering(nn.Linear):
    """Uses an operation that torch has no deterministic kernel for, on a CPU neither."""

    def forward(self, x: Tensor) -> Tensor:
        place = torch.zeros(1, dtype=torch.int64)
        return super().forward(x) + torch.zeros(1, dtype=x.dtype).put_(place, x.detach().flatten()[:1])


def scattering(example_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Scattering(example_shape[0], outputs)


def failing(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    module(x)
    raise KeyError("no such target")
