"""A module whose parameters are views into a flat row.

A rank keeps one module for all its agents and points it at one agent's row after another. Nothing is copied either
way: forward reads the row, backward adds into a gradient row, and a neighbour reads the very memory that was trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mpidl.errors import ConfigError
from mpidl.layout import CONSTANTS, FLOATS, INTEGERS, PARAMETERS, Entry, Layout


class _Buffer:
    """One buffer of a module, and everywhere it hangs, so that a view can take its place."""

    def __init__(self, value: Tensor, path: str) -> None:
        self.value, self.path = value, path
        self.shape, self.size = value.shape, value.numel()
        self.places: list[tuple[nn.Module, str]] = []

    def replace(self, value: Tensor) -> None:
        self.value = value
        for owner, name in self.places:
            owner._buffers[name] = value


class RowModule:
    """One module, its flat layout, and the row that it is pointed at.

    `size` counts the trainable parameters P; frozen ones stay in the module and are shared by all agents. Persistent
    buffers (BatchNorm statistics) are kept apart from parameters: floating ones in a row of `float_buffers` numbers,
    integer ones (counters) in a row of `integer_buffers`. The other buffers are constants and stay in the module:
    those that are not persistent (position tables), and booleans (masks). `entries` say where each tensor of the
    module's state_dict is kept.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        named = [(name, value) for name, value in module.named_parameters() if value.requires_grad]
        if not named:
            raise ConfigError("the model has no parameter to train", "model")
        for name, value in module.state_dict(keep_vars=True).items():
            if is_lazy(value):
                raise ConfigError(
                    f"its {name!r} gets a shape at the first call only; use layers that are given their sizes", "model"
                )
        dtypes = {value.dtype for _, value in named}
        if len(dtypes) > 1:
            raise ConfigError(f"all trained parameters must share one dtype, not {sorted(map(str, dtypes))}", "model")
        self.dtype = named[0][1].dtype
        self.layout = Layout(tuple(name for name, _ in named), tuple(tuple(value.shape) for _, value in named))
        self.names, self.shapes, self.size = self.layout.names, self.layout.shapes, self.layout.size
        self._parameters = [value for _, value in named]
        buffers = _statistics(module)
        self._floats = [item for item in buffers if item.value.is_floating_point()]
        self._integers = [item for item in buffers if not item.value.is_floating_point()]
        self.float_buffers = sum(item.size for item in self._floats)
        self.integer_buffers = sum(item.size for item in self._integers)
        self.entries, self._constants = self._entries()
        # Addresses tell whether a row is pointed at already; the views keep its memory, so no other row can get it.
        self._row_address = self._gradient_address = 0

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters, in the order of the row."""
        return self._parameters

    def constants(self) -> Tensor:
        """The bytes, in the host's memory, of what is in a state_dict and the same for all agents."""
        parts = [value.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for value in self._constants]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8)

    def flatten(self) -> Tensor:
        """A new row with the module's present parameters."""
        return torch.cat([value.detach().reshape(-1) for value in self._parameters])

    def flatten_buffers(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """New rows with the module's present buffers: the floating ones, and the integers as int64."""
        return (
            _flatten(self._floats, dtype, self._parameters[0].device),
            _flatten(self._integers, torch.int64, self._parameters[0].device),
        )

    def _entries(self) -> tuple[tuple[Entry, ...], list[Tensor]]:
        """Where each tensor of a state_dict is kept, and those that are constant."""
        places: dict[int, tuple[str, int]] = {}
        kept: dict[str, list[Tensor]] = {
            PARAMETERS: list(self._parameters),
            FLOATS: [item.value for item in self._floats],
            INTEGERS: [item.value for item in self._integers],
        }
        for row, values in kept.items():
            begin = 0
            for value in values:
                places[id(value)] = row, begin
                begin += value.numel()
        entries, constants, begin = [], [], 0
        for name, value in self.module.state_dict(keep_vars=True).items():
            if id(value) not in places:
                places[id(value)] = CONSTANTS, begin
                constants.append(value)
                begin += value.nbytes
            dtype = str(value.dtype).removeprefix("torch.")
            entries.append(Entry(name, dtype, tuple(value.shape), *places[id(value)]))
        return tuple(entries), constants

    def point(self, row: Tensor) -> None:
        """Make the parameters views into this row."""
        if self._row_address != row.data_ptr():
            pieces = self.layout.pieces(row)
            for parameter, piece, shape in zip(self._parameters, pieces, self.shapes, strict=True):
                parameter.data = piece.view(shape)
            self._row_address = row.data_ptr()

    def point_gradient(self, row: Tensor) -> None:
        """Make the gradients views into this row, into which backward adds."""
        if self._gradient_address != row.data_ptr():
            pieces = self.layout.pieces(row)
            for parameter, piece, shape in zip(self._parameters, pieces, self.shapes, strict=True):
                parameter.grad = piece.view(shape)
            self._gradient_address = row.data_ptr()

    def point_buffers(self, floats: Tensor | None, integers: Tensor | None) -> None:
        """Make the buffers views into these rows."""
        for items, row in ((self._floats, floats), (self._integers, integers)):
            if items and row is not None:
                for item, piece in zip(items, row.split([item.size for item in items]), strict=True):
                    item.replace(piece.view(item.shape))

    def views(self, row: Tensor) -> dict[str, Tensor]:
        """The tensors of a row [P] by parameter name, as in a state_dict; of a block [k, P], each with k in front."""
        pieces = zip(self.names, self.layout.pieces(row), self.shapes, strict=True)
        return {name: piece.view((*row.shape[:-1], *shape)) for name, piece, shape in pieces}

    def buffer_views(self, floats: Tensor, integers: Tensor) -> dict[str, Tensor]:
        """The same for rows or blocks of buffers."""
        views = {}
        for items, row in ((self._floats, floats), (self._integers, integers)):
            for item, piece in zip(items, row.split([item.size for item in items], dim=-1), strict=True):
                views[item.path] = piece.view((*row.shape[:-1], *item.shape))
        return views


def _statistics(module: nn.Module) -> list[_Buffer]:
    """The buffers that belong to an agent, each once, however many modules share it."""
    buffers: dict[int, _Buffer] = {}
    for prefix, owner in module.named_modules():
        for name, value in owner._buffers.items():
            if value is None or value.dtype == torch.bool or name in owner._non_persistent_buffers_set:
                continue
            path = f"{prefix}.{name}" if prefix else name
            buffers.setdefault(id(value), _Buffer(value, path)).places.append((owner, name))
    return list(buffers.values())


def _flatten(items: list[_Buffer], dtype: torch.dtype, device: torch.device) -> Tensor:
    values = [item.value.reshape(-1).to(dtype) for item in items]
    return torch.cat(values) if values else torch.empty(0, dtype=dtype, device=device)
