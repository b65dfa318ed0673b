"""What every data set is, wherever it came from: training and test examples, and what the model must know of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from mpidl.errors import DataError

Task = Literal["classification", "regression", "language"]


@dataclass(frozen=True)
class Dataset:
    """Examples, and how to read them.

    `x` and `x_test` are arrays or tensors `[n, …]`, or anything with `shape`, `dtype` and `take(indices)` (rows that
    stay in a file); `y` and `y_test` hold a class number (classification), a number or vector (regression), or the
    tokens that follow those of `x` (language). `owner` names the agent of each training example, for `split: given`.
    The model sees `(x·scale − mean)/std`, `mean` and `std` one number a channel; language examples stay whole numbers.
    """

    x: Any
    y: Any
    x_test: Any
    y_test: Any
    owner: Any = None
    task: Task = "classification"
    classes: int | None = None
    scale: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.task not in ("classification", "regression", "language"):
            raise DataError(f"task {self.task!r} is not known (classification, regression, language)")
        for part, x, y in (("training", self.x, self.y), ("test", self.x_test, self.y_test)):
            if len(x.shape) < 1 or len(y.shape) < 1 or x.shape[0] != y.shape[0]:
                raise DataError(f"the {part} part has x of shape {tuple(x.shape)}, but y of shape {tuple(y.shape)}")
        if self.x.shape[0] == 0:
            raise DataError("the training part has no example")
        if self.x_test.shape[0] == 0:
            raise DataError("the test part has no example; hold some of the data out for it")
        if tuple(self.x.shape[1:]) != tuple(self.x_test.shape[1:]):
            raise DataError(
                f"training examples have shape {tuple(self.x.shape[1:])}, test examples {tuple(self.x_test.shape[1:])}"
            )
        if self.owner is not None and len(self.owner) != len(self):
            raise DataError(f"there are {len(self)} training examples, but {len(self.owner)} owners")
        if self.task == "classification":
            for part, y in (("training", self.labels), ("test", _whole(self.y_test))):
                _check_labels(part, y, self.outputs)

    def __len__(self) -> int:
        return int(self.x.shape[0])

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(int(size) for size in self.x.shape[1:])

    @cached_property
    def outputs(self) -> int:
        """Classes, the width of a regression, or the vocabulary."""
        if self.task == "regression":
            return int(np.prod(self.y.shape[1:], dtype=np.int64))
        if self.classes is not None:
            return self.classes
        if self.task == "language":
            return 1 + max(int(_whole(part).max(initial=0)) for part in (self.x, self.y, self.x_test, self.y_test))
        return 1 + max(int(self.labels.max(initial=0)), int(_whole(self.y_test).max(initial=0)))

    @cached_property
    def labels(self) -> np.ndarray:
        """The class of every training example."""
        if self.task != "classification":
            raise DataError(f"a {self.task} data set has no class labels")
        return _whole(self.y)


def _whole(y: Any) -> np.ndarray:
    """All of an array of whole numbers, as int64."""
    if hasattr(y, "detach"):
        y = y.detach().cpu().numpy()
    found = y.take(np.arange(y.shape[0])) if not isinstance(y, np.ndarray) and hasattr(y, "take") else np.asarray(y)
    if found.dtype.kind not in "iub":
        raise DataError(f"labels and tokens must be whole numbers, not {found.dtype}")
    return found.astype(np.int64, copy=False)


def _check_labels(part: str, labels: np.ndarray, classes: int) -> None:
    if labels.ndim != 1:
        raise DataError(f"{part} labels must be one number an example, not of shape {labels.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(f"{part} labels go from {labels.min()} to {labels.max()}, outside 0 to {classes - 1}")
