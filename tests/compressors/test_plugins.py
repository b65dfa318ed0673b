"""A compressor from a user's own file, by module:Class."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
import torch

from mpidl.compressors import COMPRESSORS
from mpidl.errors import ConfigError
from tests.compressors.cases import CPU, DRAW, layout_of, packed, rows

NAMES = itertools.count()
EVERY_NTH = '''
"""Some numbers of a row in turn; used as  compressor: {name: "mine:EveryNth", n: 4}."""

from pydantic import Field

from mpidl.compressors import Codec, Compressor


class EveryNth(Compressor):
    """Every n-th number, from another place in each round."""

    n: int = Field(ge=1, description="one of how many is sent")

    def codec(self, layout, dtype, device):
        return Strided(self.n, layout.size // self.n, dtype)

    def contraction(self, layout):
        return 0.0

    def variance(self, layout):
        return None


class Strided(Codec):
    def __init__(self, n, count, dtype):
        self.n, self.count, self.dtype = n, count, dtype
        self.nbytes = count * dtype.itemsize

    def sent(self, row, draw):
        first = draw.index % self.n
        return row[first : first + self.n * self.count : self.n]

    def pack(self, row, out, draw, memory=None):
        out.view(self.dtype).copy_(self.sent(row, draw))

    def add(self, packed, out, weight, draw):
        self.sent(out, draw).add_(packed.view(self.dtype), alpha=weight)

    def unpack(self, packed, out, draw):
        self.add(packed, out.zero_(), 1.0, draw)


class Unfinished(Compressor):
    pass
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    name = f"compressor_plug_in_{next(NAMES)}"
    (tmp_path / f"{name}.py").write_text(EVERY_NTH)
    return name


def test_a_compressor_of_ones_own_is_named_like_any_other(module: str) -> None:
    part = COMPRESSORS.parse({"name": f"{module}:EveryNth", "n": 4})
    row = rows(102)
    codec = part.codec(layout_of(102), row.dtype, CPU)
    result = torch.empty_like(row)
    codec.unpack(packed(codec, row), result, DRAW)
    assert (codec.nbytes, dict(codec.memory)) == (25 * 4, {})
    assert torch.equal(result[3:103:4], row[3:103:4]) and result.count_nonzero() <= 25


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"name": "{module}:EveryNth"}, "n: is missing"),
        ({"name": "{module}:EveryNth", "n": 0}, "n: "),
        ({"name": "{module}:Unfinished"}, "does not define codec"),
        ({"name": "{module}:Strided"}, "must be a class that inherits Compressor"),
        ({"name": "topkk"}, "compressor 'topkk' is not known; did you mean 'topk'?"),
        ({"name": "topk", "fraction": 0}, "fraction: "),
        ({"name": "topk", "fraction": 0.1, "per": "tensors"}, "per"),
        ({"name": "qsgd", "bits": 1}, "bits: "),
    ],
)
def test_what_is_wrong_with_one_is_said_in_one_sentence(module: str, keys: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        COMPRESSORS.parse(
            {key: str(value).replace("{module}", module) if key == "name" else value for key, value in keys.items()}
        )
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
