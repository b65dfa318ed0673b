"""The compressors by their settings: what each keeps, how many bytes that is, and the bound on its error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mpidl.compressors.base import Compressor, Per
from mpidl.compressors.pieces import piece_sizes, smallest_share
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from mpidl.compressors.base import Codec
    from mpidl.layout import Layout


class TopK(Compressor):
    """Top-k: of each piece the k = max(1, round(f·d)) numbers of largest magnitude, ties to the lowest index.

    Bytes: k numbers, and 4 k of indices or, where that is less, a bitmap of ⌈P/8⌉. Contraction δ = k/d.
    """

    fraction: float = Field(gt=0, le=1, description="f, the part of the numbers that is sent")
    per: Per = Field("row", description="what is compressed by itself: row, tensor, or so many numbers")

    def codec(self, layout: Layout, dtype: torch.dtype, device: torch.device) -> Codec:
        from mpidl.compressors.topk import TopKCodec

        return TopKCodec(layout, dtype, device, self.fraction, self.per)

    def contraction(self, layout: Layout) -> float | None:
        return smallest_share(self.fraction, piece_sizes(layout, self.per))

    def variance(self, layout: Layout) -> float | None:
        return None


class Sign(Compressor):
    """Sign: of each number its sign, that of zero being +, times the mean magnitude ‖v‖₁/d of its piece.

    [Bernstein et al. 2018; scaled: Karimireddy et al. 2019.] Bytes: ⌈P/8⌉, and a number per piece. Contraction
    δ = ‖v‖₁²/(d‖v‖²), at least 1/d.
    """

    per: Per = Field("row", description="what is compressed by itself: row, tensor, or so many numbers")

    def codec(self, layout: Layout, dtype: torch.dtype, device: torch.device) -> Codec:
        from mpidl.compressors.sign import SignCodec

        return SignCodec(layout, dtype, device, self.per)

    def contraction(self, layout: Layout) -> float | None:
        return 1 / max(piece_sizes(layout, self.per), default=1)

    def variance(self, layout: Layout) -> float | None:
        return None


# Bits of the significand, the implied one included: to the nearest is at most 2^−bits off.
_SIGNIFICAND = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}


class Cast(Compressor):
    """Cast: every number to the nearest of a narrower type; to the rows' own type, the identity.

    Bytes: P numbers of that type. Contraction δ = 1 − 2^(−2p) with p bits of significand, for numbers within the type's
    normal range; below it the error of each is at most half its smallest number. Numbers too large for float16 are
    refused.
    """

    dtype: Literal["bfloat16", "float16", "float32", "float64"] = Field(description="type of a number on the wire")

    def codec(self, layout: Layout, dtype: torch.dtype, device: torch.device) -> Codec:
        import torch

        from mpidl.compressors.cast import CastCodec

        wire: torch.dtype = getattr(torch, self.dtype)
        if wire.itemsize > dtype.itemsize:
            raise ConfigError(f"{self.dtype} is wider than the rows ({str(dtype).removeprefix('torch.')})", "dtype")
        return CastCodec(layout, wire, dtype, device)

    def contraction(self, layout: Layout) -> float | None:
        return 1 - 4.0 ** -_SIGNIFICAND[self.dtype]

    def variance(self, layout: Layout) -> float | None:
        return None
