"""One small case of every registered model and of every option that changes its graph of operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mpidl.models import MODELS

OUTPUTS = 5

_SETTINGS: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({"name": "logistic"}, (6,)),
    ({"name": "mlp", "hidden": [7, 4], "activation": "tanh"}, (2, 3)),
    ({"name": "feddyn-cnn"}, (1, 16, 16)),
    ({"name": "vgg11"}, (1, 32, 32)),
    ({"name": "vgg11", "norm": "evonorm", "dropout": 0}, (2, 32, 32)),
    *(({"name": "lenet5", "norm": norm}, (2, 12, 14)) for norm in ("batch", "group", "evonorm", "none")),
    *(({"name": "resnet20", "norm": norm}, (3, 8, 10)) for norm in ("batch", "group", "evonorm", "none")),
    ({"name": "resnet20", "norm": "group", "shortcut": "padding"}, (1, 9, 8)),
    ({"name": "resnet18", "norm": "batch"}, (1, 8, 8)),
    ({"name": "char-lstm", "hidden": 6, "embedding": 3}, (7,)),
    ({"name": "gpt", "layers": 2, "heads": 2, "width": 8}, (7,)),
    ({"name": "gpt", "layers": 1, "heads": 2, "width": 8, "tied": False, "dropout": 0.1, "context": 9}, (7,)),
]

every_case = pytest.mark.parametrize(
    ("settings", "shape"),
    _SETTINGS,
    ids=["-".join(str(value) for value in settings.values()).replace(" ", "") for settings, _ in _SETTINGS],
)


def built(settings: dict[str, Any], shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> nn.Module:
    """The module of a case, in float64 unless said otherwise, so that comparisons can be tight."""
    return MODELS.parse(settings).build(shape, OUTPUTS).to(dtype)


def task_of(shape: tuple[int, ...]) -> str:
    return "language" if shape == (7,) else "classification"


def batch(shape: tuple[int, ...], examples: int = 3, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Inputs and targets; the texts of the cases are the examples of length 7."""
    if task_of(shape) == "language":
        return torch.randint(OUTPUTS, (examples, *shape)), torch.randint(OUTPUTS, (examples, *shape))
    return torch.randn(examples, *shape, dtype=dtype), torch.randint(OUTPUTS, (examples,))
