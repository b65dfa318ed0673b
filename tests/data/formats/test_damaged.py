"""Files that are cut short, flipped, lying or hostile end in one sentence, take little memory and run nothing."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from mpidl.data import DATA
from mpidl.data.formats.idx import read_idx
from mpidl.data.reading import whole
from tests.data.formats import fuzz, written
from tests.data.formats.test_pickles import Attack
from tests.data.refusal import refused


def load(name: str, root: Path, **keys: object) -> object:
    return DATA.parse({"name": name, "root": str(root), **keys}).load()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("shape", [(2**32 - 1, 28, 28), (60000, 2**31, 2**31), (41, 28, 28), (39, 28, 28)])
def test_an_idx_header_that_lies_is_refused(tmp_path: Path, shape: tuple[int, ...], packed: bool) -> None:
    content = bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape) + written.images(40, 28, 28).tobytes()
    path = tmp_path / ("f.gz" if packed else "f")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert str(path) in refused(lambda: read_idx(path, 3))


@pytest.mark.parametrize("head", [b"", b"\0\0\x08", b"\0\0\x0d\x03", b"\0\0\x08\x01", b"\x89PNG"])
def test_what_is_no_idx_file_is_refused(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "f").write_bytes(head + bytes(12))
    assert "is no IDX file" in refused(lambda: read_idx(tmp_path / "f", 3))


def test_a_gzip_file_with_any_bit_flipped_is_refused(tmp_path: Path) -> None:
    # Noise is stored almost as it is, and the checksum at its end covers it; fields of the header do not matter.
    content = gzip.compress(written.idx_bytes(written.images(4, 28, 28)), mtime=0)
    path = tmp_path / "f.gz"
    for at in range(12, len(content), 61):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        assert str(path) in refused(lambda: read_idx(path, 3))


@pytest.mark.parametrize("name", [written.IDX_NAMES[0], written.IDX_NAMES[2]])
def test_images_of_another_size_are_refused(tmp_path: Path, name: str) -> None:
    written.write_idx_set(tmp_path)
    (tmp_path / name).write_bytes(gzip.compress(written.idx_bytes(written.images(40, 32, 32))))
    assert f"{tmp_path / name} holds images of 32×32 pixels, not 28×28" in refused(lambda: load("mnist", tmp_path))


def test_labels_out_of_range_or_number_are_refused(tmp_path: Path) -> None:
    written.write_idx_set(tmp_path)
    labels = tmp_path / written.IDX_NAMES[1]
    labels.write_bytes(gzip.compress(written.idx_bytes(np.full(40, 10, np.uint8))))
    assert "outside 0 to 9" in refused(lambda: load("mnist", tmp_path))
    labels.write_bytes(gzip.compress(written.idx_bytes(np.zeros(39, np.uint8))))
    assert "x of shape (40, 1, 28, 28), but y of shape (39,)" in refused(lambda: load("mnist", tmp_path))


@pytest.mark.parametrize(
    "line, reason",
    [
        ("+1 3:1 2:1", "'2:1' is not index:value with ascending"),
        ("+1 0:1", "'0:1' is not"),
        ("+1 1:nan", "'nan' is not a finite number"),
        ("+1 1:1e999", "'1e999' is not a finite number"),
        ("+1 1:", "could not convert"),
        ("+1 1", "'1' is not index:value"),
        ("yes 1:1", "could not convert"),
        ("1,2 1:1", "could not convert"),
        ("+1 99999999999:1", "is not index:value"),
        ("+1 qid:3 1:1", "'qid:3' is not"),
    ],
)
def test_a_libsvm_line_that_makes_no_sense_is_named(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "t").write_text(f"-1 1:1\n{line}\n")
    sentence = refused(lambda: load("libsvm", tmp_path, train="t", test=None))
    assert "line 2: " in sentence and reason in sentence


def test_libsvm_indices_and_test_labels_must_fit(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("-1 1:1\n+1 2147483647:1\n")
    (tmp_path / "u").write_text("+2 1:1\n")
    assert "test label 2 is none" in refused(lambda: load("libsvm", tmp_path, train="t", test="u"))
    assert "above 10" in refused(lambda: load("libsvm", tmp_path, train="t", test="t", features=10))
    # Two rows as wide as an index can be stay sparse.
    dataset = load("libsvm", tmp_path, train="t", test="t")
    assert dataset.x.shape == (2, 2147483647)


def npz_with(header: bytes, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("x", "y", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content)
    return packed.getvalue()


@pytest.mark.parametrize(
    "header, reason",
    [
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}", "cannot hold"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,)}", "does not hold as many"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", "does not hold as many"),
        (b"{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", "not an array of numbers"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (-2,)}", "not an array of numbers"),
        (b"{'descr': ('<f8', (2,)), 'fortran_order': False, 'shape': (1,)}", "not an array of numbers"),
        (b"{'descr': '<f8', 'shape': (2,)}", "makes no sense"),
        (b"__import__('os').abort()", "makes no sense"),
        (b"(" * 9000, "makes no sense"),
        (b"9" * 20_000, "its header claims 20000 bytes"),
    ],
)
def test_an_npz_header_that_lies_is_refused(tmp_path: Path, header: bytes, reason: str) -> None:
    (tmp_path / "f.npz").write_bytes(npz_with(header, bytes(16)))
    assert reason in refused(lambda: load("npz", tmp_path, file="f.npz"))


def test_an_npz_file_with_objects_runs_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    np.savez(tmp_path / "f.npz", x=np.array([Attack(canary)], dtype=object), y=[0], x_test=[0], y_test=[0])
    assert "not an array of numbers" in refused(lambda: load("npz", tmp_path, file="f.npz"))
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["npz", "hdf5"])
@pytest.mark.parametrize("name", ["x", "y", "mean"])
def test_numbers_that_torch_does_not_know_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    arrays = {"x": np.zeros((4, 2)), "y": np.zeros(4), "x_test": np.zeros((4, 2)), "y_test": np.zeros(4)}
    arrays |= {"mean": np.zeros(2), name: np.zeros(2 if name == "mean" else (4, 2), np.longdouble)}
    if kind == "npz":
        np.savez(tmp_path / "f", **arrays)
        (tmp_path / "f.npz").rename(tmp_path / "f")
    else:
        with h5py.File(tmp_path / "f", "w") as file:
            for key, array in arrays.items():
                file[key] = array
    assert repr(name) in refused(lambda: load(kind, tmp_path, file="f", task="regression"))


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_npz_file_packed_as_numpy_never_does_is_refused(tmp_path: Path, method: int) -> None:
    np.savez(tmp_path / "f.npz", x=np.arange(2000.0).reshape(1000, 2), y=np.zeros(1000, int), x_test=[[0]], y_test=[0])
    with zipfile.ZipFile(tmp_path / "f.npz") as archive, zipfile.ZipFile(tmp_path / "g.npz", "w", method) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    content = bytearray((tmp_path / "g.npz").read_bytes())
    content[600:700] = bytes(100)
    (tmp_path / "g.npz").write_bytes(content)
    assert "which numpy does not use; write" in refused(lambda: load("npz", tmp_path, file="g.npz"))


def test_arrays_that_are_missing_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", x=[[0.0]], y=[0])
    assert "lacks x_test, y_test" in refused(lambda: load("npz", tmp_path, file="f.npz"))


def _hdf5(path: Path, kind: str) -> None:
    with h5py.File(path, "w") as file:
        for name in ("y", "x_test", "y_test"):
            file[name] = np.zeros((4, 2) if name == "x_test" else 4, np.int64)
        if kind == "claims rows it lacks":
            file.create_dataset("x", (10**12, 2), "f8", chunks=(1024, 2), compression="gzip")
        elif kind == "claims more than it stores":
            file.create_dataset("x", (10**9, 2), "f8")
        elif kind == "external file":
            file.create_dataset("x", (4, 2), "u1", external=[("/etc/passwd", 0, 8)])
        elif kind == "external link":
            file["x"] = h5py.ExternalLink("/other.h5", "/x")
        elif kind == "soft link":
            file["x"] = h5py.SoftLink("/nowhere")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4, 2), "f8")
            layout[:] = h5py.VirtualSource("/other.h5", "x", (4, 2))
            file.create_virtual_dataset("x", layout)
        elif kind == "strings":
            file.create_dataset("x", data=["a", "b"], dtype=h5py.string_dtype())
        elif kind == "a group":
            file.create_group("x")
        elif kind == "a number":
            file["x"] = 3.0


HDF5_KINDS = ["claims rows it lacks", "claims more than it stores", "external file", "external link", "soft link"]


@pytest.mark.parametrize("kind", [*HDF5_KINDS, "virtual", "strings", "a group", "a number", "nothing"])
def test_an_hdf5_file_that_is_not_what_it_claims_is_refused(tmp_path: Path, kind: str) -> None:
    _hdf5(tmp_path / "f.h5", kind)
    assert "f.h5" in refused(lambda: load("hdf5", tmp_path, file="f.h5"))


def test_a_chunk_that_cannot_be_unpacked_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    rows = np.random.default_rng(0).standard_normal((64, 8))
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=rows, chunks=(16, 8), compression="gzip", fletcher32=True)
        file["y"], file["x_test"], file["y_test"] = np.arange(64) % 2, rows[:2], [0, 1]
        place = file["x"].id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    content[place.byte_offset + place.size // 2] ^= 8
    path.write_bytes(content)
    dataset = load("hdf5", tmp_path, file="f.h5")
    assert np.array_equal(dataset.x.take(np.arange(16)), rows[:16])
    assert "rows cannot be read" in refused(lambda: whole(dataset.x))


def test_text_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"caf\xe9 " * 100)
    assert "is not UTF-8 text (byte 3)" in refused(lambda: load("text", tmp_path, file="t"))
    (tmp_path / "t").write_bytes(b"")
    assert "is too short" in refused(lambda: load("text", tmp_path, file="t"))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    # In a process of its own with limited memory: what is damaged here is also read by libraries in C.
    program = f"from tests.data.formats import fuzz; fuzz.main({str(tmp_path_factory.mktemp('fuzz'))!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {kind: int(count) for kind, count in map(str.split, done.stdout.splitlines())}


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damage_at_random_ends_in_a_sentence_or_in_nothing(damaged: dict[str, int], kind: str) -> None:
    # Each round that was not refused loaded; anything else would have ended the process.
    assert 10 < damaged[kind] <= fuzz.ROUNDS
