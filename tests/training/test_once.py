"""Data are loaded by one rank of a node for all, or by each where they cannot be shared, with the same bits."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from mpidl.errors import DataError
from mpidl.sentences import describe
from tests.algorithms.problems import run
from tests.ranks import logged, on_ranks
from tests.training import plugins
from tests.training.runs import configuration, on_nodes, same

HOST = socket.gethostname()
ONE, TWO = ((0, 1, 2),), ((0, 2), (1,))


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def elsewhere(_: int) -> Any:
    return SimpleNamespace(st_dev=0, st_ino=0)


def of_counted(comm: Any, log: Path, nodes: tuple[tuple[int, ...], ...], **keys: Any) -> tuple[Any, int, list[str]]:
    """The outcome of a run, how often its data were loaded, and what rank 0 has logged of that."""
    config = configuration(problem="counted", data={"log": str(log), **keys})
    with on_nodes(*nodes), logged() as said:
        outcome = run(config, comm)
    comm.Barrier()
    return outcome, len(log.read_text().splitlines()), comm.bcast([text for _, text in said if "the data" in text])


@on_ranks(3)
def test_data_are_loaded_once_per_node(comm, tmp_path):
    expected = run(configuration(), comm)
    for name, nodes, loads in (("one", ONE, 1), ("two", TWO, 2), ("apart", ((0,), (1,), (2,)), 3)):
        outcome, loaded, said = of_counted(comm, tmp_path / name, nodes)
        assert same(outcome, expected) and (loaded, said) == (loads, [])


@pytest.mark.parametrize(
    ("function", "other", "why"),
    [
        ("memfd_create", full, f"the ranks on {HOST} load the data each by itself: memory for them: No space left"),
        ("ftruncate", full, f"the ranks on {HOST} load the data each by itself: memory for them: No space left"),
        ("fstat", elsewhere, "rank 1 loads the data by itself: memory of rank 0 belongs to another container"),
    ],
)
@on_ranks(3)
def test_without_memory_each_rank_of_a_node_loads_the_data_and_the_log_says_why(function, other, why, comm, tmp_path):
    expected = run(configuration(), comm)
    with mock.patch.object(os, function, other):
        outcome, loaded, said = of_counted(comm, tmp_path / "log", ONE)
    assert same(outcome, expected) and loaded == 3
    assert any(sentence.startswith(why) for sentence in said)


@on_ranks(3)
def test_a_rank_that_cannot_open_the_memory_loads_the_data_itself_and_no_other_does(comm, tmp_path):
    real = os.open

    def closed(path: Any, *rest: Any) -> int:
        if "/fd/" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *rest)

    expected = run(configuration(), comm)
    with mock.patch.object(os, "open", closed if comm.rank == 2 else real):
        outcome, loaded, said = of_counted(comm, tmp_path / "log", ONE)
    assert same(outcome, expected) and loaded == 2
    assert said == ["rank 2 loads the data by itself: memory of rank 0 Permission denied"]


@on_ranks(3)
def test_rows_of_a_users_own_class_are_loaded_by_each_rank(comm, tmp_path):
    outcome, loaded, (said,) = of_counted(comm, tmp_path / "log", ONE, own_rows=True)
    assert same(outcome, run(configuration(), comm)) and loaded == 3
    assert said.endswith("x is a Rows, which does not say that it is portable")


@on_ranks(3)
def test_an_error_of_the_rank_that_loads_is_raised_in_the_same_words_by_all_of_its_node(comm, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(DataError, match="'tests.training.plugins:counted' raised KeyError: 'no such data'") as caught:
        of_counted(comm, log, ONE, fails=True)
    (sentence,) = set(comm.allgather(describe(caught.value)[0]))
    assert "plugins.py, line " in sentence
    assert log.read_text() == "loaded\n"


@on_ranks(3)
def test_ranks_that_hold_the_data_hand_them_on_and_nobody_sees_what_another_writes(comm):
    from mpidl.comm.once import load_once
    from mpidl.comm.world import World

    def load() -> Any:
        raise AssertionError

    world, held = World(comm, 3), plugins.even() if comm.rank == 1 else None
    data = load_once(world, load, held)
    assert held is None or data is held
    again = load_once(world, load, data)
    assert again is data
    comm.Barrier()
    data.x[:] = comm.rank
    comm.Barrier()
    assert np.all(data.x == comm.rank) and np.array_equal(data.y, plugins.even().y)
    world.close()
