"""Rows begin on boundaries, whatever their length and wherever they stand."""

from __future__ import annotations

import pytest
import torch

from mpidl.rows import BOUNDARY, copied, items, new_rows, on_boundary, room
from mpidl.state import State


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("length", [1, 7, 32, 33])
def test_every_row_begins_on_a_boundary(dtype, length):
    blocks = new_rows((2, 3, length), dtype, "cpu")
    assert blocks.shape == (2, 3, length) and not blocks.any()
    assert all(row.data_ptr() % BOUNDARY == 0 and row.is_contiguous() for block in blocks for row in block)
    assert blocks.untyped_storage().nbytes() == room(6, length, dtype)
    copy = copied(blocks[1])
    assert copy.stride() == blocks[1].stride() and copy.data_ptr() != blocks[1].data_ptr()


def test_items_of_any_shape_are_rows():
    assert items(3, (), torch.float32, "cpu").shape == (3,)
    factors = items(3, (2, 5), torch.float32, "cpu")
    assert factors.shape == (3, 2, 5) and all(item.data_ptr() % BOUNDARY == 0 for item in factors)


def test_all_that_state_holds_begins_on_a_boundary():
    state = State((4, 5, 6), 9, 33, torch.float32, "cpu")
    blocks = [state.rows("rows"), state.buffers("buffers", 3, torch.int64), state.scratch(3, 33)]
    blocks.append(torch.utils._pytree.tree_leaves(state.edge_rows("edges", [(4, 5), (5, 4), (6, 4)])))
    assert all(row.data_ptr() % BOUNDARY == 0 for block in blocks for row in block)
    assert state.lazy_rows("lazy")[5].data_ptr() % BOUNDARY == 0
    assert state.server("server").data_ptr() % BOUNDARY == 0


def test_a_row_elsewhere_is_copied_to_a_boundary():
    memory = torch.arange(40.0)
    assert on_boundary(memory) is memory
    moved = on_boundary(memory[3:])
    assert moved.data_ptr() % BOUNDARY == 0 and torch.equal(moved, memory[3:])
