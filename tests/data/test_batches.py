"""Batches are a pure function of agent and step, the same wherever the data lie and however they are fetched."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mpidl.data import Dataset
from mpidl.data.batches import Batches
from mpidl.errors import ConfigError
from mpidl.rows import BOUNDARY
from mpidl.seeding import stream
from tests.data.dealt import SEED, batches_of, images, shares
from tests.gpus import KIND, needs_gpu


class Spy:
    """Rows that remember which of them were read, and by which threads."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype
        self.read: list[int] = []
        self.threads: set[str] = set()

    def take(self, indices: np.ndarray) -> np.ndarray:
        self.read += indices.tolist()
        self.threads.add(threading.current_thread().name)
        return self.rows[indices]


@pytest.fixture
def made() -> Iterator[list[Batches]]:
    every: list[Batches] = []
    yield every
    for batches in every:
        batches.close()


def test_a_pass_holds_every_example_once_in_the_order_of_its_stream() -> None:
    data = Dataset(np.arange(103.0)[:, None], np.arange(103) % 2, np.zeros((1, 1)), np.zeros(1, int))
    batches = batches_of(data, shares(), 8, dtype=torch.float64)
    assert batches.sizes == (40, 1, 32, 17)
    assert [batches.steps_per_pass(agent) for agent in range(4)] == [5, 1, 4, 3]
    assert [batches.smallest(agent) for agent in range(4)] == [8, 1, 8, 1]
    for agent, share in enumerate(shares()):
        steps = batches.steps_per_pass(agent)
        for turn in (0, 1, 3):
            columns = [batches.batch(agent, turn * steps + step)[0][:, 0] for step in range(steps)]
            assert [len(part) for part in columns[:-1]] == [8] * (steps - 1)
            assert len(columns[-1]) == len(share) - 8 * (steps - 1)
            assert [len(part) for part in columns] == [batches.examples(agent, turn * steps + s) for s in range(steps)]
            order = share[stream(SEED, "shuffle", agent, turn).permutation(len(share))]
            assert torch.equal(torch.cat(columns), torch.from_numpy(order).double())


def test_full_batches_are_all_of_an_agents_data_at_every_step() -> None:
    data = images()
    batches = batches_of(data, shares(), "full")
    for step in (0, 1, 9):
        x, y = batches.batch(2, step)
        assert x.shape == (32, 3, 9, 7) and torch.equal(y, torch.from_numpy(data.y[shares()[2]]))
        assert batches.examples(2, step) == batches.smallest(2) == 32
    assert batches.steps_per_pass(2) == 1


@pytest.mark.parametrize("batch", [8, "full"])
@pytest.mark.parametrize("keys", [{}, {"crop": 2, "flip": True}])
def test_streamed_owned_and_replicated_batches_are_the_same_bits(
    made: list[Batches], batch: int | str, keys: dict[str, object]
) -> None:
    own = {"place": "own"}
    ways = ({}, {"streamed": True}, own, own | {"streamed": True}, own | {"mine": [1]})
    made += [batches_of(images(), shares(), batch, **keys, **way) for way in ways]
    # Also steps asked for again, out of order, and passes taken backwards.
    for agent, step in [(0, 0), (0, 1), (2, 0), (0, 2), (0, 9), (0, 1), (3, 2), (1, 7), (2, 1), (0, 10)]:
        x, y = made[0].batch(agent, step)
        for other in made[1:]:
            assert torch.equal(other.batch(agent, step)[0], x) and torch.equal(other.batch(agent, step)[1], y)
    for other in made[1:]:
        for chunk in range(made[0].chunks(0)):
            assert torch.equal(other.chunk(0, chunk)[0], made[0].chunk(0, chunk)[0])
        for part in ("test", "validation"):
            assert torch.equal(other.test(part, 0)[0], made[0].test(part, 0)[0])


def test_agents_are_independent_of_each_other(made: list[Batches]) -> None:
    # Agent 2 alone gets what it gets among others, so that any rank may run any agent.
    together, alone = batches_of(images(), shares(), 8, flip=True), batches_of(images(), shares(), 8, flip=True)
    for step in range(6):
        for agent in range(3):
            batch = together.batch(agent, step)
        assert torch.equal(batch[0], alone.batch(2, step)[0])


def test_only_what_the_own_agents_own_is_read() -> None:
    data = images()
    spy = Spy(data.x)
    batches = batches_of(Dataset(spy, data.y, data.x_test, data.y_test), shares(), 8, mine=[1, 2], place="own")
    batches.batch(2, 3)
    assert set(spy.read) == set(shares()[1]) | set(shares()[2]) and len(spy.read) == 33
    # An agent that is adopted later is read when it is first asked for.
    batches.batch(0, 0)
    assert set(spy.read) == set(np.concatenate(shares()[:3]))


def test_streamed_batches_are_fetched_ahead_by_another_thread(made: list[Batches]) -> None:
    spy = Spy(images().x)
    made.append(batches_of(Dataset(spy, images().y, spy.rows, images().y), shares(), 8, streamed=True))
    for step in range(4):
        made[0].batch(0, step)
    made[0].close()
    # One more was begun before it was asked for; none was fetched twice.
    assert len(spy.read) in (32, 40) and len(set(spy.read)) == len(spy.read)
    assert threading.current_thread().name not in spy.threads


def test_an_error_while_fetching_ahead_reaches_the_caller(made: list[Batches]) -> None:
    spy = Spy(images().x)
    made.append(batches_of(Dataset(spy, images().y, spy.rows, images().y), shares(), 8, streamed=True))
    made[0].batch(0, 0)
    spy.take = lambda indices: 1 / 0
    with pytest.raises(ZeroDivisionError):
        for step in range(1, 4):
            made[0].batch(0, step)


def test_chunks_cover_each_part_once_and_in_order(made: list[Batches]) -> None:
    data = images()
    for streamed in (False, True):
        made.append(batches_of(data, shares(), 8, chunk=10, streamed=streamed))
        batches = made[-1]
        assert (batches.test_chunks(), batches.test_chunks("validation"), batches.chunks(2)) == (4, 2, 4)
        labels = [
            torch.cat([batches.test(part, at)[1] for at in range(batches.test_chunks(part))])
            for part in ("test", "validation")
        ]
        assert np.array_equal(labels[0], data.y_test) and np.array_equal(labels[1], data.y[shares().validation])
        own = torch.cat([batches.chunk(2, at)[1] for at in range(4)])
        assert np.array_equal(own, data.y[shares()[2]])


def test_where_data_lie_does_not_show_in_addresses(made: list[Batches]) -> None:
    """Plain floats, in chunks that begin anywhere in what an agent keeps of its own."""
    rng = np.random.default_rng(0)
    data = Dataset(
        rng.normal(size=(300, 5)), np.zeros(300, int), rng.normal(size=(70, 5)), np.zeros(70, int), classes=2
    )
    dealt = [np.arange(agent, 300, 3) for agent in range(3)]
    for place, streamed in (("own", False), ("replicate", False), ("replicate", True)):
        batches = batches_of(data, dealt, 7, dtype=torch.float64, place=place, streamed=streamed, chunk=33)
        made.append(batches)
        given = [batches.chunk(1, at)[0] for at in range(4)] + [batches.test("test", at)[0] for at in range(3)]
        given += [batches.batch(1, step)[0] for step in range(20)]
        assert all(x.data_ptr() % BOUNDARY == 0 for x in given), place


def test_without_a_validation_part_there_is_no_chunk_of_it() -> None:
    assert batches_of(images(), [np.arange(9)], 4).test_chunks("validation") == 0


def test_tensors_and_big_endian_arrays_are_taken_too() -> None:
    rows = np.arange(24.0).reshape(12, 2)
    labels = np.arange(12) % 3
    tensors = Dataset(
        torch.from_numpy(rows), torch.from_numpy(labels), torch.from_numpy(rows), torch.from_numpy(labels)
    )
    endian = Dataset(rows.astype(">f8"), labels.astype(">i2"), rows.astype(">f8"), labels.astype(">i2"))
    plain = Dataset(rows, labels, rows, labels)
    batches = [batches_of(data, [np.arange(12)], 5).batch(0, 1) for data in (plain, tensors, endian)]
    assert all(torch.equal(x, batches[0][0]) and torch.equal(y, batches[0][1]) for x, y in batches)


def test_a_step_that_cannot_be_is_refused() -> None:
    batches = batches_of(images(), shares(), 8)
    for agent, step in ((4, 0), (-1, 0), (0, -1)):
        with pytest.raises(ConfigError, match="there is no step"):
            batches.batch(agent, step)


def test_a_large_file_is_streamed_and_a_small_one_is_not(monkeypatch: pytest.MonkeyPatch, made: list[Batches]) -> None:
    spy = Spy(images().x)
    data = Dataset(spy, images().y, spy.rows, images().y)
    made.append(batches_of(data, shares(), 8))
    monkeypatch.setattr("mpidl.data.batches._LOADED_ON_CPU", 1000)
    made.append(batches_of(data, shares(), 8))
    made.append(batches_of(data, shares(), 8, mine=[1], place="own"))
    made.append(batches_of(images(), shares(), 8))
    assert [batches.streamed for batches in made] == [False, True, False, False]


@needs_gpu[0]
@needs_gpu[1]
@pytest.mark.parametrize("keys", [{}, {"crop": 2, "flip": True}])
def test_batches_on_a_gpu_are_those_on_the_cpu(made: list[Batches], keys: dict[str, object]) -> None:
    made.append(batches_of(images(), shares(), 8, **keys))
    ways = ({}, {"streamed": True}, {"place": "own"})
    made += [batches_of(images(), shares(), 8, device=KIND, **keys, **way) for way in ways]
    for step in range(20):
        for agent in range(4):
            x, y = made[0].batch(agent, step)
            for other in made[1:]:
                batch = other.batch(agent, step)
                assert batch[0].device.type == KIND and torch.equal(batch[1].cpu(), y)
                assert torch.allclose(batch[0].cpu(), x, rtol=0, atol=1e-6)
