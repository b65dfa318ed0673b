"""Data from what torch calls map-style data sets: whatever has a length and gives a pair (x, y) for a number."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpidl.data.dataset import Dataset, Task
from mpidl.errors import DataError
from mpidl.sentences import printable

_EXAMPLE = "each must be a pair (x, y) of tensors, arrays or numbers"
_CURES = {
    "Image": "an image wants a transform to a tensor",
    "str": "number the classes from 0",
    "Tensor": "TensorDataset(x, y) makes some of tensors",
    "ndarray": "mpidl.data.Dataset(x, y, x_test, y_test) takes arrays as they are",
}


def from_pairs(train: Any, test: Any, owner: Any = None, task: Task | None = None) -> Dataset:
    """The data set of these two, read once, into memory; `owner` names the agent of each training example.

    Without a `task`, whole numbers y are classes, and others are numbers to be met. What is drawn at random with each
    reading would be drawn once and stay, so it is refused; `data.crop` and `data.flip` move images anew in each batch.
    """
    x, y = _read("training", train)
    x_test, y_test = _read("test", test)
    chosen: Task = task or ("classification" if y.dtype.kind in "iub" else "regression")
    return Dataset(x, y, x_test, y_test, None if owner is None else np.asarray(owner), chosen)


def is_pairs(value: Any) -> bool:
    """Whether this is `(train, test)` or `(train, test, owner)`, the first two of which give examples by number."""
    return (
        isinstance(value, tuple)
        and len(value) in (2, 3)
        and all(hasattr(part, "__getitem__") and not hasattr(part, "shape") for part in value[:2])
    )


def _read(part: str, examples: Any) -> tuple[np.ndarray, np.ndarray]:
    """All x and all y of one part."""
    if not hasattr(examples, "__len__"):
        raise DataError(f"the {part} data set has no length (__len__): one that is only iterated cannot be dealt")
    count = len(examples)
    if count == 0:
        cure = "; hold some of the data out for it" if part == "test" else ""
        raise DataError(f"the {part} data set has no example{cure}")
    first, again = _pair(part, examples, 0), _pair(part, examples, 0)
    # Bytes, since NaN is told by another check.
    if any(one.tobytes() != other.tobytes() for one, other in zip(first, again, strict=True)):
        raise DataError(
            f"the {part} data set gives another example 0 when it is asked again; leave random transforms out, and let "
            "data.crop and data.flip move images"
        )
    columns = tuple(np.empty((count, *value.shape), value.dtype) for value in first)
    for number in range(count):
        for column, value in zip(columns, _pair(part, examples, number), strict=True):
            if value.shape != column.shape[1:]:
                raise DataError(
                    f"example {number} of the {part} data set has shape {value.shape}, example 0 {column.shape[1:]}; "
                    "bring all to one shape"
                )
            if value.dtype != column.dtype:
                # A fraction among whole numbers would lose what is behind its point.
                raise DataError(
                    f"example {number} of the {part} data set has {value.dtype}, example 0 {column.dtype}; "
                    "bring all to one type"
                )
            column[number] = value
    return columns[0], columns[1]


def _pair(part: str, examples: Any, number: int) -> tuple[np.ndarray, np.ndarray]:
    example = examples[number]
    where = f"example {number} of the {part} data set"
    if not isinstance(example, tuple | list) or len(example) != 2:
        raise DataError(f"{where} is {_wrong(example)}")
    x, y = (_array(f"{name} of {where}", value) for name, value in zip("xy", example, strict=True))
    return x, y


def _array(name: str, value: Any) -> np.ndarray:
    """A number, an array or a tensor as an array; numbers of Python's as torch would store them."""
    if hasattr(value, "detach"):
        array = np.asarray(value.detach().cpu())
    elif isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
    elif isinstance(value, bool | int | float):
        array = np.asarray(value, np.float32 if isinstance(value, float) else np.int64)
    else:
        raise DataError(f"{name} is {_wrong(value)}")
    return array


def _wrong(value: Any) -> str:
    """What it is instead of an example or of part of one, and what to do about it."""
    names = [kind.__name__ for kind in type(value).__mro__]
    cure = next((f": {_CURES[name]}" for name in names if name in _CURES), "")
    return f"{printable(names[0], 100)}; {_EXAMPLE}{cure}"
