"""Numbers that cannot be trained on are refused before training, and files are looked at piece by piece."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mpidl.data import DATA, Dataset
from mpidl.data.checks import pieces, span
from mpidl.errors import DataError
from tests.data.refusal import refused

PARTS = ("x", "y", "x_test", "y_test")


def tokens(**changes: object) -> dict[str, object]:
    return dict.fromkeys(PARTS, np.arange(20).reshape(4, 5) % 5) | {"task": "language"} | changes


def with_token(token: int) -> np.ndarray:
    rows = np.arange(20).reshape(4, 5) % 5
    rows[3, 2] = token
    return rows


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("token, classes", [(7, 5), (-100, 5), (-100, None)])
def test_a_token_outside_the_vocabulary_is_refused(part: str, token: int, classes: int | None) -> None:
    lowest, highest = min(token, 0), max(token, 4)
    with pytest.raises(DataError, match=f"tokens of {part} go from {lowest} to {highest}, outside 0 to 4"):
        Dataset(**tokens(classes=classes, **{part: with_token(token)}))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("classes", [5, None])
def test_tokens_must_be_whole_numbers(part: str, classes: int | None) -> None:
    for rows in (np.zeros((4, 5)), torch.zeros(4, 5)):
        with pytest.raises(DataError, match=f"tokens of {part} must be whole numbers, not .*float"):
            Dataset(**tokens(classes=classes, **{part: rows}))


def test_a_token_of_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", **{part: with_token(7 if part == "x_test" else 4) for part in PARTS})
    source = DATA.parse({"name": "npz", "file": str(tmp_path / "f.npz"), "task": "language", "classes": 5})
    assert "f.npz: tokens of x_test go from 0 to 7, outside 0 to 4" in refused(source.load)


@pytest.mark.parametrize("classes", [None, 200])
@pytest.mark.parametrize("chunks", [None, (64, 1000)])
def test_tokens_of_a_file_are_checked_without_loading_it(
    tmp_path: Path, chunks: tuple[int, int] | None, classes: int | None
) -> None:
    rows = np.full((20_000, 1000), 3, np.uint8)
    rows[-1, -1] = 199
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for part in ("x", "y"):
            file.create_dataset(part, data=rows, chunks=chunks)
            file[f"{part}_test"] = rows[:2]
    source = DATA.parse({"name": "hdf5", "file": str(tmp_path / "f.h5"), "task": "language", "classes": classes})
    tracemalloc.start()
    dataset = source.load()
    assert dataset.outputs == 200
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20
    tight = source.model_copy(update={"classes": 199})
    assert "tokens of x go from 3 to 199, outside 0 to 198" in refused(tight.load)


class Lines:
    """Rows that are made when they are asked for."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def take(self, indices: np.ndarray) -> np.ndarray:
        return self.rows[indices]


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy, Lines])
def test_pieces_hold_every_row_once_and_in_order(wrap: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpidl.data.checks._PIECE", 100)
    rows = np.arange(-30, 27).reshape(19, 3)
    parts = list(pieces(wrap(rows)))
    assert [start for start, _ in parts] == list(range(0, 19, 4))
    assert np.array_equal(np.concatenate([piece for _, piece in parts]), rows)
    assert span("rows", wrap(rows)) == (-30, 26)


def numbers(**changes: object) -> dict[str, object]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 3, 4, 4)), rng.standard_normal((12, 2))
    return {"x": x, "y": y, "x_test": x.copy(), "y_test": y.copy(), "task": "regression"} | changes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, None])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_numbers_that_are_none_are_refused_and_named(part: str, value: float, dtype: torch.dtype | None) -> None:
    fields = numbers()
    fields[part].reshape(12, -1)[7, 1] = value
    if dtype is not None:
        fields |= {name: torch.from_numpy(fields[name]).to(dtype) for name in PARTS}
    with pytest.raises(DataError, match=rf"example 7 of {part} holds NaN or infinity; correct"):
        Dataset(**fields)


@pytest.mark.parametrize(
    "array", [np.full((12, 3, 4, 4), "a"), np.zeros((12, 3, 4, 4), complex), np.zeros((12, 3, 4, 4), np.longdouble)]
)
def test_what_is_no_number_is_refused(array: np.ndarray) -> None:
    for part in ("x", "x_test"):
        with pytest.raises(DataError, match=f"{part} holds {array.dtype}, not numbers that can be trained on"):
            Dataset(**numbers(**{part: array}))
    with pytest.raises(DataError, match="x holds torch.complex64"):
        Dataset(**numbers(x=torch.zeros(12, 3, 4, 4, dtype=torch.complex64)))


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("values", [(0.5,), (0.5, 0.6, 0.7), [0.5, 0.6, 0.7], np.array([0.5, 0.6, 0.7])])
def test_channel_numbers_of_any_kind_become_plain_ones(name: str, values: object) -> None:
    assert getattr(Dataset(**numbers(**{name: values})), name) == tuple(np.ravel(values).tolist())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mean": (0.1, 0.2)}, r"mean has 2 numbers for examples of shape \(3, 4, 4\); give one, or one for each of"),
        ({"std": (0.1, 0.2, 0.3, 0.4)}, "std has 4 numbers"),
        ({"mean": ()}, "mean has 0 numbers"),
        ({"mean": (0.1, np.nan, 0.3)}, "mean is 0.1, nan, 0.3, which must be finite; correct"),
        ({"mean": (np.inf,)}, "mean is inf, which must be finite"),
        ({"std": (0.1, np.nan, 0.3)}, "std is 0.1, nan, 0.3, which must be finite and above 0"),
        ({"std": (0.1, 0.0, 0.3)}, "std is 0.1, 0, 0.3, which must be finite and above 0"),
        ({"std": (np.inf,)}, "std is inf"),
    ],
)
def test_means_and_deviations_must_fit_and_be_numbers(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Dataset(**numbers(**changes))
