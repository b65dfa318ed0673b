"""Map-style data sets become data as they are; what cannot be dealt is refused in a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from mpidl.data import DATA, from_pairs
from mpidl.errors import DataError

X, Y = torch.arange(24.0).reshape(6, 4), torch.arange(6) % 3
WHOLE = TensorDataset(X, Y)


class Listed(list):
    """A data set that torch knows nothing of: a list of pairs."""


class Drawn(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, number):
        return torch.rand(2), 0


class Endless(IterableDataset):
    def __iter__(self):
        yield X[0], 0


def test_what_torch_reads_is_what_agents_get():
    data = from_pairs(WHOLE, TensorDataset(X[:2], Y[:2]), owner=[0, 0, 1, 1, 2, 2])
    assert data.task == "classification" and data.outputs == 3
    assert np.array_equal(data.x, X.numpy()) and np.array_equal(data.y, Y.numpy())
    assert np.array_equal(data.x_test, X[:2].numpy()) and data.owner.tolist() == [0, 0, 1, 1, 2, 2]
    plain = from_pairs(Listed([(1.5, 2.5), (2.5, 3.5)]), Listed([(0.5, 1.0)]))
    assert plain.task == "regression" and plain.x.dtype == np.float32 and plain.y.tolist() == [2.5, 3.5]
    tokens = from_pairs(
        TensorDataset(Y[None, :-1], Y[None, 1:]), TensorDataset(Y[None, :-1], Y[None, 1:]), task="language"
    )
    assert tokens.task == "language" and tokens.outputs == 3


def test_a_function_may_return_a_tuple_of_them(tmp_path, monkeypatch):
    text = """
import torch
from torch.utils.data import TensorDataset
whole = TensorDataset(torch.eye(4), torch.arange(4) % 2)
def two(): return whole, whole
def owned(): return whole, whole, [0, 0, 1, 1]
def three(): return whole, whole, [0, 0, 1]
def failing(): return Failing(), whole
class Failing:
    def __len__(self): return 4
    def __getitem__(self, number): raise OSError("no such picture")
"""
    (tmp_path / "paired.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert len(DATA.parse("paired:two").load()) == 4
    source = DATA.parse({"name": "paired:owned", "split": "given"})
    assert source.deal(source.load(), 2, 0).sizes.tolist() == [2, 2]
    for name, sentence in (("three", "4 training examples, but 3 owners"), ("failing", "OSError: no such picture")):
        with pytest.raises(DataError, match=sentence):
            DATA.parse(f"paired:{name}").load()


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (Drawn(), "gives another example 0 when it is asked again; leave random transforms out"),
        (Endless(), r"the training data set has no length \(__len__\)"),
        (Listed(), "the training data set has no example"),
        (Listed([3]), r"example 0 of the training data set is int; each must be a pair \(x, y\)"),
        (Listed([(X[0], 0, 1)]), "example 0 of the training data set is tuple"),
        (Listed([(object(), 0)]), "x of example 0 of the training data set is object; each must be a pair"),
        (Listed([(X[0], 0), (X[0, :2], 0)]), r"example 1 of the training data set has shape \(2,\), example 0 \(4,\)"),
        (
            Listed([(X[0], 0), (X[0], 0.5)]),
            "example 1 of the training data set has float32, example 0 int64;",
        ),
    ],
)
def test_what_cannot_be_dealt_is_refused(train, sentence):
    with pytest.raises(DataError, match=sentence):
        from_pairs(train, WHOLE)
