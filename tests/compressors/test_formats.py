"""What travels: how many bytes, which numbers, exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mpidl.compressors.levels import Levels
from mpidl.compressors.pieces import ON_CPU
from mpidl.compressors.selection import largest
from mpidl.errors import ConfigError, DivergenceError
from mpidl.layout import Layout
from tests.compressors import twins
from tests.compressors.cases import DRAW, codec_of, layout_of, memory_of, packed, rows, unpacked

# A matrix of 22 × 22, 250 numbers, 266 numbers.
LAYOUT = layout_of(1000)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "topk", "fraction": 0.01}, 10 * 4 + 10 * 4),
        ({"name": "topk", "fraction": 0.031}, 31 * 4 + 31 * 4),
        ({"name": "topk", "fraction": 0.032}, 32 * 4 + 125),
        ({"name": "topk", "fraction": 0.01, "per": "tensor"}, (5 + 2 + 3) * (4 + 4)),
        ({"name": "topk", "fraction": 0.01, "per": 64}, 16 * (4 + 4)),
        ({"name": "randomk", "fraction": 0.01}, 10 * 4),
        ({"name": "randomk", "fraction": 0.0001, "per": "tensor"}, 3 * 4),
        ({"name": "sign"}, 4 + 125),
        ({"name": "sign", "per": "tensor"}, 3 * 4 + 125),
        ({"name": "qsgd", "bits": 8}, 2 * 4 + 1000),
        ({"name": "qsgd", "bits": 3, "per": "row"}, 4 + 375),
        ({"name": "qsgd", "bits": 11, "per": "tensor"}, 3 * 4 + 1375),
        ({"name": "qsgd", "bits": 16, "per": 100}, 10 * 4 + 2000),
        ({"name": "lowrank", "rank": 2}, (2 * 44 + 250 + 266) * 4),
        ({"name": "lowrank", "rank": 11}, 1000 * 4),
        ({"name": "cast", "dtype": "bfloat16"}, 2000),
        ({"name": "cast", "dtype": "float32"}, 4000),
    ],
)
def test_bytes_are_those_of_the_formula(settings: dict[str, Any], expected: int) -> None:
    assert codec_of(settings, LAYOUT, torch.float32).nbytes == expected


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("length", [0, 1, 7, 8, 1000])
def test_levels_come_back_as_they_went(bits: int, length: int) -> None:
    highest = 2 ** (bits - 1) - 1
    levels = Levels(bits, length)
    assert levels.nbytes == -(-length // 8) * (bits % 8) + length * (bits // 8)
    numbers = torch.from_numpy(np.random.default_rng(bits).integers(-highest, highest + 1, length))
    numbers[:2] = torch.tensor([highest, -highest])[:length]
    message = torch.full((levels.nbytes,), 0xEE, dtype=torch.uint8)
    for start in range(0, length, 64):
        part = numbers[start : start + 64].to(levels.dtype)
        plain = levels.sent_as_they_are(message, start, start + len(part))
        if plain is None:
            levels.write(part, message, start)
        else:
            plain.copy_(part)
    for start in range(0, length, 16):
        stop = min(start + 16, length)
        assert levels.read(message, start, stop).tolist() == numbers[start:stop].tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 300, 40_000, 290_000, 300_000])
def test_topk_is_exact_whatever_the_row_looks_like(k: int, dtype: type) -> None:
    size = 300_000
    assert size > 2 * ON_CPU
    rng = np.random.default_rng(k)
    ramp = np.arange(size, dtype=dtype)
    shapes = {
        "random": rng.normal(size=size),
        "ties": rng.integers(-3, 4, size),
        "constant": np.full(size, -2.0),
        "ascending": ramp,
        "descending": -ramp[::-1],
        "tiny": rng.normal(size=size) * 1e-42,
        # What the sample sees is all there is, or nothing of it.
        "only where sampled": np.where(ramp % 65 == 0, 1 + ramp, 0),
        "only where not sampled": np.where(ramp % 65 == 0, 1e-3, 1 + ramp),
        "mostly zero": np.where(rng.random(size) < 1e-4, rng.normal(size=size), 0),
    }
    for name, values in shapes.items():
        row = values.astype(dtype)
        expected = np.sort(np.argsort(-np.abs(row), kind="stable")[:k])
        assert np.array_equal(largest(torch.from_numpy(row), k).numpy(), expected), name


def test_topk_keeps_the_lowest_of_equal_indices() -> None:
    row = torch.tensor([0.0, -2.0, 1.0, 2.0, 2.0, -0.0])
    assert unpacked(codec_of({"name": "topk", "fraction": 1 / 3}, layout_of(6), row.dtype), row).tolist() == [
        0,
        -2,
        0,
        2,
        0,
        0,
    ]
    assert largest(torch.zeros(9), 4).tolist() == [0, 1, 2, 3]


def test_the_sign_of_zero_is_plus() -> None:
    row = torch.tensor([0.0, -0.0, -3.0, 1.0])
    assert unpacked(codec_of({"name": "sign"}, layout_of(4), row.dtype), row).tolist() == [1, 1, -1, 1]


def test_what_is_drawn_changes_from_round_to_round() -> None:
    row = rows(1000)
    for settings in ({"name": "randomk", "fraction": 0.1}, {"name": "qsgd", "bits": 4}):
        codec = codec_of(settings, LAYOUT, row.dtype)
        assert not torch.equal(unpacked(codec, row), unpacked(codec, row, replace(DRAW, index=12)))


@pytest.mark.parametrize("settings", [{"name": "topk", "fraction": 1}, {"name": "randomk", "fraction": 1}])
def test_all_of_a_row_is_the_row(settings: dict[str, Any]) -> None:
    for dtype in (torch.float32, torch.float64):
        row = rows(1000, dtype)
        assert torch.equal(unpacked(codec_of(settings, LAYOUT, dtype), row), row)


def test_cast_to_the_own_type_is_the_row_and_wider_is_refused() -> None:
    row = rows(1000)
    assert torch.equal(unpacked(codec_of({"name": "cast", "dtype": "float32"}, LAYOUT, row.dtype), row), row)
    with pytest.raises(ConfigError, match="dtype: float64 is wider than the rows"):
        codec_of({"name": "cast", "dtype": "float64"}, LAYOUT, row.dtype)
    with pytest.raises(DivergenceError, match="beyond the range"):
        packed(codec_of({"name": "cast", "dtype": "float16"}, LAYOUT, row.dtype), row * 1e6)


def test_lowrank_starts_from_the_factors_before() -> None:
    layout = Layout(tuple("abcd"), ((30, 20), (7,), (6, 5, 4), (3, 3)))
    rng = np.random.default_rng(0)
    codec = codec_of({"name": "lowrank", "rank": 2}, layout, torch.float64)
    assert dict(codec.memory) == {"factors": (2 * 20 + 2 * 20,)}
    memory, twin_memory = memory_of(codec, torch.float64), twins.Memory()
    target = torch.from_numpy(rng.normal(size=layout.size))
    errors = []
    for t in range(12):
        draw = replace(DRAW, index=t)
        message = torch.empty(codec.nbytes, dtype=torch.uint8)
        # A row of zeros leaves nothing to begin with; the factors are drawn again after it.
        row = target * (t != 6)
        codec.pack(row, message, draw, memory)
        result = torch.empty_like(row)
        codec.unpack(message, result, draw)
        expected = twins.compressed(row.numpy(), draw, layout, "lowrank", twin_memory, rank=2)
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-12)
        errors.append(float((result - row).norm()))
    # Power iteration comes nearer to the best factors from round to round.
    assert errors[:6] == sorted(errors[:6], reverse=True) and errors[5] < 0.95 * errors[0]
    assert errors[6] == 0
    best = torch.linalg.svd(target[:600].view(30, 20)).S[2:].square().sum()
    best += torch.linalg.svd(target[607:727].view(6, 20)).S[2:].square().sum()
    assert float(best) ** 0.5 <= errors[11] <= 1.1 * float(best) ** 0.5


def test_lowrank_sends_a_matrix_of_that_rank_exactly() -> None:
    layout = Layout(("m",), ((40, 30),))
    rng = np.random.default_rng(0)
    row = torch.from_numpy((rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30))).ravel())
    result = unpacked(codec_of({"name": "lowrank", "rank": 3}, layout, torch.float64), row)
    torch.testing.assert_close(result, row, rtol=1e-12, atol=1e-12)


def test_a_codec_takes_no_memory_before_it_is_used() -> None:
    # 10^12 numbers: anything of a row's size would fail.
    layout = Layout(("m",), ((10**6, 10**6),))
    for settings in ({"name": "sign"}, {"name": "cast", "dtype": "float16"}, {"name": "lowrank", "rank": 1}):
        assert codec_of(settings, layout, torch.float32).nbytes > 0
    with pytest.raises(ConfigError, match="too long for indices of 32 bits"):
        codec_of({"name": "topk", "fraction": 0.1}, layout, torch.float32)
