"""A launch leaves nothing; what a killed one has left is removed by the next one, and nothing of anybody else's."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest

from mpidl.comm.start import presence
from mpidl.comm.start.presence import FAILURE_FILE, Presence
from mpidl.launch import folders


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The temporary folder and the shared memory of a machine."""
    temporary, memory = tmp_path / "tmp", tmp_path / "shm"
    temporary.mkdir()
    memory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(folders, "SHARED_MEMORY", memory)
    monkeypatch.setattr(presence, "_MEMORY", f"{memory}/")
    return temporary, memory


def killed(places: tuple[Path, Path], *shared: Path) -> int:
    """A launch whose process and whose rank are gone without a chance to clear up; returns its number."""
    program = (
        "import os, sys, tempfile; from pathlib import Path; from mpidl.launch import folders\n"
        "tempfile.tempdir = sys.argv[1]; folders.SHARED_MEMORY = Path(sys.argv[2])\n"
        "with folders.folders() as made:\n"
        "    print(made.words, flush=True); (made.memory / 'segment').touch(); os._exit(0)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, places)], stdout=subprocess.PIPE, text=True)
    words = Path(process.communicate(timeout=30)[0].strip())
    files = tuple((str(file), file.stat().st_ino) for file in shared)
    (words / "rank-0").write_text(json.dumps(asdict(Presence(0, platform.node(), process.pid, 1, files))))
    return process.pid


def left(places: tuple[Path, Path]) -> list[str]:
    return sorted(path.name for place in places for path in place.iterdir())


def test_a_launch_leaves_nothing(places: tuple[Path, Path]) -> None:
    with folders.folders() as made:
        assert made.words.parent == places[0] and made.memory is not None and made.memory.parent == places[1]
        assert made.words.stat().st_mode & 0o77 == 0
        (made.words / "file").touch()
    assert left(places) == []


def test_what_a_killed_launch_and_its_ranks_have_left_goes_at_the_next_start(places: tuple[Path, Path]) -> None:
    ours, replaced, others = (places[1] / name for name in ("mpich_shm_1_0", "mpich_shm_2_0", "mpich_shm_3_0"))
    for file in (ours, replaced, others):
        file.touch()
    killed(places, ours, replaced)
    assert len(left(places)) == 5
    # The same name, and yet another one's by now.
    other = places[1] / "other"
    other.touch()
    other.replace(replaced)
    with folders.folders():
        pass
    assert left(places) == ["mpich_shm_2_0", "mpich_shm_3_0"]


def test_folders_of_launches_that_run_here_or_elsewhere_stay(places: tuple[Path, Path]) -> None:
    mine = f"mpidl-{folders._here()}-{os.getpid()}-{presence.started(os.getpid())}-x"
    elsewhere = "mpidl-0123456789ab-1-1-x"
    for name in (mine, elsewhere, "mpidl-tests-abc", "mpidl-x"):
        (places[0] / name).mkdir()
    before = left(places)
    folders.remove_abandoned()
    assert left(places) == before


def test_a_rank_that_outlives_its_launch_keeps_the_folder_until_it_is_gone(places: tuple[Path, Path]) -> None:
    killed(places)
    words = next(places[0].iterdir())
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = presence.started(alive.pid) or 0
    (words / "rank-1").write_text(json.dumps(asdict(Presence(1, platform.node(), alive.pid, started))))
    folders.remove_abandoned()
    assert words.exists()
    alive.kill()
    alive.wait()
    folders.remove_abandoned()
    assert left(places) == []


def test_the_end_of_a_launch_ends_its_ranks(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "PATIENCE", 0.2)
    stubborn = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with folders.folders() as made:
        mine = Presence(0, platform.node(), stubborn.pid, presence.started(stubborn.pid) or 0)
        (made.words / "rank-0").write_text(json.dumps(asdict(mine)))
    assert stubborn.wait(timeout=10) == -9
    assert left(places) == []


def test_words_of_a_rank_are_read_again_and_say_when_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAILURE_FILE, str(tmp_path / "failure.json"))
    presence.leave(3)
    (tmp_path / "rank-4").write_text('{"rank": 4')
    assert [(found.rank, found.process, found.done) for found in presence.read(tmp_path)] == [(3, os.getpid(), False)]
    assert presence.read(tmp_path)[0].is_here
    presence.complete(3)
    assert [(found.rank, found.done) for found in presence.read(tmp_path)] == [(3, True)]
    presence.leave(5)
    presence.lose(5)
    assert [(found.rank, found.done, found.lost) for found in presence.read(tmp_path)] == [
        (3, True, False),
        (5, False, True),
    ]
    monkeypatch.setenv(FAILURE_FILE, str(tmp_path / "nowhere" / "failure.json"))
    presence.leave(3)
    assert not (tmp_path / "nowhere").exists()
