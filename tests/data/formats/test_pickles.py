"""CIFAR's pickles: whatever a file asks for, nothing of it is run, and no memory is taken that it does not fill."""

from __future__ import annotations

import pickle
import pickletools
import struct
from pathlib import Path

import pytest

from mpidl.data import DATA
from mpidl.data.formats.pickles import read_pickle
from tests.data.formats import written
from tests.data.refusal import refused


def load(name: str, root: Path, **keys: object) -> object:
    return DATA.parse({"name": name, "root": str(root), **keys}).load()


class Attack:
    """Pickles as a call of `open(canary, "w")`."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.canary), "w")


def attacks(canary: Path) -> dict[str, bytes]:
    """Pickles that would make the canary, in every way in which a pickle can call something."""
    path = str(canary).encode()
    argument = b"X" + struct.pack("<I", len(path)) + path + b"X\x01\0\0\0w"
    stub = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
    return {
        "reduce": pickle.dumps({"data": Attack(canary)}, protocol=2),
        "reduce 4": pickle.dumps({"data": Attack(canary)}, protocol=4),
        "reduce 5": pickle.dumps([Attack(canary)], protocol=5),
        "global": b"cio\nopen\n(" + argument + b"tR.",
        "stack global": b"\x8c\x02io\x8c\x04open\x93(" + argument + b"tR.",
        "inst": b"(" + argument + b"iio\nopen\n.",
        "obj": b"(cio\nopen\n" + argument + b"o.",
        "newobj": b"cio\nopen\n(" + argument + b"t\x81.",
        "newobj ex": b"\x80\x04cio\nopen\n(" + argument + b"t}\x92.",
        "extension": b"\x82\x01.",
        "persistent": b"Popen\n.",
        "system": b"cposix\nsystem\n(U" + bytes([6 + len(path)]) + b"touch " + path + b"tR.",
        "eval": b"cbuiltins\neval\n(X\x15\0\0\0__import__('os').wait" + b"tR.",
        "numpy load": b"cnumpy\nload\n(" + argument + b"tR.",
        "attribute of a name": b"cnumpy\nndarray.__new__\n(" + argument + b"tR.",
        "codec": b"c_codecs\nencode\n(" + argument + b"tR.",
        "change of a name": b"cnumpy\nndarray\n}X\x08\0\0\0__call__cio\nopen\nsb.",
        "slots of a stand-in": stub + b"N}X\x03\0\0\0abccio\nopen\ns\x86b.",
    }


@pytest.mark.parametrize("kind", attacks(Path("c")))
def test_a_pickle_that_tries_to_run_code_runs_nothing(tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary"
    content = attacks(canary)[kind]
    assert "is damaged, or not a pickle of plain data" in refused(lambda: read_pickle(content, Path("f")))
    assert not canary.exists()


def test_the_attacks_would_work_on_python_itself(tmp_path: Path) -> None:
    for kind in ("reduce", "reduce 4", "global", "stack global", "inst", "newobj ex"):
        canary = tmp_path / kind
        try:
            pickle.loads(attacks(canary)[kind])
        except (TypeError, pickle.UnpicklingError):
            # NEWOBJ wants a class, which `open` is not; the others do open the file.
            assert kind == "newobj ex"
            continue
        assert canary.exists()


@pytest.mark.parametrize("kind", ["reduce", "system"])
def test_a_hostile_cifar_file_is_refused_with_or_without_checksum(tmp_path: Path, kind: str) -> None:
    written.write_cifar10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(attacks(tmp_path / "canary")[kind])
    for checksum in (True, False):
        refused(lambda checksum=checksum: load("cifar10", tmp_path, checksum=checksum))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x96" + struct.pack("<Q", 2**34) + b".",  # BYTEARRAY8
        b"\x8e" + struct.pack("<Q", 2**62) + b"abc.",  # BINBYTES8
        b"]r" + struct.pack("<I", 2**32 - 1) + b"0N.",  # LONG_BINPUT
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",  # FRAME
        b"(" * 100_000 + b".",
    ],
    ids=["bytearray", "bytes", "memo", "frame", "marks"],
)
def test_a_pickle_cannot_ask_for_memory_it_does_not_fill(content: bytes) -> None:
    refused(lambda: read_pickle(content, Path("f")))


def test_a_key_that_is_no_text_is_a_key_like_any_other(tmp_path: Path) -> None:
    key = b"X\x03\0\0\0\xed\xa0\x80"
    assert read_pickle(b"}" + key + b"K\x01s.", Path("f")) == {b"\xed\xa0\x80": 1}
    written.write_cifar10(tmp_path)
    (tmp_path / "test_batch").write_bytes(b"}" + key + b"K\x01s.")
    assert "holds no images" in refused(lambda: load("cifar10", tmp_path, checksum=False))


def test_a_pickle_cannot_make_objects_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpidl.data.formats.pickles._MOST_READS", 1000)
    for endless in (b"]" * 2000, b"\x80\x04\x95" + struct.pack("<Q", 2000) + b"]" * 2000):
        assert "more objects than such a file has" in refused(lambda endless=endless: read_pickle(endless, Path("f")))


def test_arrays_that_do_not_fit_their_pickle_are_refused(tmp_path: Path) -> None:
    good = written.cifar_bytes(written.images(2, 3, 32, 32), {"labels": [0, 1]})
    assert read_pickle(good, Path("f"))[b"data"].shape == (2, 3072)
    for bad in (
        good.replace(b"K\x02J\x00\x0c\0\0\x86", b"J\xff\xff\xff\x7fJ\x00\x0c\0\0\x86"),
        good.replace(b"u1", b"O8"),
    ):
        assert bad != good
        assert "an array" in refused(lambda bad=bad: read_pickle(bad, Path("f"))) or "dtype" in bad.decode("latin1")


@pytest.mark.parametrize(
    "labels", [{"labels": [0, 1, 2]}, {"labels": [0, 10]}, {"labels": [-1, 0]}, {"tags": [0, 1]}, {}]
)
def test_cifar_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: dict[str, list[int]]) -> None:
    written.write_cifar10(tmp_path)
    (tmp_path / "test_batch").write_bytes(written.cifar_bytes(written.images(2, 3, 32, 32), labels))
    assert "test_batch holds" in refused(lambda: load("cifar10", tmp_path, checksum=False))


def test_the_generated_pickles_use_python_2_strings() -> None:
    content = written.cifar_bytes(written.images(1, 3, 32, 32), {"labels": [0]})
    names = {opcode.name for opcode, _, _ in pickletools.genops(content)}
    assert {"SHORT_BINSTRING", "BINSTRING", "GLOBAL", "REDUCE", "BUILD"} <= names
