"""Each compressor once more, as a plain numpy function v, draw → C(v), written from its definition and not for speed.

`sizes` are the lengths of the pieces that are compressed by themselves; they follow each other in v.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpidl.compressors import Draw
from mpidl.layout import Layout

Row = NDArray[Any]
Memory = dict[int, Row]


def compressed(v: Row, draw: Draw, layout: Layout, name: str, memory: Memory | None = None, **settings: Any) -> Row:
    """C(v) by the compressor of this name and settings, as a configuration gives them.

    `memory` is a dict of the agent's own, empty before its first row, for those that remember something.
    """
    if name == "lowrank":
        settings["memory"] = {} if memory is None else memory
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


def randomk(v: Row, draw: Draw, layout: Layout, fraction: float, common: bool = False, per: str | int = "row") -> Row:
    generator = Draw(draw.seed, draw.purpose, 0 if common else draw.agent, draw.index).stream()
    result = np.zeros_like(v)
    start = 0
    # Neighbours of one length draw together: all their cuts, then a place in every arc; in lots of 2^17 arcs.
    for size, run in groupby(size for size in piece_sizes(layout, per) if size):
        k, count = max(1, round(fraction * size)), len(list(run))
        while count:
            lot = min(count, max(1, 2**17 // k))
            cuts = [int(cut) for cut in generator.integers(size, size=lot)]
            places = np.concatenate(
                [generator.random((lot, min(2**17, k - arc))) for arc in range(0, k, 2**17)], axis=1
            )
            arcs = np.array_split(np.arange(size), k)
            for cut, row in zip(cuts, places, strict=True):
                for arc, place in zip(arcs, row, strict=True):
                    index = start + (cut + arc[int(place * len(arc))]) % size
                    result[index] = v[index]
                start += size
            count -= lot
    return result


def qsgd(v: Row, draw: Draw, layout: Layout, bits: int, contractive: bool = False, per: str | int = 512) -> Row:
    s, fraction = 2 ** (bits - 1) - 1, 15 if bits == 16 else 16
    float32 = v.dtype == np.float32
    scaled, steps = np.zeros_like(v), np.zeros_like(v)
    for piece, fine, step in zip(*(pieces(row, layout, per) for row in (v, scaled, steps)), strict=True):
        norm = np.sqrt(np.sum(piece.astype(np.float64) ** 2))
        larger = max(norm, 2.0**-63 if float32 else 2.0**-511) / s * (1 + (2.0**-20 if float32 else 2.0**-49))
        fine[:] = np.trunc(piece * v.dtype.type(2**fraction / larger))
        shrink = 1 + min(len(piece) / s**2, np.sqrt(len(piece)) / s) if contractive else 1
        step[:] = larger / shrink
    seed = [int(word) for word in draw.stream().bit_generator.random_raw(4)]
    raw = np.random.PCG64DXSM(seed).random_raw
    result = np.zeros_like(v)
    for start in range(0, len(v), 2**17):
        length = min(2**17, len(v) - start)
        octets = raw(length // 8 + 1).tobytes()
        half = (length + 1) // 2
        for i in range(length):
            begin = 2 * i if i < half else 2 * (i - half) + 1
            limit = int.from_bytes(octets[begin : begin + 2], "little")
            level, chance = divmod(int(scaled[start + i]), 2**fraction)
            result[start + i] = (level + (limit < chance * 2 ** (16 - fraction))) * steps[start + i]
    return result


def lowrank(v: Row, draw: Draw, layout: Layout, rank: int, memory: Memory) -> Row:
    generator = draw.stream()
    result = v.copy()
    start = 0
    for place, shape in enumerate(layout.shapes):
        size = int(np.prod(shape))
        if len(shape) > 1 and size:
            m, n = shape[0], size // shape[0]
            r = min(rank, m, n)
            if r * (m + n) < m * n:
                matrix = v[start : start + size].reshape(m, n)
                if not np.any(memory.get(place, 0)):
                    memory[place] = generator.standard_normal((n, r)).astype(v.dtype)
                left, _ = np.linalg.qr(matrix @ memory[place])
                right = matrix.T @ left
                result[start : start + size] = (left @ right.T).ravel()
                memory[place] = right / np.max(np.abs(right)) if np.any(right) else right
        start += size
    return result


TWINS: dict[str, Callable[..., Row]] = {
    "topk": topk,
    "randomk": randomk,
    "sign": sign,
    "qsgd": qsgd,
    "lowrank": lowrank,
    "cast": cast,
}
