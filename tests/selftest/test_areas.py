"""The check-up passes where all is well, and names what is wrong: each area has a fault put in on purpose."""

from __future__ import annotations

import errno
import functools
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.ranks import on_ranks

Patch = Callable[[pytest.MonkeyPatch, Any], None]


def examined(comm: Any, folder: Path, *names: str, patience: float = 55, late: Any = None, **changed: Any) -> list[Any]:
    """The verdicts on these areas, or on all."""
    from mpidl.comm.world import World
    from mpidl.selftest.area import Site
    from mpidl.selftest.areas import AREAS
    from mpidl.selftest.examine import examine

    world = World(comm, 2 * comm.size + 1, "cpu")
    areas = [area for area in AREAS if not names or area.name in names]
    told: list[Any] = []
    verdicts = examine(Site(world, folder, **changed), areas, patience, told.append, late)
    assert told == (verdicts if comm.rank == 0 else [])
    world.close()
    return verdicts


@on_ranks(1, 3)
def test_every_area_passes_where_all_is_well(comm, tmp_path):
    from mpidl.comm.start import launchers

    with pytest.MonkeyPatch.context() as patch:
        # Some of the ranks that were launched stand for all.
        patch.setattr(launchers, "find", lambda environment: launchers.ALONE)
        verdicts = examined(comm, tmp_path)
    skipped = {"GPU"} | ({"messages"} if comm.size == 1 else set())
    assert {each.area: (each.outcome, each.text) for each in verdicts if each.outcome == "failed"} == {}
    assert {each.area for each in verdicts if each.outcome == "skipped"} - skipped == set()
    assert comm.allgather(verdicts) == comm.size * [verdicts]


def another_mpi(patch: pytest.MonkeyPatch, comm: Any) -> None:
    from mpidl.comm.start import launchers

    hydra = next(each for each in launchers.LAUNCHERS if "Hydra" in each.name)
    place = launchers.Place(hydra, comm.rank, comm.size + 1, comm.rank, comm.size + 1)
    patch.setattr(launchers, "find", lambda environment: place)


def altered_message(patch: pytest.MonkeyPatch, comm: Any) -> None:
    from mpidl.comm.gossip.messages import Batch

    wait = Batch.wait

    def altering(batch: Any) -> None:
        wait(batch)
        received = batch._tensors[0]
        if comm.rank == 1 and received.nbytes > 4096:
            received[-1] += 1

    patch.setattr(Batch, "wait", altering)


def full_memory(patch: pytest.MonkeyPatch, comm: Any) -> None:
    from mpidl.comm import sharing

    def full(handle: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if comm.rank == 2:
        patch.setattr(sharing.os, "posix_fallocate", full)


def sums_in_any_order(patch: pytest.MonkeyPatch, comm: Any) -> None:
    from mpidl.comm.reduce import Reducer
    from mpidl.selftest import sums

    patch.setattr(sums, "Reducer", functools.partial(Reducer, deterministic=False))


def wrong_weight(patch: pytest.MonkeyPatch, comm: Any) -> None:
    from mpidl.comm.gossip.exchange import RowExchange

    mix = RowExchange.mix

    def mixing(exchange: Any, block: Any, t: int) -> Any:
        mixed = mix(exchange, block, t)
        if comm.rank == 1:
            mixed[0, 5] += 1e-9
        return mixed

    patch.setattr(RowExchange, "mix", mixing)


def wrong_product(patch: pytest.MonkeyPatch, comm: Any) -> None:
    import torch

    from mpidl.selftest import transport

    class Gpu:
        """Stands for a GPU that errs, on a machine without."""

        type = "cuda"

        def __str__(self) -> str:
            return "cuda:0"

    real = torch.matmul
    patch.setattr(transport, "devices", SimpleNamespace(resolve=lambda wanted: Gpu(), name=str))
    patch.setattr(transport.makers, "torch_build", lambda: transport.makers.Build(transport.makers.AMD, "6.4"))
    patch.setattr(transport.probe, "reaches_gpus", lambda world, device: False)
    patch.setattr(torch.Tensor, "to", lambda tensor, device: tensor)
    patch.setattr(torch, "matmul", lambda one, other: real(one, other) + (comm.rank == 1))


def flipped_bit(patch: pytest.MonkeyPatch, comm: Any) -> None:
    from mpidl.results.checkpoints.folder import CheckpointFolder, part_name

    complete = CheckpointFolder.complete

    def damaging(folder: Any, round: int) -> None:
        complete(folder, round)
        path = folder.of_round(round) / part_name(1)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    patch.setattr(CheckpointFolder, "complete", damaging)


def forgotten_state(patch: pytest.MonkeyPatch, comm: Any) -> None:
    from mpidl.state import State

    load = State.load

    def forgetting(state: Any, name: str, ids: Any, values: Any) -> None:
        load(state, name, ids, values * 0 if "momentum" in name else values)

    patch.setattr(State, "load", forgetting)


def numbers_by_ranks(patch: pytest.MonkeyPatch, comm: Any) -> None:
    from mpidl.training.loop import Training

    run_round = Training.run_round

    def depending(training: Any) -> None:
        run_round(training)
        if training.done == 1:
            training.algorithm.model(training.algorithm.models[-1])[0, 0] += 1e-6 * training.world.size

    patch.setattr(Training, "run_round", depending)


FAULTS: dict[str, tuple[str, Patch, tuple[str, ...]]] = {
    "ranks of another MPI's launcher": ("MPI", another_mpi, ("started 4 processes", "sees 3", "mpi4py")),
    "a message altered on its way": ("messages", altered_message, ("to rank 1", "1 arrive altered", "--mca")),
    "a full /dev/shm": ("shared memory", full_memory, ("rank 2: /dev/shm has no room", "--shm-size")),
    "a sum that depends on placement": ("reduction", sums_in_any_order, ("have other bits (by MPI's own)",)),
    "a weight that is wrong": ("graph", wrong_weight, ("on ring by", "off the product")),
    "a GPU that errs": ("GPU", wrong_product, ("rank 1: ", "of a product on cuda:0 are wrong", "rocm-smi")),
    "a checkpoint with a flipped bit": ("checkpoint", flipped_bit, ("rank-00001.h5 does not have its checksum",)),
    "a state that is not resumed": ("checkpoint", forgotten_state, ("other bits once the run was resumed",)),
    "numbers that depend on ranks": ("determinism", numbers_by_ranks, ("on one rank, a run has other bits",)),
}


@on_ranks(3)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_in_its_area(comm, tmp_path, fault):
    name, put_in, words = FAULTS[fault]
    with pytest.MonkeyPatch.context() as patch:
        put_in(patch, comm)
        (verdict,) = examined(comm, tmp_path, name)
    assert verdict.outcome == "failed"
    for word in words:
        assert word in verdict.text
    assert "; " in verdict.text and "\n" not in verdict.text


@on_ranks(3)
def test_where_nothing_can_be_written_what_needs_it_is_left_out(comm, tmp_path):
    place = tmp_path / "file"
    if comm.rank == 0:
        place.write_text("no folder")
    comm.Barrier()
    verdicts = examined(comm, place / "below", "output", "checkpoint", "determinism")
    assert [each.outcome for each in verdicts] == ["failed", "skipped", "skipped"]
    assert "cannot be written: Not a directory; name another folder with -o" in verdicts[0].text
    assert verdicts[1].text == "it needs output"


@on_ranks(1)
def test_a_gpu_that_cannot_be_used_is_told(comm, tmp_path):
    (verdict,) = examined(comm, tmp_path, "GPU", gpu_problem="cuda:0 is there, but cannot be used: old driver")
    assert verdict.outcome == "failed" and "old driver" in verdict.text


@on_ranks(3)
@pytest.mark.parametrize("failing", [False, True], ids=["waits", "has failed"])
def test_an_area_that_hangs_is_named_with_who_is_late_or_why(comm, tmp_path, failing):
    from mpidl.comm.probe import RollCall
    from mpidl.comm.world import World
    from mpidl.errors import ExitCode
    from mpidl.selftest.area import Area, Site
    from mpidl.selftest.examine import examine

    answered, released, told = tmp_path / "answered", tmp_path / "released", []
    speaking = 1 if failing else 2
    answer, heard = RollCall.answer, RollCall.heard

    def hang(site: Any) -> str:
        if comm.rank == speaking and failing:
            raise OSError(errno.EIO, "the disk is gone")
        if comm.rank != speaking:
            wait_for(released)
        return "it came to its end"

    def answering(roll_call: Any, texts: list[str]) -> list[list[str]]:
        answers = answer(roll_call, texts)
        if comm.rank == speaking:
            answered.touch()
        return answers

    def hearing(roll_call: Any) -> dict[int, list[str]]:
        wait_for(answered)
        return heard(roll_call)

    def late(verdict: Any, code: Any) -> None:
        told.append((verdict, code))
        released.touch()

    world = World(comm, 3, "cpu")
    area = Area("endless", hang, ExitCode.COMMUNICATION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RollCall, "answer", answering)
        patch.setattr(RollCall, "heard", hearing)
        examine(Site(world, tmp_path), [area], 0.3, lambda verdict: None, late)
    world.close()
    if comm.rank == 0:
        ((verdict, code),) = told
        assert (verdict.area, verdict.outcome, code) == ("endless", "failed", 5)
        if failing:
            assert verdict.text.startswith("rank 1: ") and "the disk is gone" in verdict.text
        else:
            assert verdict.text.startswith("ranks 0, 1 did not come to an end within 0.3 s (rank 0 is in selftest/")


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def test_who_is_told_of_as_late_says_nothing_more() -> None:
    """The end of all ranks takes a while, in which what was late may come to its end."""
    import threading

    from mpidl.selftest.examine import within

    begun, said = threading.Event(), []

    def late() -> None:
        begun.set()
        time.sleep(0.1)
        said.append("late")

    with within(0.0, late):
        begun.wait()
    assert said == ["late"]
