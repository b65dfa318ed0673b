"""More mistakes, of who sweeps, watches, or brings data of torch's: each is answered in one sentence with the cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_errors import mistake

SETS = """
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

x, y = torch.rand(100, 8, 8), torch.arange(100) % 10
both = TensorDataset(x, y)

class Image:
    pass

class JpegImage(Image):
    pass

class Mapped(Dataset):
    def __init__(self, make, count=100):
        self.make, self.count = make, count

    def __getitem__(self, number):
        return self.make(number)

    def __len__(self):
        return self.count

def one(): return both
def listed(): return [both, both]
def loaders(): return DataLoader(both), DataLoader(both)
def four(): return x, y, x, y
def nothing(): pass
def tensors(): return (x, y), (x, y)
def images(): return Mapped(lambda n: (JpegImage(), 1)), both
def named(): return Mapped(lambda n: (x[n], "cat")), both
def keyed(): return Mapped(lambda n: {"x": x[n], "y": y[n]}), both
def rows(): return Mapped(lambda n: (x[n], torch.eye(10)[y[n]].long())), both
def empty(): return both, Mapped(None, 0)
"""


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("sweep", "Missing argument 'CONFIG': mpidl sweep takes [OPTIONS] CONFIG"),
        ("sweep small.yaml -s seed=1:3 --resume", "a sweep that is said again does what is missing"),
        ("sweep small.yaml -s seed=1:3 --overwrite", "remove a run's file to have it trained anew"),
        ("sweep small.yaml -s seed=1:3 -j 2", "say --at-once, and how many runs"),
        ("sweep small.yaml -s seed=1:3 --dry_run", "Did you mean '--dry-run'?"),
        ("sweep small.yaml --seed=1,2", "settings are said by -s, as in -s seed=…"),
        ("sweep small.yaml -s seed=1..3", "input should be a valid integer; mpidl sweep takes several"),
        ("sweep small.yaml -s seed=1-3", "mpidl sweep takes several, as in 1,2,3 or 1:3"),
        ("sweep small.yaml -s algorithm.lr=0.1;0.2", "mpidl sweep takes several, as in 1,2,3 or 1:3"),
        (
            "sweep small.yaml -s algorithm.lr=[0.1,0.2]",
            "[0.1, 0.2] is not allowed: input should be a valid number; m",
        ),
        ("sweep small.yaml -s algorithm.lr=1e-3:1e-1", "mpidl sweep takes several, as in 1,2,3 or 1:3"),
        ("sweep run.h5 -s seed=1,2", "give a configuration, in YAML; with it, --resume and -o run.h5"),
        ("run small.yaml -s algorithm.lr=0.1,0.2", "input should be a valid number; mpidl sweep"),
        ("run small.yaml -s seed=1:3", "'1:3' is not allowed: input should be a valid integer; mpidl sweep takes"),
        ("run small.yaml -s train.walltime=1:30", "train.walltime: '1:30' is not a time; write 90 (seconds)"),
        ("run small.yaml -s seed=010", "-s 'seed=010', line 1: 010 is 8 to some, 10 to others; leave the 0 out"),
        ("run small.yaml -s algorithm.optimizer=adam", "did you mean 'algorithm.direction'?"),
        ("run small.yaml -s evaluate.models=local,consensus", "should be a list, such as ['local', 'consensus']"),
        ("submit small.yaml --schedular slurm", "did you mean --scheduler?"),
        ("run small.yaml --lr 0.1", "settings are said by -s, as in -s algorithm.lr=…"),
        ("run small.yaml --algorithm.lr=0.1", "settings are said by -s, as in -s algorithm.lr=…"),
        ("run small.yaml --batch-size 32", "settings are said by -s, as in -s data.batch=…"),
        ("run small.yaml --continue", "No such option '--continue'; say --resume"),
        ("run small.yaml -np 4", "'p' is not a whole number; MPI's -np is -n here"),
        ("run small.yaml --np 4", "say -n, and how many ranks"),
        ("run small.yaml -s train.log=true", "True is not allowed: name tensorboard or wandb, or a list of them"),
        ("run small.yaml -s train.log.wandb=true", "name tensorboard or wandb, or a list of them"),
        ("run small.yaml -s log=tensorboard", "'log' is not known; did you mean 'train.log'?"),
        ("selftest --np 4", "say -n, and how many ranks"),
        ("env small.yaml", "extra argument (small.yaml): mpidl env takes [OPTIONS]"),
        ("show run --watch", "'run' is not there, nor will be: the name of a run file ends in .h5"),
        ("show run.h5 --follow", "No such option '--follow'; say --watch"),
        ("watch run.h5", "that is `mpidl show RUN.h5 --watch`"),
        ("status run.h5", "that is `mpidl show RUN.h5`"),
    ],
)
def test_what_is_said_elsewhere_is_answered_with_how_it_is_said_here(
    capsys: pytest.CaptureFixture[str], folder: Path, words: str, answer: str
) -> None:
    (folder / "run.h5").write_bytes(b"\x89HDF\r\n\x1a\n\xff")
    assert answer in mistake(capsys, folder, *words.split())


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("one", "returned TensorDataset, neither an mpidl.data.Dataset nor a tuple (train, test)"),
        ("listed", "returned a list of TensorDataset, TensorDataset, neither an mpidl.data.Dataset nor a tuple"),
        ("loaders", "returned a tuple of DataLoader, DataLoader, neither"),
        ("four", "returned a tuple of Tensor, Tensor, Tensor, Tensor, neither an mpidl.data.Dataset nor"),
        ("nothing", "returned NoneType, neither"),
        ("tensors", "is Tensor; each must be a pair (x, y) of tensors, arrays or numbers: TensorDataset(x, y) makes"),
        ("images", "x of example 0 of the training data set is JpegImage; each must be a pair (x, y)"),
        ("named", "is str; each must be a pair (x, y) of tensors, arrays or numbers: number the classes from 0"),
        ("keyed", "example 0 of the training data set is dict; each must be a pair (x, y)"),
        ("rows", "not of shape (100, 10); of rows with a 1 for the class take argmax(1)"),
        ("empty", "the test data set has no example; hold some of the data out for it"),
        ("both", "a data set must be a function or a class, not TensorDataset; name a function that returns it"),
    ],
)
def test_data_sets_of_torch_that_are_none_are_told_with_what_they_should_be(
    capsys: pytest.CaptureFixture[str], folder: Path, name: str, answer: str
) -> None:
    (folder / "torch_sets.py").write_text(SETS)
    sentence = mistake(capsys, folder, "run", "small.yaml", "-n", "2", "-s", f"data=torch_sets:{name}", "--dry-run")
    assert answer in sentence
    assert ("wants a transform to a tensor" in sentence) == (name == "images")
