"""Data files damaged at random, many times over, within limited memory; run as a process of its own."""

from __future__ import annotations

import resource
from pathlib import Path

import h5py
import numpy as np

from mpidl.data import DATA
from mpidl.data.reading import whole
from mpidl.errors import MpidlError
from tests.data.formats import written

ROUNDS = 150
KINDS = ("mnist", "cifar10", "cifar100", "libsvm", "npz", "hdf5", "text")

# Beyond what python, numpy and torch have mapped when they are loaded.
_MEMORY = 2**30


def prepare(kind: str, folder: Path) -> tuple[dict[str, object], list[Path]]:
    """Sound files of this kind, the keys that load them, and the files to damage."""
    rows, labels = np.random.default_rng(0).standard_normal((30, 6)).round(3), np.arange(30) % 2
    if kind == "mnist":
        written.write_idx_set(folder)
        # Unpacked ones, so that damage is not always caught by the checksum of gzip.
        for name in written.IDX_NAMES[:2]:
            array = written.images(40, 28, 28) if "images" in name else (np.arange(40) % 10).astype(np.uint8)
            (folder / name).unlink()
            (folder / name.removesuffix(".gz")).write_bytes(written.idx_bytes(array))
        return {}, sorted(folder.iterdir())
    if kind.startswith("cifar"):
        write = written.write_cifar10 if kind == "cifar10" else written.write_cifar100
        write(folder, 2) if kind == "cifar10" else write(folder, 4, 2)
        return {"checksum": False}, sorted(folder.iterdir())
    if kind == "libsvm":
        (folder / "t").write_text(written.libsvm_text(rows, 2 * labels - 1))
        return {"train": "t", "test": "t"}, [folder / "t"]
    if kind == "text":
        (folder / "t").write_text(written.PLAY)
        return {"file": "t", "context": 8}, [folder / "t"]
    arrays = {"x": rows, "y": labels, "x_test": rows[:5], "y_test": labels[:5], "owner": np.arange(30) // 10}
    if kind == "npz":
        np.savez_compressed(folder / "f.npz", **arrays)
        return {"file": "f.npz"}, [folder / "f.npz"]
    with h5py.File(folder / "f.h5", "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **({"chunks": (8, 6), "compression": "gzip"} if name == "x" else {}))
    return {"file": "f.h5"}, [folder / "f.h5"]


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """The content cut short, flipped in a few bits, or with a piece overwritten, repeated or left out."""
    data = bytearray(content)
    way = rng.integers(5)
    # Headers are where damage hurts, so half of it goes there.
    at = int(rng.integers(min(len(data), 200) if rng.random() < 0.5 else len(data)))
    size = int(rng.integers(1, 9))
    if way == 0:
        return bytes(data[:at])
    if way == 1:
        for place in (at + rng.integers(0, 64, size)) % len(data):
            data[place] ^= 1 << rng.integers(8)
    elif way == 2:
        data[at : at + size] = rng.choice([b"\xff", b"\0", b"\x80", rng.bytes(1)]) * size
    elif way == 3:
        data[at:at] = data[at : at + size]
    else:
        del data[at : at + size]
    return bytes(data)


def main(folder: str) -> None:
    """Prints for each kind how often damage was refused; an error that is not a sentence ends the process."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MEMORY, mapped + _MEMORY))
    for kind in KINDS:
        place = Path(folder) / kind
        place.mkdir()
        print(kind, refusals(kind, place))


def refusals(kind: str, folder: Path) -> int:
    """How many of the damaged files were refused; the others loaded."""
    keys, paths = prepare(kind, folder)
    source = DATA.parse({"name": kind, "root": str(folder), **keys})
    whole(source.load().x)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(ROUNDS):
        path = paths[rng.integers(len(paths))]
        sound = path.read_bytes()
        path.write_bytes(damage(sound, rng))
        try:
            dataset = source.load()
            if np.prod(dataset.x.shape, dtype=float) < 1e6:
                whole(dataset.x)
            source.deal(dataset, 2, 0)
        except MpidlError as error:
            assert "\n" not in str(error), error
            refused += 1
        path.write_bytes(sound)
    return refused
