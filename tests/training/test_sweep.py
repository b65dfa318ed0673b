"""Runs that follow each other on the same ranks know nothing of each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpidl.errors import Stopped
from tests.ranks import on_ranks
from tests.training.resumed import PLUG_INS, asked
from tests.training.runs import configuration

# A module that counts its calls, and a network that draws random numbers which nobody has seeded.
OWN = """
import torch
from torch.nn.functional import cross_entropy

calls = 0
drawn = torch.rand(())

def loss(module, x, y):
    global calls
    calls += 1
    return cross_entropy(module(x), y, reduction="none") * (1 + drawn) * (1 + 0.01 * calls)
"""


def configurations(log: Path) -> dict[str, Any]:
    counted = {"problem": "counted", "data": {"log": str(log)}}
    packed = {"scheme": {"name": "choco", "gamma": 0.3}, "compressor": {"name": "qsgd", "bits": 4}}
    return {
        "plain": configuration(checkpoint={"every": 3}),
        "packed": configuration("qgm", gossip=packed, train={"precision": "float32"}),
        "counted": configuration(**counted),
        "counted again": configuration(**counted, model=PLUG_INS + "normed"),
        "diverging": configuration(problem="spiked"),
        "overlapped": configuration(
            {"name": "dsgd", "lr": 0.2, "order": "adapt-while-communicate"}, gossip={"overlap": True}
        ),
        "own": configuration(loss="sweeping:loss"),
        "server": configuration({"name": "scaffold", "lr": 0.2, "local_steps": 2}, data={"batch": 3}, graph=None),
        "again": configuration(seed=5, model=PLUG_INS + "dropping"),
    }


def walked(comm: Any, folder: Path, runs: dict[str, Any]) -> None:
    """These runs, one after another, as ranks of a sweep have them."""
    import torch

    from mpidl.experiment.sweep.handed import Handed
    from mpidl.experiment.sweep.member import Member
    from mpidl.experiment.sweep.walk import walk

    members = [
        Member(number, name, config, folder / f"{name}.h5", comm.size)
        for number, (name, config) in enumerate(runs.items())
    ]
    sys.modules.pop("sweeping", None)
    torch.manual_seed(3)
    try:
        walk(Handed.unpacked(Handed.of(members).packed()), comm)
    finally:
        comm.Barrier()


def columns(path: Path) -> dict[str, Any]:
    from mpidl import results

    run = results.open(path)
    return {name: run.metrics[name] for name in run.metrics if name != "seconds"} | {"status": run.status}


@on_ranks(2)
def test_a_run_has_the_same_bits_whatever_ran_before_it(comm: Any, tmp_path: Path) -> None:
    folder = Path(tmp_path)
    if comm.rank == 0:
        (folder / "sweeping.py").write_text(OWN)
    comm.Barrier()
    sys.path.insert(0, str(folder))
    try:
        runs = configurations(folder / "log")
        # The first of each is the last of the other, and none has another one before it twice.
        walked(comm, folder / "forward", runs)
        walked(comm, folder / "backward", dict(reversed(runs.items())))
    finally:
        sys.path.remove(str(folder))
    # To be checked, and for the first of the two runs that have them; each time by one rank for both.
    assert (folder / "log").read_text() == 4 * "loaded\n"
    for name in runs if comm.rank == 0 else []:
        one, other = (columns(folder / order / f"{name}.h5") for order in ("forward", "backward"))
        assert one["status"] == ("diverged" if name == "diverging" else "finished") and one.keys() == other.keys()
        for column, values in one.items():
            assert np.array_equal(other[column], values, equal_nan=column != "status"), (name, column)


@on_ranks(2)
def test_a_wish_to_stop_that_one_rank_has_heard_ends_the_sweep_on_all_of_them_between_two_runs(
    comm: Any, tmp_path: Path
) -> None:
    with asked(comm.rank == 1), pytest.raises(Stopped, match="^stopped between two runs; the same command goes on"):
        walked(comm, Path(tmp_path), {"plain": configuration()})
    assert not list(Path(tmp_path).iterdir())
