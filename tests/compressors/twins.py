"""Each compressor once more, as a plain numpy function v, draw → C(v), written from its definition and not for speed.

`sizes` are the lengths of the pieces that are compressed by themselves; they follow each other in v.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpidl.compressors import Draw
from mpidl.layout import Layout

Row = NDArray[Any]


def compressed(v: Row, draw: Draw, layout: Layout, name: str, **settings: Any) -> Row:
    """C(v) by the compressor of this name and settings, as a configuration gives them."""
    return TWINS[name](v, draw, layout, **settings)


def piece_sizes(layout: Layout, per: str | int) -> list[int]:
    if per == "tensor":
        return [int(np.prod(shape)) for shape in layout.shapes]
    total = sum(int(np.prod(shape)) for shape in layout.shapes)
    length = total if per == "row" else int(per)
    return [min(length, total - start) for start in range(0, total, length)] if total else []


def pieces(v: Row, layout: Layout, per: str | int) -> Iterator[Row]:
    """Views into v."""
    start = 0
    for size in piece_sizes(layout, per):
        if size:
            yield v[start : start + size]
        start += size


def topk(v: Row, draw: Draw, layout: Layout, fraction: float, per: str | int = "row") -> Row:
    result = np.zeros_like(v)
    for piece, kept in zip(pieces(v, layout, per), pieces(result, layout, per), strict=True):
        order = sorted(range(len(piece)), key=lambda i, piece=piece: (-abs(piece[i]), i))
        chosen = order[: max(1, round(fraction * len(piece)))]
        kept[chosen] = piece[chosen]
    return result


def sign(v: Row, draw: Draw, layout: Layout, per: str | int = "row") -> Row:
    result = np.zeros_like(v)
    for piece, signs in zip(pieces(v, layout, per), pieces(result, layout, per), strict=True):
        scale = v.dtype.type(np.mean(np.abs(piece.astype(np.longdouble))))
        signs[:] = np.where(piece < 0, -scale, scale)
    return result


def cast(v: Row, draw: Draw, layout: Layout, dtype: str) -> Row:
    if dtype != "bfloat16":
        # float64 to float16 by way of float32, as torch does.
        return v.astype(np.float32 if dtype == "float16" else dtype).astype(dtype).astype(v.dtype)
    # To the nearest multiple of the last of eight bits, ties to an even one.
    v32 = v.astype(np.float32).astype(np.float64)
    _, exponents = np.frexp(v32)
    unit = np.ldexp(1.0, np.maximum(exponents - 8, -133))
    return (np.round(v32 / unit) * unit).astype(v.dtype)


TWINS: dict[str, Callable[..., Row]] = {"topk": topk, "sign": sign, "cast": cast}
