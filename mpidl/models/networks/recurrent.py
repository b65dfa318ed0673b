"""A stacked LSTM over characters, with the recurrence written out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Lstm(nn.Module):
    """A stacked LSTM over [examples, length, features], starting at zero; the equations and names of torch.nn.LSTM.

    i, f, g, o = the four quarters of W_ih x + b_ih + W_hh h + b_hh;  c = σ(f)·c + σ(i)·tanh(g);  h = σ(o)·tanh(c).
    """

    def __init__(self, features: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.layers = layers
        bound = 1 / math.sqrt(hidden)
        for layer in range(layers):
            shapes = {
                f"weight_ih_l{layer}": (4 * hidden, hidden if layer else features),
                f"weight_hh_l{layer}": (4 * hidden, hidden),
                f"bias_ih_l{layer}": (4 * hidden,),
                f"bias_hh_l{layer}": (4 * hidden,),
            }
            for name, shape in shapes.items():
                self.register_parameter(name, nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in range(self.layers):
            x = self._layer(x, layer)
        return x

    def _layer(self, x: Tensor, layer: int) -> Tensor:
        weight_ih, weight_hh, bias_ih, bias_hh = (
            getattr(self, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        # All positions of the input at once; only the recurrent product has to wait for its turn.
        inputs = functional.linear(x, weight_ih, bias_ih + bias_hh).unbind(1)
        hidden = cell = None
        states = []
        for gates in inputs:
            if hidden is not None:
                gates = gates + functional.linear(hidden, weight_hh)
            # The cell sums over the whole text, so under autocast it stays in the precision of the parameters.
            enter, keep, value, leave = gates.to(weight_ih.dtype).chunk(4, dim=1)
            new = torch.sigmoid(enter) * torch.tanh(value)
            cell = new if cell is None else torch.sigmoid(keep) * cell + new
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states, dim=1)


class CharacterNetwork(nn.Module):
    """Embedding, LSTM, and the scores of every next character: [examples, length] to [examples, length, vocabulary]."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = Lstm(embedding, hidden, layers)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(x)))
