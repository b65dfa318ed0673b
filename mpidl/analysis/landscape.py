"""The loss on lines and planes through models.

Points are combinations of rows, statistics included where rows carry them: batch normalisation then goes by the same
combination of running statistics, as it does in an averaged model. At a model itself it has that model's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mpidl.errors import ConfigError
from mpidl.seeding import stream

if TYPE_CHECKING:
    from mpidl.analysis.objective import Objective, Score
    from mpidl.layout import Layout


class Values(NamedTuple):
    """Losses and accuracies, of one shape with the points that were looked at."""

    loss: np.ndarray
    accuracy: np.ndarray


class Plane(NamedTuple):
    """The points origin + s · across + t · up. Directions are float64, [P] or with statistics behind."""

    origin: Tensor
    across: Tensor
    up: Tensor

    def at(self, s: float, t: float) -> Tensor:
        """The row there."""
        point = self.origin.to(torch.float64, copy=True)
        point[: len(self.across)].add_(self.across, alpha=s).add_(self.up, alpha=t)
        return point.to(self.origin.dtype)

    def coordinates(self, row: Tensor, size: int) -> tuple[float, float]:
        """(s, t) of the point of the plane nearest to a row of `size` parameters; for orthonormal directions."""
        away = (row.double() - self.origin.double())[:size]
        return float(away @ self.across[:size]), float(away @ self.up[:size])


def line(objectives: Mapping[str, Objective], start: Tensor, end: Tensor, shares: Sequence[float]) -> dict[str, Values]:
    """Every objective at (1 − α) · start + α · end for each α of `shares` [Goodfellow et al. 2015].

    At 0 and 1 these are the rows themselves, so that the values are those of the models, bit for bit.
    """
    points = (interpolated(start, end, share) for share in shares)
    return _measured(objectives, points, (len(shares),))


def interpolated(start: Tensor, end: Tensor, share: float) -> Tensor:
    """(1 − α) · start + α · end, rounded once."""
    return (start.double() * (1 - share) + end.double() * share).to(start.dtype)


def barrier(loss: np.ndarray, shares: Sequence[float]) -> float:
    """How far a line's loss rises above the straight line between its ends, at most [Frankle et al. 2020]."""
    chord = np.interp(shares, [shares[0], shares[-1]], [loss[0], loss[-1]])
    return float((loss - chord).max())


def surface(
    objectives: Mapping[str, Objective], plane: Plane, across: Sequence[float], up: Sequence[float]
) -> dict[str, Values]:
    """Every objective on a grid of the plane, [up, across]."""
    points = (plane.at(s, t) for t in up for s in across)
    return _measured(objectives, points, (len(up), len(across)))


def random_plane(layout: Layout, x: Tensor, seed: int = 0) -> Plane:
    """A plane through x along two random directions, filter-normalised [Li et al. 2018].

    Each filter of a direction, that is each part [i] of a tensor of two dimensions or more, is drawn from a normal
    distribution and has the norm of x's filter; biases and the parameters of normalisations stay as they are, and so do
    statistics.
    """
    first, second = (filter_normalised(layout, x, _drawn(x, layout.size, seed, number)) for number in range(2))
    return Plane(x, first, second)


def filter_normalised(layout: Layout, x: Tensor, direction: Tensor) -> Tensor:
    """The direction with each filter as long as that of x, and zeros in tensors of fewer than two dimensions."""
    pieces = []
    row = x[: layout.size].double()
    for piece, own, shape in zip(layout.pieces(direction.double()), layout.pieces(row), layout.shapes, strict=True):
        if len(shape) < 2:
            pieces.append(torch.zeros_like(piece))
            continue
        filters, lengths = piece.view(shape[0], -1), own.view(shape[0], -1).norm(dim=1, keepdim=True)
        norms = filters.norm(dim=1, keepdim=True)
        pieces.append((filters * torch.where(norms > 0, lengths / norms, 0.0)).reshape(-1))
    return torch.cat(pieces)


def plane_through(models: tuple[Tensor, Tensor, Tensor], size: int) -> Plane:
    """The plane through three models a, b, c of `size` parameters [Garipov et al. 2018].

    Its directions are orthonormal in the parameters, one from a to b, the other from there towards c; what rows have
    behind their parameters goes along.
    """
    a, b, c = models
    across, up = b.double() - a.double(), c.double() - a.double()
    length = across[:size].norm()
    if not length:
        raise ConfigError("the first two of three models are the same: there is no plane through them")
    across = across / length
    up = up - across * torch.dot(up[:size], across[:size])
    height = up[:size].norm()
    if height <= 1e-12 * length:
        raise ConfigError("the three models lie on one line: there are many planes through them")
    return Plane(a, across, up / height)


def _drawn(x: Tensor, size: int, seed: int, number: int) -> Tensor:
    return torch.from_numpy(stream(seed, "landscape", index=number).standard_normal(size)).to(x.device)


def _measured(
    objectives: Mapping[str, Objective], points: Iterable[Tensor], shape: tuple[int, ...]
) -> dict[str, Values]:
    found: dict[str, list[Score]] = {name: [] for name in objectives}
    for point in points:
        for name, objective in objectives.items():
            found[name].append(objective.measure(point))
    return {
        name: Values(
            np.array([each.loss for each in measured]).reshape(shape),
            np.array([each.accuracy for each in measured]).reshape(shape),
        )
        for name, measured in found.items()
    }
