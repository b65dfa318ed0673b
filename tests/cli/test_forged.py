"""Run files that claim what is not so end in one sentence in each command that reads them, and print nothing before."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mpidl import results
from mpidl.cli.main import main
from mpidl.errors import ResultsError
from mpidl.results import apart
from mpidl.results.run_file import RunFile
from tests.results import forged

COMMANDS = {
    "show": ["show", "--timing"],
    "json": ["show", "--json", "--timing"],
    "compare": ["compare"],
    "plot": ["plot", "-o", "curves.png"],
}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return forged.write_sound(tmp_path / "run.h5")


def answer(capfd: pytest.CaptureFixture[str], command: str, *paths: Path) -> str:
    """The one sentence with which a command ends."""
    code = main([*COMMANDS[command], *map(str, paths)])
    out, err = capfd.readouterr()
    assert (code, out) == (2, ""), err
    assert err.startswith("mpidl: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize("kind", [kind for kind in forged.FORGED if kind not in forged.OF_A_MODEL])
def test_a_forged_file_is_one_sentence_in_every_command(
    path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    sound = path.with_name("sound.h5")
    sound.write_bytes(path.read_bytes())
    words = forged.forge(path, kind)
    commands = [command for command in COMMANDS if command != "plot" or pytest.importorskip("matplotlib")]
    commands.remove("compare")
    for command in commands:
        # With a sound file before it, of which nothing may be drawn either.
        paths = [sound, path] if command == "plot" else [path]
        sentence = answer(capfd, command, *paths)
        assert str(path) in sentence
        assert any(word in sentence for word in words.split("|")), sentence
    assert not Path("curves.png").exists()


@pytest.mark.parametrize("kind", [kind for kind in forged.FORGED if kind not in forged.OF_A_MODEL])
def test_compare_tells_of_a_forged_file_and_shows_the_others(
    path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where the forgery lies in what tables do not read, the run is shown as it is."""
    sound = path.with_name("sound.h5")
    sound.write_bytes(path.read_bytes())
    words = forged.forge(path, kind)
    code = main(["compare", str(path), str(sound), "--no-group", "-f", "csv"])
    out, err = capfd.readouterr()
    *rows, last = csv.DictReader(out.splitlines())
    assert last.pop("files") == f'["{sound}"]'
    if code == 2:
        assert not rows and err.startswith("mpidl: left out: ") and err.count("\n") == 1 and str(path) in err
        assert any(word in err for word in words.split("|")), err
    else:
        ((row),) = rows
        assert row.pop("files") == f'["{path}"]'
        assert (code, err) == (0, "") and list(row.values())[2:] == list(last.values())[2:]


@pytest.mark.parametrize("kind", sorted(forged.OF_A_MODEL))
def test_a_forged_model_is_one_sentence(path: Path, kind: str) -> None:
    words = forged.forge(path, kind)
    with pytest.raises(ResultsError, match=words) as caught:
        results.open(path).state_dict()
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert main(["show", str(path)]) == 0


def test_a_sound_file_is_read_whole(path: Path) -> None:
    found = results.open(path)
    assert found.provenance["versions"] == {"torch": "2.13.0"}
    assert found.timing["gradient"][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.state_dict()["weight"].tolist() == [[40, 41, 42], [43, 44, 45]]


def test_a_named_pipe_is_not_waited_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    for command in COMMANDS:
        assert "no regular file" in answer(capfd, command, tmp_path / "pipe.h5")


@pytest.mark.parametrize("value", [1e308, -1e308, np.inf, np.nan])
def test_numbers_of_any_size_can_be_shown_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], value: float
) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    monkeypatch.chdir(tmp_path)
    run = RunFile.create(tmp_path / "run.h5", {"name": "large"}, {"hosts": ["a"]}, None, 2)
    for number, large in enumerate((1.0, value, -value)):
        # Clocks and counters show nothing else.
        shown = abs(large) if np.isfinite(large) else 1.0
        scales = {"round": number, "epoch": float(number), "seconds": shown, "bytes": shown}
        run.append({**scales, "test_loss_consensus": large, "test_loss_local": np.array([large, large])})
        run.append_timing({"gradient": np.array([shown, np.nan])})
    run.finish()
    for words in (
        *COMMANDS.values(),
        ["plot", "-o", "more.png", "-m", "test_loss_local", "-x", "seconds", "-x", "round"],
    ):
        assert main([*words, "run.h5"]) == 0
        out, err = capfd.readouterr()
        assert err == ""
        assert max(map(len, out.splitlines())) < 4000
    assert Path("curves.png").stat().st_size and Path("more.png").stat().st_size


def crash(root: object) -> None:
    os.abort()


def spin(root: object) -> None:
    while True:
        pass


def swell(root: object) -> None:
    np.ones(2**40)


def print_and_raise(root: object) -> None:
    os.write(2, b"*** free(): invalid pointer ***")
    raise ResultsError("it is damaged")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (crash, "HDF5 crashes on it"),
        (spin, "reading it comes to no end"),
        (swell, "more memory than its size explains"),
        (print_and_raise, "it is damaged"),
    ],
)
def test_what_ends_a_reader_ends_no_command(
    path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[object], None],
    words: str,
) -> None:
    monkeypatch.setattr(apart, "_SECONDS", 1)
    monkeypatch.setattr(results.reader, "_run", lambda path, root, written: end(root))
    assert words in answer(capfd, "show", path)


def test_a_read_that_is_interrupted_leaves_no_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(file: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(apart.pickle, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        apart.call(path, lambda: spin(None))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
