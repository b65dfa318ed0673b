"""A checkpoint is whole or not there, shows every state as one array, and is believed only as far as it was written."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mpidl.errors import ResultsError
from mpidl.results.checkpoints import parts, reader
from mpidl.results.checkpoints.folder import CheckpointFolder, part_name
from mpidl.results.checkpoints.index import INDEX, INDEX_SUM, Facts, write_index
from mpidl.results.checkpoints.parts import write_part
from mpidl.state import State
from mpidl.training.copies import StateCopies, in_place

AGENTS, PARAMETERS = 5, 6
EDGES = [(0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3)]
# Agents by rank, as after the death of one.
SHARES = ((0, 3, 4), (1, 2))


def declared(agents: tuple[int, ...]) -> State:
    """One state of every kind, and of names and numbers that files do not know as they are."""
    state = State(agents, AGENTS, PARAMETERS, torch.float32, "cpu")
    state.rows("parameters")
    lazy = state.lazy_rows("corrections/all", 0.5)
    state.edge_rows("replicas", EDGES)
    state.scalars("weights")
    state.server("momentum")
    state.factors("basis", (2, 3))
    state.buffers("counters", 4, torch.int64)
    state.number("drawn")
    state.shared("halves", 3, torch.bfloat16)
    state.buffers("none", 0, torch.float32)
    for agent in agents:
        if agent % 2:
            lazy[agent].fill_(agent + 0.25)
    return state


def filled(agents: tuple[int, ...]) -> State:
    state = declared(agents)
    for item, ids, values in state.items():
        for place, number in enumerate(ids if not item.lazy else ()):
            values[place] = 10 * len(item.name) + number
    return state


def write(folder: CheckpointFolder, round: int, copied: bool = False) -> Path:
    """A complete checkpoint of `filled` states."""
    place = folder.unfinished(round)
    place.mkdir(parents=True)
    states = [filled(share) for share in SHARES]
    held = [StateCopies(state, rank).take() if copied else in_place(state, rank) for rank, state in enumerate(states)]
    files = [write_part(place / part_name(rank), round, rank, each) for rank, each in enumerate(held)]
    facts = Facts(round, 100, 12.5, AGENTS, "seed: 1\n", {"torch": "2"}, {"the split": "one"})
    write_index(place, facts, list(states[0].declarations.values()), files)
    folder.complete(round)
    return folder.of_round(round)


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "run.h5")


def reread(place: Path, agents: tuple[int, ...]) -> State:
    """The state of these agents as the checkpoint has it."""
    from mpidl.experiment.resume import load

    state = declared(agents)
    for lazy in state.lazy.values():
        for item in lazy.touched():
            lazy.release(item)
    load(state, reader.open(place))
    return state


def same(one: State, other: State) -> bool:
    return all(
        ids == found and torch.equal(values, others)
        for (_, ids, values), (_, found, others) in zip(one.items(), other.items(), strict=True)
    )


@pytest.mark.parametrize("copied", [False, True], ids=["as it lies", "copied"])
@pytest.mark.parametrize("shares", [((0, 1, 2, 3, 4),), ((2, 4), (0, 3), (1,)), SHARES])
def test_what_was_written_is_read_by_any_ranks(folder: CheckpointFolder, copied: bool, shares) -> None:
    place = write(folder, 7, copied)
    reader.open(place).verify()
    for share in shares:
        assert same(reread(place, share), filled(share))


def test_what_is_larger_than_a_piece_is_written_and_read_in_pieces(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_CHUNK", 40)
    place = write(folder, 7)
    reader.open(place).verify()
    for at_once in (1, 24, 48, 50):
        monkeypatch.setattr(reader, "_BYTES", at_once)
        for share in ((0, 1, 2, 3, 4), (0, 3), (1, 2, 4)):
            assert same(reread(place, share), filled(share))


def test_the_checksum_of_a_long_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(bytes(2**23))
    tracemalloc.start()
    facts = parts.checksum(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert facts.sha256 == hashlib.sha256(bytes(2**23)).hexdigest()
    assert peak < 2**21


def test_all_of_it_is_on_the_disk_before_it_has_its_name(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        told.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    def renamed(path: Path, target: Path) -> None:
        rename(path, target)
        told.append(f"{path.name} is {target.name}")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    place = write(folder, 7)
    named = told.index(f"{place.name}.part is {place.name}")
    assert {*(path.name for path in place.iterdir()), f"{place.name}.part"} == set(told[:named])
    assert told[named + 1 :] == [folder.path.name]


def test_the_index_shows_every_state_whole_to_any_reader_of_hdf5(folder: CheckpointFolder) -> None:
    place, whole = write(folder, 7), filled((0, 1, 2, 3, 4))
    with h5py.File(place / INDEX) as file:
        found = {dataset.attrs["name"]: dataset for dataset in file["state"].values()}
        for item, ids, values in whole.items():
            shown = found[item.name]
            expected = values[0] if item.kind == "server" else values
            expected = expected.view(torch.int16) if expected.dtype == torch.bfloat16 else expected
            if item.lazy:
                assert sorted(file["ids"][shown.name.rpartition("/")[2]][()]) == list(ids)
                order = np.argsort(file["ids"][shown.name.rpartition("/")[2]][()])
                assert np.array_equal(shown[()][order], expected.numpy())
            else:
                assert np.array_equal(shown[()], expected.numpy()), item.name
        assert file["edges"]["replicas"][()].tolist() == [list(edge) for edge in EDGES]
        assert file["config"].asstr()[()] == "seed: 1\n" and file.attrs["round"] == 7
    digest, name = (place / INDEX_SUM).read_text().split()
    assert name == INDEX and digest == hashlib.sha256((place / INDEX).read_bytes()).hexdigest()


def test_no_rank_holds_what_another_has(folder: CheckpointFolder) -> None:
    place = write(folder, 7)
    with h5py.File(place / part_name(0)) as first, h5py.File(place / part_name(1)) as second:
        for name in first["ids"]:
            assert not set(first["ids"][name][()]) & set(second["ids"][name][()])
        assert len(second["values"]["momentum"]) == 0, "what all ranks hold is saved once"


def test_what_is_not_complete_is_not_there(folder: CheckpointFolder) -> None:
    write(folder, 7)
    folder.of_round(9).with_suffix(".part").mkdir()
    folder.of_round(3).with_suffix(".old").mkdir()
    (folder.path / "round-000000011").write_text("a file")
    (folder.path / "round-000000012").symlink_to(folder.of_round(7))
    (folder.path / "notes.txt").write_text("a user's own")
    assert folder.rounds() == [7]
    folder.tidy()
    assert sorted(path.name for path in folder.path.iterdir()) == [
        *("notes.txt", "round-000000007", "round-000000011", "round-000000012")
    ]
    folder.clear()
    assert folder.rounds() == [] and (folder.path / "notes.txt").exists()


def test_only_the_newest_are_kept_and_an_emptied_folder_goes(folder: CheckpointFolder) -> None:
    for round in (3, 12, 9):
        write(folder, round)
    assert folder.rounds() == [12, 9, 3]
    folder.keep(folder.rounds()[:2])
    assert folder.rounds() == [12, 9]
    folder.clear()
    assert not folder.path.exists()


def test_a_damaged_one_is_replaced_when_its_round_comes_again(folder: CheckpointFolder) -> None:
    place = write(folder, 7)
    (place / part_name(1)).write_bytes(b"")
    write(folder, 7)
    reader.open(place).verify()
    assert [path.name for path in folder.path.iterdir()] == [place.name]


def test_folders_of_runs_whose_names_have_dots_are_told_apart(tmp_path: Path) -> None:
    names = ("lr0.1.h5", "lr0.2.h5", "lr0.2", "lr0.3.hdf5")
    assert [CheckpointFolder(tmp_path / name).path.name for name in names] == [
        *("lr0.1.ckpt", "lr0.2.ckpt", "lr0.2.ckpt", "lr0.3.ckpt")
    ]


def test_a_checkpoint_of_other_states_does_not_fit(folder: CheckpointFolder) -> None:
    from mpidl.experiment.resume import load

    checkpoint = reader.open(write(folder, 7))
    more, other, less = declared((0, 1)), State((0, 1), AGENTS, PARAMETERS, torch.float32, "cpu"), declared((0, 1))
    more.rows("tracker")
    del less.declarations["weights"]
    other.rows("parameters")
    for state, told in ((more, "no state 'tracker'"), (less, "no use for its state 'weights'"), (other, "no use for")):
        with pytest.raises(ResultsError, match=f"does not fit this run: {told}"):
            load(state, checkpoint)


def test_a_disk_that_is_full_ends_in_an_error_of_the_system(folder: CheckpointFolder, tmp_path: Path) -> None:
    from tests.results.test_full_disk import room_for

    with room_for(1000), pytest.raises(OSError, match="File too large"):
        write_part(tmp_path / part_name(0), 7, 0, in_place(filled((0, 1)), 0))


def test_what_is_abandoned_ends_soon(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="canceled"):
        write_part(tmp_path / part_name(0), 7, 0, in_place(filled((0, 1)), 0), abandoned=lambda: True)
