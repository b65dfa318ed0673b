"""Runs that are compared bit for bit: on other ranks, and stopped and resumed."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tests.algorithms.problems import run
from tests.ranks import all_arrive

Saved = dict[str, list[tuple[tuple[int, ...], Any]]]
"""The whole declared state by name: the ids and values that each rank held."""


def parts(comm: Any, *steps: Sequence[int]) -> Iterator[Any]:
    """For each step in turn, this rank's communicator where the ranks form parts of these sizes, side by side.

    Ranks that are left over wait, and leave the cores to the others.
    """
    from mpi4py import MPI

    for sizes in steps:
        number = next((n for n in range(len(sizes)) if comm.rank < sum(sizes[: n + 1])), MPI.UNDEFINED)
        part = comm.Split(number, comm.rank)
        if part != MPI.COMM_NULL:
            yield part
            part.Free()
        all_arrive(comm)


def assert_same(first: Any, other: Any, what: str) -> None:
    """Both outcomes hold the same bits."""
    assert np.array_equal(first.rows, other.rows), f"parameters differ: {what}"
    assert len(first.records) == len(other.records)
    for one, two in zip(first.records, other.records, strict=True):
        assert one.keys() == two.keys()
        for key in one:
            assert np.array_equal(one[key], two[key], equal_nan=True), f"{key} of round {one['round']} differs: {what}"


def assert_resuming_twice_is_exact(config: Any, comm: Any, ways: Sequence[tuple[int, int, int]]) -> None:
    """Stopped after a third and after two thirds of its rounds, on so many ranks each time, a run ends as it would.

    Twice, because what a first resume leaves behind shows at the second.
    """
    whole, rounds = run(config, comm), config.train.rounds
    stops = (rounds // 3, 2 * rounds // 3)
    for way in ways:
        saved: Saved | None = None
        for ranks, begin, end in zip(way, (0, *stops), (*stops, None), strict=True):
            result = None
            for part in parts(comm, (ranks,)):
                if end is not None:
                    result = _train(config, part, saved, begin, end)
                else:
                    resumed = run(config, part, before=functools.partial(_resume, saved=saved, done=begin))
                    assert np.array_equal(resumed.rows, whole.rows), f"{way} ranks"
                    _assert_records_continue(whole.records, resumed.records)
            saved = comm.bcast(result)


def _train(config: Any, comm: Any, saved: Saved | None, begin: int, end: int) -> Saved:
    """The state after the rounds from `begin` to `end`."""
    from mpidl.experiment.compose import compose

    composed = compose(config, comm)
    if saved is not None:
        _resume(composed, saved, begin)
    # The schedule still sees the whole run; only the loop ends early.
    composed.training.rounds = end
    composed.training.run()
    composed.training.settle()
    mine = {declared.name: (ids, values.clone()) for declared, ids, values in composed.state.items()}
    saved = {name: comm.allgather(part) for name, part in mine.items()}
    composed.close()
    return saved


def _resume(composed: Any, saved: Saved, done: int) -> None:
    for name, parts in saved.items():
        held = [item for ids, _ in parts for item in ids]
        lazy = composed.state.declarations[name].lazy
        assert not lazy or len(held) == len(set(held)), f"{name}: an item was left behind on a second rank"
        for ids, values in parts:
            composed.state.load(name, ids, values)
    composed.training.done = done


def _assert_records_continue(whole: list[dict[str, Any]], resumed: list[dict[str, Any]]) -> None:
    """Models measured after a resume are those of the undisturbed run."""
    later = {record["round"]: record for record in whole}
    for record in resumed:
        for key, value in record.items():
            if key.startswith(("test_", "consensus_distance", "lr", "epoch")):
                assert np.array_equal(value, later[record["round"]][key]), key
