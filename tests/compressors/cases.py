"""Rows and settings that the tests of compressors go through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpidl.compressors import COMPRESSORS, Codec, Draw
from mpidl.layout import Layout

DRAW = Draw(7, "gossip", 3, 11)
CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.float64)

SETTINGS: list[dict[str, Any]] = [
    *(
        {"name": "topk", "fraction": fraction, "per": per}
        for fraction, per in [(0.01, "row"), (0.3, "tensor"), (1, 64)]
    ),
    *(
        {"name": "randomk", "fraction": fraction, "per": per}
        for fraction, per in [(0.01, "row"), (0.3, "tensor"), (0.9, "row"), (0.1, 64)]
    ),
    {"name": "randomk", "fraction": 0.2, "common": True},
    *({"name": "sign", "per": per} for per in ("row", "tensor", 64)),
    *({"name": "qsgd", "bits": bits} for bits in (2, 3, 8, 11, 16)),
    *({"name": "qsgd", "bits": 4, "contractive": True, "per": per} for per in ("row", "tensor", 100)),
    *({"name": "lowrank", "rank": rank} for rank in (1, 4)),
    *({"name": "cast", "dtype": dtype} for dtype in ("bfloat16", "float16", "float32")),
]


def label(settings: dict[str, Any]) -> str:
    return "-".join(str(value) for value in settings.values())


def layout_of(size: int) -> Layout:
    """So many numbers, as a matrix, a vector and what is left."""
    side = int((size // 2) ** 0.5)
    shapes = [(side, side), (size // 4,), (size - side * side - size // 4,)]
    return Layout(tuple("abc"), tuple(shapes))


def rows(size: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Numbers of very different size, zeros and ties among them."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=size) * np.exp(rng.normal(size=size))
    values[rng.random(size) < 0.1] = 0
    values[rng.random(size) < 0.1] = -0.5
    return torch.from_numpy(values).to(dtype)


def codec_of(settings: dict[str, Any], layout: Layout, dtype: torch.dtype) -> Codec:
    return COMPRESSORS.parse(settings).codec(layout, dtype, CPU)


def packed(codec: Codec, row: Tensor, draw: Draw = DRAW) -> Tensor:
    out = torch.full((codec.nbytes,), 0xAB, dtype=torch.uint8)
    codec.pack(row, out, draw, memory_of(codec, row.dtype))
    return out


def unpacked(codec: Codec, row: Tensor, draw: Draw = DRAW) -> Tensor:
    """C(row)."""
    out = torch.full_like(row, 99.0)
    codec.unpack(packed(codec, row, draw), out, draw)
    return out


def memory_of(codec: Codec, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: torch.zeros(shape, dtype=dtype) for name, shape in codec.memory.items()}
