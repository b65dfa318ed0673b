"""What is asked of the numbers in a data set, some rows at a time, so that those of a file are never all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mpidl.errors import DataError

# Bytes looked at together.
_PIECE = 2**22


def in_memory(rows: Any) -> bool:
    """Whether the rows stand in this process's memory already."""
    return hasattr(rows, "detach") or isinstance(rows, np.ndarray) and not isinstance(rows, np.memmap)


def pieces(rows: Any) -> Iterator[tuple[int, np.ndarray]]:
    """All rows of an array, a tensor or a file in ascending order, each piece with the number of its first row."""
    count = int(rows.shape[0])
    size = int(np.prod(rows.shape[1:], dtype=np.int64)) * rows.dtype.itemsize
    step = max(1, _PIECE // max(1, size))
    for start in range(0, count, step):
        stop = min(start + step, count)
        if hasattr(rows, "detach"):
            piece = rows[start:stop].detach().cpu()
            # numpy has no bfloat16, and float32 holds all of its numbers.
            short = piece.is_floating_point() and piece.dtype.itemsize < 4
            yield start, (piece.float() if short else piece).numpy()
        elif isinstance(rows, np.ndarray) or not hasattr(rows, "take"):
            yield start, np.asarray(rows[start:stop])
        else:
            yield start, rows.take(np.arange(start, stop))


def is_numeric(dtype: np.dtype) -> bool:
    """Whether these are numbers that torch knows as well; it has no long double."""
    return dtype.kind in "iufb" and dtype.itemsize <= 8


def check_numeric(name: str, rows: Any) -> None:
    """Refuses text, objects, complex numbers and long doubles."""
    if rows.dtype.is_complex if hasattr(rows, "detach") else not is_numeric(np.dtype(rows.dtype)):
        raise DataError(f"{name} holds {rows.dtype}, not numbers that can be trained on; store it as float32")


def span(name: str, rows: Any) -> tuple[int, int]:
    """The lowest and the highest of whole numbers; (0, 0) of none."""
    floating = rows.dtype.is_floating_point if hasattr(rows, "detach") else np.dtype(rows.dtype).kind not in "iub"
    if floating:
        raise DataError(f"{name} must be whole numbers, not {rows.dtype}")
    spans = [(int(piece.min()), int(piece.max())) for _, piece in pieces(rows) if piece.size]
    return min((low for low, _ in spans), default=0), max((high for _, high in spans), default=0)


def check_finite(name: str, rows: Any, numbers: np.ndarray | None = None) -> None:
    """Refuses NaN and infinities, which would later look as if the learning rate were too high.

    `numbers` are those of the rows in the data set, where they are only some of its rows. A number that is finite as it
    is stored passes, even if the precision of a run has none so large: another run's has.
    """
    for start, piece in pieces(rows):
        if piece.dtype.kind == "f" and not np.isfinite(piece).all():
            row = start + int(np.isfinite(piece.reshape(len(piece), -1)).all(axis=1).argmin())
            raise DataError(
                f"example {row if numbers is None else numbers[row]} of {name} holds NaN or infinity; "
                "correct the example or leave it out"
            )


def channel_numbers(name: str, values: Any, example_shape: tuple[int, ...]) -> tuple[float, ...]:
    """Finite numbers, one for all channels of an example or one for each."""
    numbers = tuple(float(value) for value in np.ravel(values))
    channels = example_shape[0] if example_shape else 1
    if len(numbers) not in (1, channels):
        raise DataError(
            f"{name} has {len(numbers)} numbers for examples of shape {example_shape}; give one, or one for each of "
            f"the {channels} channels"
        )
    if not np.isfinite(numbers).all() or (name == "std" and any(number <= 0 for number in numbers)):
        raise DataError(
            f"{name} is {', '.join(f'{value:g}' for value in numbers)}, which must be finite"
            f"{' and above 0' if name == 'std' else ''}; correct it or leave it out"
        )
    return numbers
