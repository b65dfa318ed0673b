"""Small objectives in float64 whose derivatives are known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mpidl.analysis.objective import Objective
from mpidl.seeding import stream


def drawn(*shape: int, purpose: str = "analysis") -> Tensor:
    """Numbers from a normal distribution."""
    return torch.from_numpy(stream(1, purpose).standard_normal(shape))


class Point(nn.Module):
    """A network that is nothing but its parameters."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.position


def quadratic(H: Tensor, **options: object) -> Objective:
    """½ xᵀHx, the mean of as many examples as H has rows, each a row of it: ½ x_e (Hx)_e · size."""

    def loss(module: nn.Module, inputs: Tensor, which: Tensor) -> Tensor:
        return module.position[which] * module(inputs) * len(H) / 2

    examples = torch.arange(len(H))
    chunks = [(H[part], examples[part]) for part in torch.arange(len(H)).split(3)]
    return Objective(Point(len(H)), loss, chunks, **options)


def logistic(examples: int = 40, features: int = 5, classes: int = 3) -> tuple[Objective, Tensor, Tensor]:
    """Logistic regression, a row at which to look, and the explicit Hessian there.

    H = mean of (diag p − p pᵀ) ⊗ z zᵀ with z = (x, 1), in the order of weight [classes, features] and bias.
    """
    X, y = drawn(examples, features), torch.from_numpy(stream(2, "labels").integers(0, classes, examples))
    module = nn.Linear(features, classes, dtype=torch.float64)

    def loss(module: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(module(inputs), targets, reduction="none")

    chunks = list(zip(X.split(16), y.split(16), strict=True))
    L = Objective(module, loss, chunks, counts_hits=True)
    row = drawn(L.size, purpose="row") / 2
    weight, bias = row[: classes * features].view(classes, features), row[classes * features :]
    p = torch.softmax(X @ weight.T + bias, dim=1)
    curved = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    z = torch.cat([X, torch.ones(examples, 1, dtype=X.dtype)], dim=1)
    by_class = torch.einsum("ekl,ei,ej->kilj", curved, z, z) / examples
    order = [(k, i) for k in range(classes) for i in range(features)] + [(k, features) for k in range(classes)]
    k, i = (torch.tensor(numbers) for numbers in zip(*order, strict=True))
    return L, row, by_class[k[:, None], i[:, None], k[None, :], i[None, :]]
