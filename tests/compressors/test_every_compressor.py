"""What every compressor promises, whatever it does to a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mpidl.compressors import COMPRESSORS, Draw
from mpidl.errors import DivergenceError
from tests.compressors import twins
from tests.compressors.cases import (
    CPU,
    DRAW,
    DTYPES,
    SETTINGS,
    codec_of,
    label,
    layout_of,
    memory_of,
    packed,
    rows,
    unpacked,
)

# The last is longer than a block.
SIZES = (0, 1, 7, 64, 140_001)

every = pytest.mark.parametrize("settings", SETTINGS, ids=label)


def test_every_registered_compressor_is_tested() -> None:
    assert {settings["name"] for settings in SETTINGS} == set(COMPRESSORS) == set(twins.TWINS)


@every
@pytest.mark.parametrize("size", SIZES)
def test_it_gives_what_its_twin_gives(settings: dict[str, Any], size: int) -> None:
    for dtype in DTYPES if size < 1000 else DTYPES[1:]:
        layout, row = layout_of(size), rows(size, dtype, size)
        result = unpacked(codec_of(settings, layout, dtype), row)
        expected = twins.compressed(row.numpy(), DRAW, layout, **settings)
        # Sums in another order may differ in the last bits, and with them, rarely, which way a number is rounded.
        exact = dtype == torch.float64
        close = np.isclose(result.numpy(), expected, rtol=1e-12 if exact else 3e-6, atol=1e-13 if exact else 1e-5)
        assert np.count_nonzero(~close) <= (0 if exact else 1 + size // 10_000)


@every
@pytest.mark.parametrize("size", SIZES)
def test_adding_is_adding_what_unpacking_gives(settings: dict[str, Any], size: int) -> None:
    for dtype in DTYPES:
        codec, row = codec_of(settings, layout_of(size), dtype), rows(size, dtype)
        message = packed(codec, row)
        alone, onto = torch.zeros_like(row), rows(size, dtype, 1)
        codec.add(message, alone, 1.0, DRAW)
        result = unpacked(codec, row)
        assert torch.equal(alone, result)
        before = onto.clone()
        codec.add(message, onto, 0.3, DRAW)
        torch.testing.assert_close(onto, before + 0.3 * result)


@every
def test_where_rows_and_messages_lie_changes_no_bit(settings: dict[str, Any]) -> None:
    size = 140_001
    for dtype in DTYPES:
        codec, row = codec_of(settings, layout_of(size), dtype), rows(size, dtype)
        message, onto = packed(codec, row), rows(size, dtype, 1)
        codec.add(message, onto, 0.3, DRAW)
        for shift in (1, 3, 8, 13):
            # Another codec, and another row before: nothing is left over from it.
            other = codec_of(settings, layout_of(size), dtype)
            packed(other, rows(size, dtype, 2))
            moved = torch.empty(size + shift, dtype=dtype)[shift:].copy_(row)
            memory = torch.full((codec.nbytes + 8 * shift,), 0xCD, dtype=torch.uint8)
            other.pack(moved, memory[8 * shift :], DRAW, memory_of(codec, dtype))
            assert torch.equal(memory[8 * shift :], message)
            assert (memory[: 8 * shift] == 0xCD).all()
            moved.copy_(rows(size, dtype, 1))
            other.add(memory[8 * shift :], moved, 0.3, DRAW)
            assert torch.equal(moved, onto)
            other.unpack(memory[8 * shift :], moved, DRAW)
            assert torch.equal(moved, unpacked(codec, row))


@every
@pytest.mark.parametrize("size", SIZES)
def test_a_row_of_zeros_stays_one(settings: dict[str, Any], size: int) -> None:
    for dtype in DTYPES:
        row = torch.zeros(size, dtype=dtype)
        assert torch.equal(unpacked(codec_of(settings, layout_of(size), dtype), row), row)


@every
def test_bytes_are_told_without_a_device(settings: dict[str, Any]) -> None:
    layout = layout_of(1000)
    meta = COMPRESSORS.parse(settings).codec(layout, torch.float32, torch.device("meta"))
    here = COMPRESSORS.parse(settings).codec(layout, torch.float32, CPU)
    assert (meta.nbytes, meta.memory) == (here.nbytes, here.memory)
    # Every byte is written, though a message may begin with anything in it.
    first, second = (torch.full((here.nbytes,), fill, dtype=torch.uint8) for fill in (0, 255))
    for out in (first, second):
        here.pack(rows(1000), out, DRAW, memory_of(here, torch.float32))
    assert torch.equal(first, second)


@every
def test_what_is_not_finite_is_refused_in_one_sentence(settings: dict[str, Any]) -> None:
    for dtype in DTYPES:
        codec = codec_of(settings, layout_of(140_001), dtype)
        for place, value in ((0, np.nan), (131_072, -np.inf), (140_000, np.inf)):
            row = rows(140_001, dtype)
            # Numbers that random-k does not send are not looked at.
            row[... if settings["name"] == "randomk" else place] = value
            with pytest.raises(DivergenceError, match="a row that should be compressed holds infinities") as caught:
                packed(codec, row)
            assert "\n" not in str(caught.value)


def test_a_draw_gives_the_same_numbers_at_each_call() -> None:
    draws = [Draw(1, "a", 2, 3), Draw(1, "a", 2, 4), Draw(1, "a", 3, 3), Draw(1, "b", 2, 3), Draw(2, "a", 2, 3)]
    numbers = [draw.stream().integers(2**62) for draw in draws]
    assert numbers == [draw.stream().integers(2**62) for draw in draws]
    assert len(set(numbers)) == len(draws)
