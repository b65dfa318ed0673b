"""Compressors: rows to packed bytes and back, on the row's device. Each is registered by one line below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.registry import Registry, lazy_attributes

if TYPE_CHECKING:
    from mpidl.compressors.base import Codec, Compressor, Draw
else:
    __getattr__ = lazy_attributes(
        __name__,
        Codec="mpidl.compressors.base",
        Compressor="mpidl.compressors.base",
        Draw="mpidl.compressors.base",
    )

__all__ = ["COMPRESSORS", "Codec", "Compressor", "Draw"]

COMPRESSORS: Registry[Compressor] = Registry("compressor", "mpidl.compressors.base:Compressor")
COMPRESSORS.add("topk", "mpidl.compressors.settings:TopK")
COMPRESSORS.add("randomk", "mpidl.compressors.settings:RandomK")
COMPRESSORS.add("sign", "mpidl.compressors.settings:Sign")
COMPRESSORS.add("qsgd", "mpidl.compressors.settings:QSGD")
COMPRESSORS.add("lowrank", "mpidl.compressors.settings:LowRank")
COMPRESSORS.add("cast", "mpidl.compressors.settings:Cast")
