"""Examples that stay in files: what is streamed, how often it is fetched, and what is looked at on the way."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mpidl.data import DATA, Dataset
from mpidl.data.batches import Batches, Storage
from mpidl.errors import DataError


class Spy:
    """Rows that count how often they are read."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype
        self.reads = 0

    def take(self, indices: np.ndarray) -> np.ndarray:
        self.reads += 1
        return self.rows[indices]


@pytest.mark.parametrize("agents", [64, 65, 130])
def test_no_batch_is_fetched_twice_however_many_agents_take_turns(agents: int) -> None:
    spy = Spy(np.zeros((agents, 2), np.float32))
    labels = np.zeros(agents, int)
    data = Dataset(spy, labels, spy.rows, labels)
    rounds = 4
    with closing(
        Batches(data, [np.array([agent]) for agent in range(agents)], 1, 0, Storage(streamed=True))
    ) as batches:
        for step in range(rounds):
            for agent in range(agents):
                batches.batch(agent, step)
    assert spy.reads <= (rounds + 1) * agents


@pytest.mark.parametrize("part", ["x", "y", "x_test", "y_test"])
@pytest.mark.parametrize("chunks", [None, (5, 3)])
@pytest.mark.parametrize("stream", [False, True])
def test_numbers_of_a_file_that_are_none_are_named_when_they_are_read(
    tmp_path: Path, part: str, chunks: tuple[int, int] | None, stream: bool
) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for name in ("x", "y", "x_test", "y_test"):
            rows = np.ones((30, 3))
            rows[17, 1] = np.nan if name == part else 1.0
            file.create_dataset(name, data=rows, chunks=chunks)
    keys = {"name": "hdf5", "file": str(tmp_path / "f.h5"), "task": "regression", "batch": 4, "stream": stream}
    source = DATA.parse(keys)
    data = source.load()

    def read_all() -> None:
        with closing(source.batches(data, source.deal(data, 1, 0), 0)) as batches:
            for step in range(8):
                batches.batch(0, step)
            batches.test("test", 0)

    with pytest.raises(DataError, match=f"^example 17 of {part} holds NaN or infinity"):
        read_all()


def test_a_large_test_part_counts_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = np.zeros((4, 10), np.float32), Spy(np.zeros((400, 10), np.float32))
    data = Dataset(small, np.zeros(4, int), large, np.zeros(400, int))
    shares = [np.arange(4)]
    assert not Batches(data, shares, 2, 0).streamed
    monkeypatch.setattr("mpidl.data.batches._LOADED_ON_CPU", 400 * 10 * 4 - 1)
    with closing(Batches(data, shares, 2, 0)) as batches:
        assert batches.streamed


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
@pytest.mark.parametrize("sharers, streamed", [(1, False), (2, True)])
def test_ranks_that_share_a_gpu_share_its_free_memory(
    sharers: int, streamed: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 96 bytes of training examples and 24 of test examples.
    data = Dataset(np.zeros((4, 4), np.float32), np.zeros(4, int), np.zeros((1, 4), np.float32), np.zeros(1, int))
    monkeypatch.setattr(f"torch.{kind}.mem_get_info", lambda device: (400, 1000))
    decide, decided = Batches._too_large, []

    def on_a_gpu(batches: Batches, *given: int) -> bool:
        # Only the decision is taken for a GPU, so that it can be seen without one.
        there, batches.device = batches.device, torch.device(kind)
        decided.append(decide(batches, *given))
        batches.device = there
        return False

    monkeypatch.setattr(Batches, "_too_large", on_a_gpu)
    DATA.parse("digits").batches(data, [np.arange(4)], 0, Storage(sharers=sharers))
    assert decided == [streamed]
