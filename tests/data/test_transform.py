"""What a model sees of an example: scaled and normalised, shifted and mirrored as drawn, of the type that it needs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpidl.data import Dataset
from mpidl.errors import ConfigError
from mpidl.seeding import stream
from tests.data.dealt import SEED, batches_of, images, shares


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_are_scaled_and_normalised_by_channel(dtype: torch.dtype) -> None:
    data = images()
    x, y = batches_of(data, shares(), "full", dtype=dtype).batch(0, 0)
    share = shares()[0]
    mean, std = (np.array(values)[:, None, None] for values in (data.mean, data.std))
    assert x.dtype == dtype and y.dtype == torch.int64
    expected = torch.from_numpy((data.x[share] / 255 - mean) / std)
    assert torch.allclose(x.double(), expected, rtol=0, atol=1e-14 if dtype == torch.float64 else 2e-6)


def test_floats_are_normalised_without_touching_the_data_set() -> None:
    rows = np.random.default_rng(0).standard_normal((12, 2, 3, 3)).astype(np.float32)
    data = Dataset(rows.copy(), np.arange(12) % 2, rows.copy(), np.arange(12) % 2, mean=(1.0, 2.0), std=(2.0, 4.0))
    batches = batches_of(data, [np.arange(12)], 5)
    for step in range(6):
        batches.batch(0, step)
    x, _ = batches.test("test", 0)
    assert np.array_equal(data.x, rows) and np.array_equal(data.x_test, rows)
    assert np.allclose(x, (rows - np.array([1, 2])[:, None, None]) / np.array([2, 4])[:, None, None], atol=1e-6)


@pytest.mark.parametrize("crop, flip", [(2, False), (0, True), (3, True)])
def test_shifts_and_mirrors_are_those_drawn_for_agent_and_step(crop: int, flip: bool) -> None:
    data = images()
    plain = Dataset(data.x, data.y, data.x_test, data.y_test)
    batches = batches_of(plain, shares(), 8, crop=crop, flip=flip)
    still = batches_of(plain, shares(), 8)
    seen = set()
    for step in range(12):
        x, y = batches.batch(0, step)
        unmoved, labels = still.batch(0, step)
        rng = stream(SEED, "augment", 0, step)
        shifts = rng.integers(0, 2 * crop + 1, (2, len(x)))
        mirrored = rng.integers(0, 2, len(x)) if flip else np.zeros(len(x))
        padded = np.pad(unmoved.numpy(), ((0, 0), (0, 0), (crop, crop), (crop, crop)))
        for image, whole, down, right, mirror in zip(x.numpy(), padded, *shifts, mirrored, strict=True):
            window = whole[:, down : down + 9, right : right + 7]
            assert np.array_equal(image, window[:, :, ::-1] if mirror else window)
            seen.add((int(down), int(right), int(mirror)))
        assert torch.equal(y, labels)
    for values, most in zip(zip(*seen, strict=True), (2 * crop, 2 * crop, int(flip)), strict=True):
        assert set(values) == set(range(most + 1))
    assert torch.equal(batches.chunk(0, 0)[0], still.chunk(0, 0)[0])
    assert torch.equal(batches.test("test", 0)[0], still.test("test", 0)[0])


def test_crop_of_what_is_no_image_is_refused() -> None:
    data = Dataset(np.zeros((4, 3)), np.zeros(4, int), np.zeros((4, 3)), np.zeros(4, int))
    with pytest.raises(ConfigError, match=r"data.crop: crop and flip need images"):
        batches_of(data, [np.arange(4)], 2, crop=1)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3)])
def test_regression_targets_are_columns(shape: tuple[int, ...]) -> None:
    y = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    data = Dataset(np.zeros((6, 2)), y, np.zeros((6, 2)), y, task="regression")
    batches = batches_of(data, [np.arange(6)], "full")
    assert torch.equal(batches.batch(0, 0)[1], torch.from_numpy(y.reshape(6, -1)).float())
    assert data.outputs == y.reshape(6, -1).shape[1]


def test_tokens_are_whole_numbers_however_they_are_kept() -> None:
    for kept in (np.uint8, np.uint16, np.int32):
        rows = np.arange(60, dtype=kept).reshape(12, 5)
        data = Dataset(rows, rows, rows, rows, task="language")
        x, y = batches_of(data, [np.arange(12)], 4).batch(0, 0)
        assert x.dtype == y.dtype == torch.int64 and torch.equal(x, y) and data.outputs == 60
