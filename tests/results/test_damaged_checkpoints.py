"""A checkpoint that is damaged or forged is refused in one sentence, and nothing beyond its folder is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mpidl.errors import ResultsError
from mpidl.results.checkpoints import reader
from mpidl.results.checkpoints.folder import CheckpointFolder, part_name
from mpidl.results.checkpoints.index import INDEX, INDEX_SUM
from tests.results.test_checkpoints import reread, write


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "run.h5")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def link(path: Path) -> None:
    elsewhere = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("name", "harm", "told"),
    [
        (part_name(1), truncate, r"rank-00001.h5 has \d+ bytes, not \d+"),
        (part_name(0), flip, "rank-00000.h5 does not have its checksum"),
        (part_name(1), Path.unlink, "rank-00001.h5 is missing"),
        (part_name(1), link, r"rank-00001.h5 (has \d+ bytes, not|cannot be read)"),
        (INDEX, truncate, "index.h5 does not have its checksum"),
        (INDEX, flip, "index.h5 does not have its checksum"),
        (INDEX, Path.unlink, "No such file"),
        (INDEX, link, "is a link, which is not followed"),
        (INDEX_SUM, flip, "index.h5 does not have its checksum"),
        (INDEX_SUM, Path.unlink, "No such file"),
    ],
    ids=str,
)
def test_damage_is_named(folder: CheckpointFolder, name: str, harm: Callable[[Path], None], told: str) -> None:
    place = write(folder, 7)
    harm(place / name)
    with pytest.raises(ResultsError, match=told) as caught:
        reader.open(place).verify()
    assert "\n" not in str(caught.value) and str(place) in str(caught.value)


def forge(place: Path, name: str, change: Callable[[h5py.File], None]) -> None:
    """Changes a file and all checksums, as who forges a checkpoint would."""
    with h5py.File(place / name, "r+") as file:
        change(file)
    if name != INDEX:
        with h5py.File(place / INDEX, "r+") as index:
            number = [each.decode() for each in index["files/name"][()]].index(name)
            index["files/size"][number] = (place / name).stat().st_size
            index["files/sha256"][number] = hashlib.sha256((place / name).read_bytes()).hexdigest().encode()
    digest = hashlib.sha256((place / INDEX).read_bytes()).hexdigest()
    (place / INDEX_SUM).write_text(f"{digest}  {INDEX}\n")


def swap(file: h5py.File, name: str, **what: object) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, **what).attrs.update(attributes)  # type: ignore[arg-type]


def elsewhere(file: h5py.File) -> None:
    del file["values/parameters"]
    file["values/parameters"] = h5py.ExternalLink("/etc/hostname.h5", "/values")


def outside(file: h5py.File) -> None:
    swap(file, "values/parameters", shape=(2, 6), dtype="f4", external=[("/etc/passwd", 0, 48)])


FORGED: list[tuple[str, Callable[[h5py.File], None], str]] = [
    (INDEX, lambda f: f.attrs.modify("mpidl_checkpoint", 9), "has schema 9, this mpidl reads up to 1"),
    (INDEX, lambda f: f.attrs.pop("mpidl_checkpoint"), "holds no checkpoint"),
    (INDEX, lambda f: f.attrs.modify("versions", "[1]"), "versions"),
    (INDEX, lambda f: f.attrs.modify("seconds", np.inf), "seconds"),
    (INDEX, lambda f: f.attrs.modify("ranks", 3), "one for each rank"),
    (INDEX, lambda f: f["files/name"].write_direct(np.array([b"rank-00000.h5", b"/etc/passwd.."])), "other files"),
    (INDEX, lambda f: swap(f, "state/weights", data=np.zeros(5)), "does not lie in other files"),
    (INDEX, lambda f: f["state/weights"].attrs.modify("dtype", "object"), "object"),
    (INDEX, lambda f: f["state/weights"].attrs.modify("total", 4), "not described"),
    (part_name(1), lambda f: swap(f, "ids/parameters", data=np.array([1, 7])), "none of that state's"),
    (part_name(1), lambda f: swap(f, "ids/parameters", data=np.array([2, 1])), "none of that state's"),
    (part_name(1), lambda f: swap(f, "ids/parameters", data=np.array([1])), "is no array"),
    (part_name(1), lambda f: swap(f, "ids/parameters", data=np.array([1, 3])), "does not hold every item"),
    (part_name(1), lambda f: swap(f, "values/parameters", data=np.zeros((2, 6), "f8")), "is no array"),
    (part_name(1), lambda f: swap(f, "values/parameters", shape=(2, 6), dtype="f4"), "stored"),
    (part_name(1), lambda f: swap(f, "values/parameters", data=np.zeros((2, 6), "f4"), chunks=(1, 6)), "is no array"),
    (part_name(1), elsewhere, "link to elsewhere"),
    (part_name(1), outside, "other files"),
    (part_name(1), lambda f: f.pop("values/weights"), "is missing"),
]


@pytest.mark.parametrize(("name", "change", "told"), FORGED, ids=[f"{n}-{t}" for n, _, t in FORGED])
def test_a_forged_one_is_refused_in_one_sentence(folder: CheckpointFolder, name: str, change, told: str) -> None:
    place = write(folder, 7)
    forge(place, name, change)
    with pytest.raises(ResultsError, match=told) as caught:
        reader.open(place).verify()
        reread(place, (1, 2))
    assert "\n" not in str(caught.value)
