"""On a full disk a run file stays whole, says how the run ended, and every error is one sentence."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mpidl import results
from mpidl.errors import ConfigError, ResultsError, SaveError
from mpidl.results import storage
from mpidl.results.run_file import RunFile
from tests.results.conftest import AGENTS

Create = Callable[..., RunFile]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def full(create: Create) -> RunFile:
    """A run file of two records, of which the next needs a new chunk, so a larger file."""
    run = create(room=2)
    for round_ in range(2):
        run.append({"round": round_, "test_accuracy_local": np.zeros(AGENTS)})
    run.flush()
    return run


def test_the_file_and_the_records_are_kept_for_later(full: RunFile) -> None:
    with room_for(full.path.stat().st_size):
        full.append({"round": 2})
        with pytest.raises(SaveError, match=r"\(File too large\); it keeps its 2 records$"):
            full.flush()
    assert results.open(full.path).records == 2
    assert not full.path.with_name("run.h5.part").exists()
    full.append({"round": 3})
    full.finish()
    assert results.open(full.path).metrics["round"].tolist() == [0, 1, 2, 3]


def test_a_disk_that_stays_full_does_not_hide_how_the_run_ended(full: RunFile) -> None:
    with room_for(full.path.stat().st_size):
        for round_ in (2, 3, 4):
            full.append({"round": round_})
        with pytest.raises(SaveError) as caught:
            full.finish()
    told = f"{str(full.path)!r} could not be written (File too large); it keeps its 2 records, and 3 are lost"
    assert str(caught.value) == told
    found = results.open(full.path)
    assert (found.status, found.abandoned, found.records) == ("finished", False, 2)
    assert found.finished
    assert [path.name for path in full.path.parent.iterdir()] == ["run.h5"]


def test_what_reached_the_file_before_the_error_is_counted_and_not_told_twice(
    full: RunFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        if path == full.path.parent:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(storage, "sync", fail)
    full.append({"round": 2})
    full.event("note", "once")
    with pytest.raises(SaveError, match="it keeps its 3 records$"):
        full.flush()
    monkeypatch.undo()
    full.flush()
    full.finish()
    found = results.open(full.path)
    assert found.metrics["round"].tolist() == [0, 1, 2]
    assert [event.text for event in found.events] == ["once"]


def test_a_file_that_is_gone_is_told_as_such(full: RunFile) -> None:
    full.append({"round": 2})
    full.path.unlink()
    with pytest.raises(SaveError, match=r"\(No such file or directory\); it cannot be read either$"):
        full.flush()


@pytest.mark.parametrize(("size", "error"), [(0, ResultsError), (1000, ConfigError)])
def test_a_run_for_which_there_is_no_room_is_refused_and_leaves_nothing(
    create: Create, tmp_path: Path, size: int, error: type[Exception]
) -> None:
    with room_for(size), pytest.raises(error, match="run.h5' cannot be written: File too large") as caught:
        create()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_run_that_cannot_go_on_for_want_of_room_is_left_as_it_was(full: RunFile) -> None:
    full.finish()
    before = full.path.read_bytes()
    with room_for(1000), pytest.raises(SaveError, match="File too large.*keeps its 2 records"):
        RunFile.open(full.path)
    assert full.path.read_bytes() == before
    assert [path.name for path in full.path.parent.iterdir()] == ["run.h5"]
