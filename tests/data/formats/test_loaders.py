"""Every loader gives back what the files hold: small generated files in the exact formats."""

from __future__ import annotations

import gzip
import pickle
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from mpidl.data import DATA, Dataset
from mpidl.data.formats.text import speaker_spans
from mpidl.data.reading import whole
from mpidl.errors import ConfigError, DataError
from tests.data.formats import written


def load(name: str, root: Path | str = ".", **keys: object) -> Dataset:
    return DATA.parse({"name": name, "root": str(root), **keys}).load()


@pytest.mark.parametrize("name, folder", [("mnist", "mnist"), ("fashion-mnist", "fashion_mnist"), ("mnist", ".")])
def test_idx_files_come_back_as_written(tmp_path: Path, name: str, folder: str) -> None:
    arrays = written.write_idx_set(tmp_path / folder)
    dataset = load(name, tmp_path)
    for part, file in zip((dataset.x, dataset.y, dataset.x_test, dataset.y_test), written.IDX_NAMES, strict=True):
        assert np.array_equal(part.reshape(arrays[file].shape), arrays[file])
    assert (dataset.example_shape, dataset.outputs) == ((1, 28, 28), 10)


def test_unpacked_idx_files_do_as_well(tmp_path: Path) -> None:
    arrays = written.write_idx_set(tmp_path)
    packed = tmp_path / written.IDX_NAMES[0]
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert np.array_equal(load("mnist", tmp_path).x[:, 0], arrays[written.IDX_NAMES[0]])


def test_cifar10_files_come_back_as_written(tmp_path: Path) -> None:
    pixels, labels = written.write_cifar10(tmp_path / "cifar-10-batches-py")
    dataset = load("cifar10", tmp_path, checksum=False)
    assert np.array_equal(dataset.x, pixels) and np.array_equal(dataset.y, labels)
    assert (dataset.x_test.shape, dataset.outputs) == ((20, 3, 32, 32), 10)


@pytest.mark.parametrize("labels, outputs", [("fine", 100), ("coarse", 20)])
def test_cifar100_has_fine_and_coarse_labels(tmp_path: Path, labels: str, outputs: int) -> None:
    pixels, fine = written.write_cifar100(tmp_path / "cifar-100-python")
    dataset = load("cifar100", tmp_path, checksum=False, labels=labels)
    assert np.array_equal(dataset.x, pixels)
    assert np.array_equal(dataset.y, fine if labels == "fine" else fine // 5)
    assert dataset.outputs == outputs


def test_the_generated_cifar_files_are_what_python_itself_reads() -> None:
    pixels = written.images(3, 3, 32, 32)
    read = pickle.loads(written.cifar_bytes(pixels, {"labels": [1, 2, 3]}), encoding="bytes")
    assert np.array_equal(read[b"data"], pixels.reshape(3, -1)) and read[b"labels"] == [1, 2, 3]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_cifar_files_pickled_by_python_3_are_read(tmp_path: Path, protocol: int) -> None:
    pixels = written.images(120, 3072)
    for at, name in enumerate(written.CIFAR10_NAMES):
        part = pixels[at * 20 : at * 20 + 20]
        (tmp_path / name).write_bytes(pickle.dumps({"data": part, "labels": [at] * 20}, protocol=protocol))
    dataset = load("cifar10", tmp_path, checksum=False)
    assert np.array_equal(dataset.x.reshape(-1, 3072), pixels[:100])


def test_files_that_are_not_the_published_ones_are_refused_unless_allowed(tmp_path: Path) -> None:
    written.write_cifar10(tmp_path)
    with pytest.raises(DataError, match=r"data_batch_1 is not the published file \(MD5 .*checksum: false"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize("sparse", [False, True])
def test_libsvm_rows_come_back_dense(tmp_path: Path, sparse: bool) -> None:
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((30, 12)) < 0.3, rng.standard_normal((30, 12)), 0.0)
    rows[4] = 0.0
    labels = np.where(np.arange(30) % 2, 1, -1)
    (tmp_path / "t").write_text("# a comment\n\n" + written.libsvm_text(rows[:20], labels[:20]))
    (tmp_path / "u").write_text(written.libsvm_text(rows[20:], labels[20:]))
    dataset = load("libsvm", tmp_path, train="t", test="u", features=15, sparse=sparse)
    assert np.array_equal(whole(dataset.x).numpy(), np.pad(rows[:20], ((0, 0), (0, 3))))
    assert np.array_equal(
        dataset.x.take(np.array([7, 3, 7])) if sparse else dataset.x[[7, 3, 7]], whole(dataset.x)[[7, 3, 7]]
    )
    assert np.array_equal(whole(dataset.x_test).numpy(), np.pad(rows[20:], ((0, 0), (0, 3))))
    assert np.array_equal(dataset.y, np.arange(20) % 2) and dataset.outputs == 2


@pytest.mark.parametrize("sparse", [False, True])
def test_libsvm_without_a_test_file_holds_examples_out_once_and_for_all(tmp_path: Path, sparse: bool) -> None:
    rows = np.arange(1.0, 41.0).reshape(20, 2)
    (tmp_path / "t").write_text(written.libsvm_text(rows, np.arange(20)))
    keys = {"train": "t", "test": None, "holdout": 0.25, "task": "regression", "sparse": sparse}
    dataset, again = (load("libsvm", tmp_path, **keys) for _ in range(2))
    both = np.concatenate([whole(dataset.x).numpy(), whole(dataset.x_test).numpy()])
    assert np.array_equal(both[np.argsort(both[:, 0])], rows) and len(dataset.y_test) == 5
    assert np.array_equal(whole(dataset.x_test), whole(again.x_test))
    assert np.array_equal(2 * dataset.y + 1, whole(dataset.x).numpy()[:, 0])


def test_libsvm_holds_at_least_one_example_out(tmp_path: Path) -> None:
    """A tenth of 3 examples is none when it is rounded."""
    (tmp_path / "t").write_text(written.libsvm_text(np.arange(1.0, 7.0).reshape(3, 2), np.arange(3)))
    dataset = load("libsvm", tmp_path, train="t", test=None, holdout=0.1, task="regression")
    assert (len(dataset), len(dataset.y_test)) == (2, 1)


def arrays_for(task: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    if task == "regression":
        kinds = {"x": rng.standard_normal((30, 4)), "y": rng.standard_normal((30, 2))}
    elif task == "language":
        kinds = {"x": rng.integers(0, 9, (30, 5)), "y": rng.integers(0, 9, (30, 5))}
    else:
        kinds = {"x": written.images(30, 3, 8, 8), "y": rng.integers(0, 3, 30)}
    train, test = ({key: array[part] for key, array in kinds.items()} for part in (slice(20), slice(20, 30)))
    return train | {f"{key}_test": array for key, array in test.items()} | {"owner": np.arange(20) // 5}


@pytest.mark.parametrize("task", ["classification", "regression", "language"])
@pytest.mark.parametrize("kind", ["npz", "compressed npz", "hdf5", "chunked hdf5"])
def test_arrays_come_back_from_npz_and_hdf5(tmp_path: Path, kind: str, task: str) -> None:
    arrays = arrays_for(task)
    path = tmp_path / "set"
    if "npz" in kind:
        with path.open("wb") as file:
            (np.savez if kind == "npz" else np.savez_compressed)(file, **arrays)
    else:
        options = {"chunks": True, "compression": "gzip"} if kind != "hdf5" else {}
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array, **options)
    dataset = load("npz" if "npz" in kind else "hdf5", tmp_path, file="set", task=task)
    for name in ("x", "y", "x_test", "y_test"):
        assert np.array_equal(whole(getattr(dataset, name)).numpy(), arrays[name])
    assert np.array_equal(dataset.owner, arrays["owner"]) and dataset.task == task
    assert dataset.scale == (1 / 255 if task == "classification" else 1.0)


def test_hdf5_rows_stay_in_the_file_and_arrive_in_the_order_asked_for(tmp_path: Path) -> None:
    rows = np.arange(600.0).reshape(100, 6)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("x", data=rows, chunks=(7, 6), compression="gzip")
        file.create_dataset("y", data=np.arange(100) % 3)
        file["x_test"], file["y_test"] = rows[:9], np.arange(9) % 3
    dataset = load("hdf5", tmp_path, file="f.h5")
    wanted = np.array([99, 0, 50, 51, 52, 0, 3])
    assert np.array_equal(dataset.x.take(wanted), rows[wanted]) and not isinstance(dataset.x, np.ndarray)
    assert isinstance(dataset.x_test, np.memmap) and np.array_equal(dataset.x_test, rows[:9])
    again = pickle.loads(pickle.dumps(dataset.x))
    assert np.array_equal(again.take(wanted), rows[wanted])


@pytest.mark.parametrize("chunks", [None, (1, 2**18)])
def test_a_file_larger_than_is_loaded_is_streamed(tmp_path: Path, chunks: tuple[int, int] | None) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        # Space is set aside on disk, and only a few rows are ever written.
        make = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        make.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        make.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        if chunks:
            make.set_chunk(chunks)
        space = h5py.h5s.create_simple((5000, 2**18))
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, space, make)
        file["x"][4000], file["y"] = 7, np.arange(5000) % 2
        file["x_test"], file["y_test"] = np.zeros((1, 2**18), np.uint8), [0]
    source = DATA.parse({"name": "hdf5", "root": str(tmp_path), "file": "f.h5", "batch": 4})
    tracemalloc.start()
    dataset = source.load()
    batches = source.batches(dataset, [np.array([0, 4000]), np.array([3])], 0)
    x, _ = batches.batch(0, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    batches.close()
    assert batches.streamed and peak < 20 * 2**20
    assert sorted(x.mean(dim=1).mul(255).round().tolist()) == [0, 7]


def test_channel_means_in_a_file_are_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", **arrays_for("classification"), mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    assert load("npz", tmp_path, file="f.npz").mean == (0.1, 0.2, 0.3)
    assert load("npz", tmp_path, file="f.npz", normalise=False).std is None


def test_text_becomes_windows_owned_by_speakers(tmp_path: Path) -> None:
    (tmp_path / "play").write_text(written.PLAY)
    dataset = load("text", tmp_path, file="play", context=10, test=0.2)
    letters = sorted(set(written.PLAY))
    said = {name: "".join(written.PLAY[a:b] for a, b in spans) for name, spans in speaker_spans(written.PLAY).items()}
    assert list(said) == ["First Citizen", "All", "MENENIUS"] and sum(map(len, said.values())) == len(written.PLAY)
    assert dataset.outputs == len(letters) and dataset.task == "language"
    for owner, words in enumerate(said.values()):
        windows = dataset.x[dataset.owner == owner]
        read = "".join(letters[token] for window in windows for token in window)
        assert words.startswith(read) and len(read) > 0.6 * len(words)
    assert np.array_equal(dataset.x[:, 1:], dataset.y[:, :-1])


def test_text_windows_that_overlap_never_show_the_test_part(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("".join(chr(0x100 + at) for at in range(500)))
    dataset = load("text", tmp_path, file="t", context=16, stride=4)
    # Every character stands in one place, so that tokens tell where a window is.
    assert dataset.owner is None and dataset.y.max() <= dataset.x_test.min()
    assert np.array_equal(np.diff(dataset.x[:, 0]), np.full(len(dataset.x) - 1, 4))


def test_text_without_speakers_is_one_stream(tmp_path: Path) -> None:
    (tmp_path / "play").write_text(written.PLAY)
    dataset = load("text", tmp_path, file="play", context=10, speakers=False)
    letters = sorted(set(written.PLAY))
    assert written.PLAY.startswith("".join(letters[token] for token in dataset.x.ravel())) and dataset.owner is None


def test_a_speaker_with_too_little_to_say_is_counted_in_a_warning(tmp_path: Path) -> None:
    whole = load_play(tmp_path, written.PLAY)
    # Wherever it stands: the others are there all the same.
    for play in (written.PLAY + "\nBob:\nAy.\n", "Bob:\nAy.\n\n" + written.PLAY):
        dataset = load_play(tmp_path, play)
        assert dataset.warnings == ("1 of 4 speakers say too little for one window",)
        assert np.array_equal(np.bincount(dataset.owner), np.bincount(whole.owner))


def load_play(folder: Path, play: str) -> Dataset:
    (folder / "play").write_text(play)
    return load("text", folder, file="play", context=10)


def test_the_digits_are_those_of_the_original() -> None:
    dataset = load("digits")
    assert (dataset.x.shape, dataset.x_test.shape, dataset.x.dtype) == ((1437, 1, 8, 8), (360, 1, 8, 8), np.float32)
    both = np.concatenate([dataset.x, dataset.x_test])
    counts = np.bincount(np.concatenate([dataset.y, dataset.y_test]))
    # Class counts as UCI lists them for the test part.
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (both.min(), both.max()) == (0, 1) and round(float(both.mean() * 16), 3) == 4.884
    assert np.array_equal(dataset.x_test, load("digits").x_test)


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist", "cifar10", "cifar100"])
def test_a_missing_data_set_is_told_where_to_go(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"^data.root: .* lacks the data set; put .* from https://.* into its folder"):
        load(name, tmp_path)
    with pytest.raises(DataError, match="is not a folder; put"):
        load(name, tmp_path / "absent")
    monkeypatch.delenv("MPIDL_DATA", raising=False)
    with pytest.raises(DataError, match=r"data.root is \$MPIDL_DATA, which is not set; set it"):
        DATA.parse(name).load()


def test_a_set_with_one_file_missing_names_it(tmp_path: Path) -> None:
    written.write_idx_set(tmp_path / "mnist")
    (tmp_path / "mnist" / written.IDX_NAMES[1]).unlink()
    with pytest.raises(DataError, match="lacks train-labels-idx1-ubyte.gz; put"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("name, key", [("npz", "file"), ("hdf5", "file"), ("text", "file"), ("libsvm", "train")])
def test_a_missing_file_names_key_and_folder(tmp_path: Path, name: str, key: str) -> None:
    with pytest.raises(DataError, match=rf"^data.{key}: there is no file 'absent' under '{tmp_path}'"):
        load(name, tmp_path, **{key: "absent"})


def test_an_unknown_data_set_names_its_neighbour() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cifar10'"):
        DATA.parse("cifar-10")
