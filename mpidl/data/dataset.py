"""What every data set is, wherever it came from: training and test examples, and what the model must know of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from mpidl.data.checks import channel_numbers, check_finite, check_numeric, in_memory, pieces, span
from mpidl.errors import DataError

Task = Literal["classification", "regression", "language"]

_PARTS = ("x", "y", "x_test", "y_test")


@dataclass(frozen=True)
class Dataset:
    """Examples, and how to read them.

    `x` and `x_test` are arrays or tensors `[n, …]`, or anything with `shape`, `dtype` and `take(indices)` (rows that
    stay in a file; `portable = True` says that they can be pickled, and be read in another process). `y` and `y_test`
    hold a class number (classification), a number or vector (regression), or the tokens that follow those of `x`
    (language). `owner` names the agent of each training example, for `split: given`; `class_names` tell people what the
    classes are. The model sees `(x·scale − mean)/std`, `mean` and `std` one number per channel; tokens stay whole
    numbers.

    Labels and tokens are all checked here, those in files a piece at a time. That numbers are finite is checked here
    where they are in memory; those in files are looked at when batches read them, which saves a pass over the file.
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
    class_names: tuple[str, ...] | None = None

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
        if self.class_names is not None and len(self.class_names) != self.outputs:
            raise DataError(f"there are {self.outputs} classes, but {len(self.class_names)} names of classes")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                object.__setattr__(self, name, channel_numbers(name, values, self.example_shape))
        for name in _PARTS:
            rows = getattr(self, name)
            check_numeric(name, rows)
            if in_memory(rows):
                check_finite(name, rows)
        if self.task != "regression":
            self._check_range()

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
        return self.classes if self.classes is not None else 1 + max(0, *(high for _, high in self._spans.values()))

    @cached_property
    def labels(self) -> np.ndarray:
        """The class of every training example."""
        if self.task != "classification":
            raise DataError(f"a {self.task} data set has no class labels")
        return np.concatenate([piece.astype(np.int64) for _, piece in pieces(self.y)])

    @cached_property
    def _spans(self) -> dict[str, tuple[int, int]]:
        """The lowest and the highest class or token, wherever there are any."""
        if self.task == "language":
            return {f"tokens of {name}": span(f"tokens of {name}", getattr(self, name)) for name in _PARTS}
        named = (("training labels", self.y), ("test labels", self.y_test))
        return {name: span(name, labels) for name, labels in named}

    def _check_range(self) -> None:
        if self.task == "classification":
            for part, labels in (("training", self.y), ("test", self.y_test)):
                if len(labels.shape) != 1:
                    raise DataError(
                        f"{part} labels must be one number per example, not of shape {tuple(labels.shape)}; of rows "
                        "with a 1 for the class take argmax(1)"
                    )
        for name, (low, high) in self._spans.items():
            if low < 0 or high >= self.outputs:
                raise DataError(
                    f"{name} go from {low} to {high}, outside 0 to {self.outputs - 1}; number them from 0, and raise "
                    "'classes' if there are more"
                )
