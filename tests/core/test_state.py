"""What is declared is all that a run remembers: it can be saved, loaded elsewhere, and counted without memory."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from mpidl.declarations import Kind
from mpidl.rows import room
from mpidl.state import State

AGENTS, PARAMETERS = 5, 6
EDGES = [(0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3)]


def declared(agents: Sequence[int], device: str = "cpu") -> State:
    """One state of every kind."""
    state = State(agents, AGENTS, PARAMETERS, torch.float32, device)
    state.rows("parameters", 1.0)
    state.lazy_rows("corrections", 0.5)
    state.edge_rows("replicas", EDGES)
    state.scalars("weights", 1.0)
    state.server("momentum")
    state.factors("basis", (2, 3), 0.25)
    state.buffers("counters", 4, torch.int64)
    state.scratch(2, PARAMETERS)
    return state


def test_every_kind_has_its_shape_and_its_start():
    state = declared((1, 3))
    states = {item.name: (item, ids, values) for item, ids, values in state.items()}
    assert [item.kind for item, _, _ in states.values()] == [
        *(Kind.ROWS, Kind.ROWS, Kind.EDGE_ROWS, Kind.SCALARS, Kind.SERVER, Kind.FACTORS, Kind.BUFFERS)
    ]
    shapes = {name: tuple(values.shape) for name, (_, _, values) in states.items()}
    assert shapes == {
        "parameters": (2, 6),
        "corrections": (0, 6),
        "replicas": (3, 6),
        "weights": (2,),
        "momentum": (1, 6),
        "basis": (2, 2, 3),
        "counters": (2, 4),
    }
    for name, start in (("parameters", 1), ("replicas", 0), ("weights", 1), ("basis", 0.25), ("counters", 0)):
        assert (states[name][2] == start).all()
    assert states["weights"][2].dtype == torch.float64 and states["counters"][2].dtype == torch.int64
    assert states["parameters"][1] == states["weights"][1] == (1, 3)
    assert states["replicas"][1] == (1, 2, 4), "edges are held where they start"


def test_lazy_items_exist_once_touched():
    state = State((0, 1), AGENTS, PARAMETERS, torch.float64, "cpu")
    items = state.lazy_rows("corrections", 0.5)
    assert 4 not in items and items.touched() == []
    items[4][:] = 3
    assert (items[2] == 0.5).all() and (items[4] == 3).all() and items.touched() == [2, 4]
    ((item, ids, values),) = state.items()
    assert item.lazy and ids == (2, 4) and values.tolist() == [[0.5] * 6, [3.0] * 6]


def test_a_lazy_item_starts_from_a_vector_and_exists_on_one_rank_alone():
    start = torch.arange(6.0, dtype=torch.float64)
    first, second = (State((agent,), AGENTS, PARAMETERS, torch.float64, "cpu") for agent in (0, 1))
    here, there = (state.lazy_rows("models", start) for state in (first, second))
    assert torch.equal(here[0], start) and here[0].data_ptr() != start.data_ptr()
    here[0].mul_(2)
    there.adopt(0, here.release(0))
    assert here.touched() == [] and torch.equal(there[0], 2 * start)


def test_edge_rows_are_found_by_their_edge():
    state = State((1, 4), AGENTS, PARAMETERS, torch.float32, "cpu")
    rows = state.edge_rows("replicas", EDGES)
    assert list(rows) == [(1, 0), (1, 2), (4, 3)]
    rows[1, 2][:] = 7
    ((_, ids, values),) = state.items()
    assert ids == (1, 2, 5) and values[:, 0].tolist() == [0, 7, 0]


def test_what_two_ranks_held_is_loaded_on_three():
    def fill(state: State) -> None:
        for item, ids, values in state.items():
            for place, number in enumerate(ids):
                values[place] = 100 * len(item.name) + number

    olds, news = [declared((0, 1, 2)), declared((3, 4))], [declared(ids) for ids in ((0, 3), (1,), (2, 4))]
    for old in olds:
        old._values["corrections"][3]
        fill(old)
    # The items of a lazy state are saved as a copy.
    olds[0]._values["corrections"][3][:] = 1103
    for new in news:
        for old in olds:
            for item, ids, values in old.items():
                if not item.lazy or old is olds[0]:
                    new.load(item.name, ids, values)
    expected = {0: [0, 3], 1: [1], 2: [2, 4]}
    for number, new in enumerate(news):
        for item, ids, values in new.items():
            if item.kind in (Kind.SCALARS, Kind.BUFFERS, Kind.FACTORS) or item.name == "parameters":
                assert list(ids) == expected[number]
            numbers = [100 * len(item.name) + number for number in ids]
            assert values.flatten(1)[:, 0].tolist() == numbers if values.ndim > 1 else values.tolist() == numbers
        assert new._values["corrections"].touched() == ([3] if number == 0 else []), "held where its agent runs"


def test_bytes_are_known_without_memory():
    real, rehearsed = declared((1, 3)), declared((1, 3), "meta")
    assert rehearsed.bytes() == real.bytes()
    lazy = scratch = room(2, PARAMETERS, torch.float32)
    allocated = sum(values.untyped_storage().nbytes() for item, _, values in real.items())
    assert real.bytes() == allocated + lazy + scratch
    assert all(values.device.type == "meta" for item, _, values in rehearsed.items() if not item.lazy)


def test_storage_that_exists_is_used_and_may_move():
    state = State((0, 2), AGENTS, PARAMETERS, torch.float32, "cpu")
    blocks = torch.full((2, 2, PARAMETERS), 8.0)
    assert state.rows("parameters", 1.0, storage=blocks[0]).data_ptr() == blocks[0].data_ptr()
    assert (blocks[0] == 1).all() and (blocks[1] == 8).all()
    state.rebind("parameters", blocks[1])
    ((_, _, values),) = state.items()
    assert values.data_ptr() == blocks[1].data_ptr()
    state.load("parameters", [2], torch.full((1, PARAMETERS), 4.0))
    assert blocks[1, :, 0].tolist() == [8, 4]


def test_mistakes_of_an_owner_are_refused():
    state = declared((1, 3))
    with pytest.raises(ValueError, match="'parameters' is declared twice"):
        state.scalars("parameters")
    state.seal()
    with pytest.raises(ValueError, match="'late' is declared during the run"):
        state.number("late")
    with pytest.raises(ValueError, match="scratch memory is asked for during the run"):
        state.scratch_bytes(8)
    with pytest.raises(ValueError, match="'parameter' was never declared"):
        state.rebind("parameter", torch.zeros(2, PARAMETERS))
    with pytest.raises(ValueError, match="'parameter' was never declared"):
        state.renew("parameters", "parameter")
    with pytest.raises(ValueError, match=r"'parameters' has items of shape \(6,\), not \(1,\)"):
        state.load("parameters", [1], torch.zeros(1, 1))
