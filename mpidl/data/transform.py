"""What happens to a batch of stored examples before the model sees it: shifted, mirrored, scaled, all at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import pad

from mpidl.data.dataset import Dataset
from mpidl.errors import ConfigError
from mpidl.rows import on_boundary
from mpidl.seeding import stream


@dataclass(frozen=True)
class Moves:
    """How training images are moved at random: by up to `crop` pixels either way, and mirrored half of the time."""

    crop: int = 0
    flip: bool = False


class Transform:
    """Stored examples to model input, as tensor operations on whole batches where the batch lies."""

    def __init__(self, dataset: Dataset, seed: int, device: torch.device, dtype: torch.dtype, moves: Moves) -> None:
        crop, flip = moves.crop, moves.flip
        if (crop or flip) and len(dataset.example_shape) != 3:
            raise ConfigError(
                f"crop and flip need images (channels, rows, columns), not examples of shape {dataset.example_shape}",
                "data.crop" if crop else "data.flip",
            )
        self._seed, self._device, self._dtype = seed, device, dtype
        self._task = dataset.task
        self._crop, self._flip = crop, flip
        if crop or flip:
            self._down, self._right = (torch.arange(size, device=device) for size in dataset.example_shape[1:])
        mean, std = np.array(dataset.mean or (0.0,)), np.array(dataset.std or (1.0,))
        # Multiplied by the one, and the other added; None where examples are taken as they are.
        self._scaling: tuple[torch.Tensor, torch.Tensor] | None = None
        if dataset.mean is not None or dataset.std is not None or dataset.scale != 1.0:
            across = (-1,) + (1,) * max(0, len(dataset.example_shape) - 1)
            factor, offset = ((values.reshape(across)) for values in (dataset.scale / std, -mean / std))
            self._scaling = torch.tensor(factor, dtype=dtype).to(device), torch.tensor(offset, dtype=dtype).to(device)

    def stored(self, x: torch.Tensor) -> torch.Tensor:
        """Examples in the type in which they are kept: bytes stay bytes, anything else is what the model takes."""
        small = self._task == "language" or x.dtype == torch.uint8
        return x if small else x.to(self._dtype)

    def targets(self, y: torch.Tensor) -> torch.Tensor:
        """Class numbers and tokens as they are kept, regression targets as columns."""
        if self._task == "regression":
            return y.to(self._dtype).reshape(len(y), -1)
        return y if self._task == "language" else y.to(torch.int64)

    def __call__(
        self, x: torch.Tensor, y: torch.Tensor, draw: tuple[int, int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Model input and targets; with `draw`, an agent and a step, randomly shifted and mirrored."""
        if self._task == "language":
            return x.to(torch.int64), y.to(torch.int64)
        if draw is not None and (self._crop or self._flip):
            x = self._augment(x, *draw)
        if self._scaling is None:
            # These may be rows in the middle of what is stored, which begins elsewhere on another rank.
            return on_boundary(x.to(self._dtype)), y
        factor, offset = self._scaling
        # Stored rows are never written: `to` copies bytes, and floats are multiplied out of place.
        if x.dtype == self._dtype:
            return torch.addcmul(offset, x, factor), y
        return x.to(self._dtype).mul_(factor).add_(offset), y

    def _augment(self, x: torch.Tensor, agent: int, step: int) -> torch.Tensor:
        """Each image moved by up to `crop` pixels either way, and mirrored with probability one half."""
        count, channels, height, width = x.shape
        rng = stream(self._seed, "augment", agent, step)
        drawn = np.zeros((3, count, 1), dtype=np.int64)
        drawn[:2, :, 0] = rng.integers(0, 2 * self._crop + 1, (2, count))
        if self._flip:
            drawn[2, :, 0] = rng.integers(0, 2, count)
        down, right, mirrored = torch.from_numpy(drawn).to(x.device, non_blocking=True)
        rows = down + self._down
        columns = right + torch.where(mirrored == 1, self._right.flip(0), self._right)
        flat = rows[:, :, None] * (width + 2 * self._crop) + columns[:, None, :]
        flat = flat.reshape(count, 1, -1).expand(count, channels, height * width)
        padded = pad(x, (self._crop,) * 4) if self._crop else x
        return padded.reshape(count, channels, -1).gather(2, flat).reshape(x.shape)
