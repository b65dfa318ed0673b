"""Of many files each is read for itself: what is wrong with one is told, and takes nothing from the others."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import pytest

from mpidl import results
from mpidl.errors import ConfigError, ResultsError
from mpidl.results import apart, many
from mpidl.results.glance import NoRunFile
from tests.results import forged


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten sound files, called 1 to 10, in folders, and what lies among them."""
    monkeypatch.chdir(tmp_path)
    sound = forged.write_sound(tmp_path / "sound.h5").read_bytes()
    (tmp_path / "sound.h5").unlink()
    for number in range(1, 11):
        path = tmp_path / "runs" / ("even" if number % 2 == 0 else "odd") / f"seed={number}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound)
    checkpoint = tmp_path / "runs" / "odd" / "seed=1.ckpt" / "round-000000010"
    checkpoint.mkdir(parents=True)
    (checkpoint / "rank-00000.h5").write_bytes(b"part of a checkpoint")
    (tmp_path / "runs" / "odd" / "seed=1.analysis.h5").write_bytes(b"findings")
    return tmp_path / "runs"


def stems(opened: results.Opened) -> list[str]:
    return [run.path.stem.removeprefix("seed=") for run in opened.runs]


def test_a_folder_stands_for_the_run_files_below_it(folder: Path) -> None:
    assert stems(results.open_all([folder])) == ["2", "4", "6", "8", "10", "1", "3", "5", "7", "9"]
    assert stems(results.open_all(["runs/odd", "runs/even/seed=2.h5", "runs/odd/seed=3.h5"])) == [*"13579", "2"]


def test_a_pattern_stands_for_what_it_matches(folder: Path) -> None:
    assert stems(results.open_all(["runs/*/seed=[12]*.h5"])) == ["2", "10", "1"]
    assert stems(results.open_all(["runs/e*"])) == ["2", "4", "6", "8", "10"]
    for nothing in ("runs/*.hdf5", "runs/odd/seed=1.ckpt/round-000000011*"):
        with pytest.raises(ConfigError, match="no file is called as the pattern"):
            results.open_all([nothing])


def test_a_folder_without_run_files_is_one_sentence(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no run file"):
        results.open_all([folder / "odd" / "seed=1.ckpt"])


def test_names_with_characters_of_patterns_are_names_first(folder: Path) -> None:
    path = folder / "odd" / "seed=1.h5"
    path.rename(folder / "lr=[0.1].h5")
    assert many.find([folder / "lr=[0.1].h5"]) == [many.Found(folder / "lr=[0.1].h5", True)]


def test_a_broken_file_is_told_and_the_others_are_read(folder: Path) -> None:
    (folder / "odd" / "seed=3.h5").write_bytes(b"nothing")
    forged.forge(folder / "odd" / "seed=5.h5", next(iter(forged.FORGED)))
    with h5py.File(folder / "odd" / "seed=7.h5", "w") as file:
        file["x"] = 1
    for words, missed in (([folder / "odd"], 0), (sorted((folder / "odd").glob("seed=?.h5")), 2)):
        opened = results.open_all(words)
        assert stems(opened) == ["1", "9"]
        assert [Path(str(error).split("'")[1]).stem for error in opened.unreadable] == ["seed=3", "seed=5"]
        assert len(opened.missed) == missed
        assert [type(error) for error in opened.others] == [NoRunFile]


def test_where_none_can_be_read_the_first_is_the_error(folder: Path) -> None:
    with pytest.raises(ResultsError, match=r"nothing.h5' is not there"):
        results.open_all(["nothing.h5", "x" * 300])


def test_a_file_on_which_the_reader_ends_is_named_and_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = results.reader._run

    def run(path: Path, *more: object) -> results.Run:
        if path.stem == "seed=5":
            os.abort()
        return sound(path, *more)

    monkeypatch.setattr(results.reader, "_run", run)
    opened = results.open_all([folder])
    assert stems(opened) == ["2", "4", "6", "8", "10", "1", "3", "7", "9"]
    assert "seed=5.h5' is damaged: HDF5 crashes on it" in str(*opened.unreadable)


def test_damage_that_shows_later_is_not_blamed_on_the_file_that_is_read_then(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a file does to the process that reads it may end that process under the next one."""
    monkeypatch.setattr(apart, "_MOST_COPIES", 1)
    sound, seen = results.reader._run, set()

    def run(path: Path, *more: object) -> results.Run:
        seen.add(path.stem)
        if "seed=4" in seen and path.stem != "seed=4":
            os.abort()
        return sound(path, *more)

    monkeypatch.setattr(results.reader, "_run", run)
    opened = results.open_all([folder])
    assert len(opened.runs) == 10 and not opened.unreadable


def test_no_process_is_left_where_not_all_is_taken(folder: Path) -> None:
    answers = apart.call_each([(path, os.getpid) for path in folder.rglob("seed=?.h5")])
    readers = {next(answers), next(answers)}
    assert os.getpid() not in readers
    answers.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
