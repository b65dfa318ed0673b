"""What ranks leave word of reaches the launch, from its own host by files, and from others by lines on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mpidl.comm.start import failures, presence
from mpidl.comm.start.presence import FAILURE_FILE, STOPPABLE, WORD


@pytest.fixture(params=["here", "elsewhere"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the launch, which ranks on other hosts do not have."""
    made = tmp_path / "launch"
    made.mkdir()
    there = made if request.param == "here" else tmp_path / "no such folder"
    monkeypatch.setenv(FAILURE_FILE, str(there / "failure.json"))
    return made


def arrived(folder: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """What is printed once all that has been sent has come to the launch."""
    out, err = capfd.readouterr()
    assert out == ""
    printed = ""
    for line in err.encode().splitlines(keepends=True):
        before, mark, word = line.partition(WORD)
        printed += (before + (presence.take(folder, word) if mark else b"")).decode()
    return printed


def test_a_rank_is_known_from_its_beginning_to_its_end(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    presence.leave(3)
    presence.leave(4)
    presence.mark(STOPPABLE)
    assert arrived(folder, capfd) == ""
    assert [(each.rank, each.done) for each in presence.read(folder)] == [(3, False), (4, False)]
    assert (folder / STOPPABLE).is_file()
    presence.complete(3)
    presence.lose(4)
    assert arrived(folder, capfd) == ""
    assert [(each.rank, each.done, each.lost) for each in presence.read(folder)] == [(3, True, False), (4, False, True)]


def test_of_several_failures_the_first_is_kept_and_the_others_are_printed(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failures._speak(ValueError(), "rank 1 on b: it is broken", 2)
    failures._speak(ValueError(), "rank 2 on b: it is broken, too", 2)
    failures._speak(ValueError(), "interrupted", 143)
    assert arrived(folder, capfd) == "mpidl: rank 2 on b: it is broken, too\n"
    assert failures.read(folder / "failure.json") == ("mpidl: rank 1 on b: it is broken", 2)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"3", b'{"name": 3}', b'{"text": "x"}'])
def test_what_is_no_word_is_printed(tmp_path: Path, line: bytes) -> None:
    assert presence.take(tmp_path, line) == line and list(tmp_path.iterdir()) == []


def test_a_word_is_for_its_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "launch"
    folder.mkdir()
    presence.take(folder, json.dumps({"name": "../outside", "text": ""}).encode())
    (tmp_path / "other").touch()
    presence.take(folder, json.dumps({"name": "taken", "was": "../other"}).encode())
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"launch", "launch/outside", "other"}
