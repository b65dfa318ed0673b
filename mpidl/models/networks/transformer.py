"""A decoder-only transformer."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional


class CausalAttention(nn.Module):
    """Attention in which a position sees itself and those before it [Vaswani et al. 2017, section 3.2]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        examples, length, width = x.shape
        split = self.inputs(x).reshape(examples, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout if self.training else 0.0, is_causal=True
        )
        return self.output(mixed.transpose(1, 2).reshape(examples, length, width))


class TransformerBlock(nn.Module):
    """Attention, then a layer of four widths, each on a normalised copy and added to the residual stream."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.contract(functional.gelu(self.expand(self.norm2(x)))))


class Transformer(nn.Module):
    """[examples, length] tokens to the scores of every next token, [examples, length, vocabulary]."""

    def __init__(
        self, vocabulary: int, context: int, layers: int, heads: int, width: int, dropout: float, tied: bool
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.drop = nn.Dropout(dropout)
        blocks = [TransformerBlock(width, heads, dropout) for _ in range(layers)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for block in blocks:
            for projection in (block.attention.output, block.contract):
                nn.init.normal_(projection.weight, std=0.02 / math.sqrt(2 * layers))
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        positions = self.positions.weight[: x.shape[1]]
        return self.head(self.norm(self.blocks(self.drop(self.tokens(x) + positions))))
