"""The compressors by their settings: what each keeps, how many bytes that is, and the bound on its error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mpidl.compressors.base import Compressor, Per
from mpidl.compressors.sizes import matrix_of, piece_sizes, smallest_share
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


class RandomK(Compressor):
    """Random-k: of each piece k = max(1, round(f·d)) numbers, each equally likely, as they are, unscaled.

    Each piece is cut at a random place, as a ring, into k arcs of ⌊d/k⌋ or ⌈d/k⌉ numbers, and of each arc one number is
    drawn. The draw follows from seed, agent and round, so that no index is sent. Bytes: k numbers. Contraction δ = k/d.
    Only what is sent is looked at for infinities.
    """

    fraction: float = Field(gt=0, le=1, description="f, the part of the numbers that is sent")
    common: bool = Field(False, description="the same indices for all agents in a round [SPARTA]")
    per: Per = Field("row", description="what is compressed by itself: row, tensor, or so many numbers")

    def codec(self, layout: Layout, dtype: torch.dtype, device: torch.device) -> Codec:
        from mpidl.compressors.randomk import RandomKCodec

        return RandomKCodec(layout, dtype, device, self.fraction, self.common, self.per)

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


class QSGD(Compressor):
    """QSGD: of each piece its norm and, of each number, the multiple of norm/s below or above it, s = 2^(bits−1) − 1.

    [Alistarh et al. 2017.] Rounded at random so that the mean is right, or, where `contractive`, the same times
    1/(1 + ω). Random numbers have 16 bits (15 at bits 16), so that a mean is right to 2^−16 of a step. Bytes: a number
    per piece (the step norm/s), and ⌈P/8⌉·bits (2 P at bits 16). Variance ω = min(d/s², √d/s), or contraction
    δ = 1/(1 + ω).
    """

    bits: int = Field(ge=2, le=16, description="bits of a number on the wire, its sign among them")
    contractive: bool = Field(False, description="scaled by 1/(1 + ω), as choco and deepsqueeze ask for")
    per: Per = Field(512, description="what is compressed by itself: row, tensor, or so many numbers")

    def codec(self, layout: Layout, dtype: torch.dtype, device: torch.device) -> Codec:
        from mpidl.compressors.qsgd import QSGDCodec

        shrink = (
            tuple(1 / (1 + self._omega(size)) for size in piece_sizes(layout, self.per)) if self.contractive else ()
        )
        return QSGDCodec(layout, dtype, device, self.bits, shrink, self.per)

    def contraction(self, layout: Layout) -> float | None:
        return 1 / (1 + self._largest_omega(layout)) if self.contractive else None

    def variance(self, layout: Layout) -> float | None:
        return None if self.contractive else self._largest_omega(layout)

    def _largest_omega(self, layout: Layout) -> float:
        return self._omega(max(piece_sizes(layout, self.per), default=0))

    def _omega(self, size: int) -> float:
        levels = 2 ** (self.bits - 1) - 1
        return min(size / levels**2, math.sqrt(size) / levels)


class LowRank(Compressor):
    """Low rank: each matrix M (a tensor by its first dimension) as P̂Qᵀ, with P̂ = orth(M Q⁻), Q = Mᵀ P̂; vectors whole.

    PowerSGD's one step of power iteration, warm-started with the Q⁻ of the round before [Vogels et al. 2019]; at first,
    and after a matrix of zeros, Q⁻ is drawn. A matrix that factors would not make smaller is sent whole. Bytes:
    r (m + n) numbers for m × n. Contraction δ = r/min(m, n), in expectation where Q⁻ was just drawn; a warm start does
    better where matrices resemble those before, and never worse than δ = 0.
    """

    rank: int = Field(ge=1, description="r, columns of each factor")

    def codec(self, layout: Layout, dtype: torch.dtype, device: torch.device) -> Codec:
        from mpidl.compressors.lowrank import LowRankCodec

        return LowRankCodec(layout, dtype, device, self.rank)

    def contraction(self, layout: Layout) -> float | None:
        matrices = [matrix_of(shape, self.rank) for shape in layout.shapes]
        return min((matrix.rank / min(matrix.rows, matrix.columns) for matrix in matrices if matrix), default=1.0)

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
