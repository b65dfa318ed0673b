"""A data set that is packed and unpacked is the same, and nobody looks at its numbers again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from mpidl.data import DATA, Dataset
from mpidl.data import dataset as datasets
from mpidl.data.packing import NotPortable, PackedData, pack, unpack
from mpidl.data.reading import whole
from mpidl.errors import DataError

NUMBERS = np.arange(24.0).reshape(6, 4)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def again(dataset: Dataset) -> Dataset:
    packed = pack(dataset)
    return unpack(packed.outline, laid(packed))


def laid(packed: PackedData) -> memoryview:
    memory = bytearray(packed.size)
    for begin, piece in packed.pieces:
        assert begin % 64 == 0
        memory[begin : begin + len(piece)] = piece.tobytes()
    return memoryview(memory)


def read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


ROWS: dict[str, Any] = {
    "array": NUMBERS,
    "columns first": np.asfortranarray(NUMBERS),
    "every other": np.repeat(NUMBERS, 2, axis=0)[::2],
    "read only": read_only(NUMBERS),
    "bytes swapped": NUMBERS.astype(">f4"),
    "short": NUMBERS.astype(np.float16),
    "bits": NUMBERS > 3,
    "no numbers": np.empty((6, 0)),
    "tensor": torch.tensor(NUMBERS),
    "bfloat16": torch.tensor(NUMBERS).bfloat16(),
    "turned": torch.tensor(NUMBERS.T.copy()).T,
    "with a gradient": torch.tensor(NUMBERS, requires_grad=True),
    "empty tensor": torch.empty(6, 0),
}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_in_memory_keep_their_numbers_and_type_and_may_be_written_to(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rows, owner = ROWS[name], list(range(6))
    dataset = Dataset(rows, LABELS, rows, torch.tensor(LABELS), owner=owner, mean=(0.5,), warnings=("few",))
    packed = pack(dataset)
    monkeypatch.delattr(Dataset, "__post_init__")
    monkeypatch.delattr(datasets, "span")
    found = unpack(packed.outline, laid(packed))
    assert type(found.x) is type(rows) and found.x.dtype == rows.dtype and found.x.shape == rows.shape
    assert torch.equal(whole(found.x), whole(rows))
    # Without a copy, and what was one array is one: what is written to it is read from the other.
    if found.x.shape[1] and name != "bytes swapped":
        whole(found.x)[0, 0] = 1
        assert whole(found.x_test)[0, 0] == 1
    assert torch.equal(found.y_test, dataset.y_test) and np.array_equal(found.y, LABELS)
    assert (found.owner, found.mean, found.warnings, found.outputs) == (owner, (0.5,), ("few",), 3)


def test_rows_in_files_are_read_where_they_lie(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("x", data=NUMBERS)
        file.create_dataset("y", data=LABELS, chunks=(2,), compression="gzip")
        file.create_dataset("x_test", data=NUMBERS[:2])
        file.create_dataset("y_test", data=LABELS[:2])
    dataset = DATA.parse({"name": "hdf5", "root": str(tmp_path), "file": "data.h5"}).load()
    packed, found = pack(dataset), again(dataset)
    assert packed.pieces == ()
    for name in ("x", "y", "x_test", "y_test"):
        assert type(getattr(found, name)) is type(getattr(dataset, name))
        assert torch.equal(whole(getattr(found, name)), whole(getattr(dataset, name)))


def test_sparse_rows_keep_theirs(tmp_path: Path) -> None:
    lines = "".join(f"{label} {1 + label}:{value}.5 300:1\n" for value, label in enumerate(LABELS))
    (tmp_path / "rows.txt").write_text(lines * 40)
    source = DATA.parse(
        {"name": "libsvm", "root": str(tmp_path), "train": "rows.txt", "test": "rows.txt", "sparse": True}
    )
    dataset = source.load()
    found = again(dataset)
    assert torch.equal(whole(found.x), whole(dataset.x)) and torch.equal(whole(found.y), whole(dataset.y))


class OwnRows:
    shape, dtype = (6, 4), NUMBERS.dtype

    def __init__(self, held: Any = None) -> None:
        self.held = held

    def take(self, indices: np.ndarray) -> np.ndarray:
        return NUMBERS[indices]


class PortableRows(OwnRows):
    portable = True

    def __getstate__(self) -> dict[str, Any]:
        # Numbers that are there only while this is pickled.
        return self.__dict__ | {"copies": [np.full(3, number) for number in range(9)]}


class ChangedRows(OwnRows):
    portable = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise KeyError("old")


class OwnDataset(Dataset):
    pass


def test_rows_that_say_that_they_are_portable_are_pickled(tmp_path: Path) -> None:
    found = again(Dataset(PortableRows({"held": NUMBERS}), LABELS, NUMBERS, LABELS)).x
    assert np.array_equal(found.held["held"], NUMBERS) and [int(copy[0]) for copy in found.copies] == [*range(9)]
    NUMBERS.tofile(tmp_path / "x")
    for held in (lambda: 0, np.memmap(tmp_path / "x", NUMBERS.dtype, "r+", shape=(6, 4))):
        with pytest.raises(NotPortable, match=r"they (cannot be pickled|have part of a file)"):
            pack(Dataset(PortableRows(held), LABELS, NUMBERS, LABELS))
    with pytest.raises(DataError, match="cannot be read by another process: KeyError: 'old'"):
        again(Dataset(ChangedRows(1), LABELS, NUMBERS, LABELS))


def test_what_may_be_another_elsewhere_is_not_packed(tmp_path: Path) -> None:
    NUMBERS.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", NUMBERS.dtype, "r", shape=(6, 4))
    for order in ("C", "F"):
        whole_file = np.memmap(tmp_path / "x", NUMBERS.dtype, "r", shape=(6, 4), order=order)
        assert np.array_equal(again(Dataset(whole_file, LABELS, NUMBERS, LABELS)).x, whole_file)
    # What was written to it is in this process alone.
    changed = np.memmap(tmp_path / "x", NUMBERS.dtype, "c", shape=(6, 4))
    changed[0] = 7
    sparse = torch.tensor(NUMBERS).to_sparse()
    for rows in (OwnRows(), mapped[1:][:6], mapped.T.T, changed, np.ma.array(NUMBERS), nn.Parameter(torch.ones(6, 4))):
        labels = LABELS[: rows.shape[0]]
        with pytest.raises(NotPortable, match="^x is "):
            pack(Dataset(rows, labels, NUMBERS, LABELS))
    with pytest.raises(NotPortable, match="^owner is no plain tensor"):
        pack(Dataset(NUMBERS, LABELS, NUMBERS, LABELS, owner=sparse))
    with pytest.raises(NotPortable, match="a class of a user's own"):
        pack(OwnDataset(NUMBERS, LABELS, NUMBERS, LABELS))
    (tmp_path / "x").unlink()
    with pytest.raises(NotPortable, match="^x is part of a file"):
        pack(Dataset(mapped, LABELS, NUMBERS, LABELS))
