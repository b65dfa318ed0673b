"""What a file holds cannot act on the terminal of who looks at it."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest

from mpidl.cli.main import main
from mpidl.results.run_file import RunFile

CLEARING = "\x1b[2J\x07 and words"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A run whose every text clears the screen but for its configuration, where none may stand."""
    path = tmp_path / "hostile.h5"
    config = {"name": "hostile", "model": {"name": "mlp"}, "algorithm": "dsgd", "graph": "ring"}
    run = RunFile.create(path, config, {"hosts": [CLEARING], "transport": CLEARING}, None, 1)
    run.append({"round": 1, CLEARING: 2.0})
    run.event(CLEARING, CLEARING)
    run.finish()
    with h5py.File(path, "r+") as file:
        file.attrs["name"] = CLEARING
    return path


@pytest.mark.parametrize("words", [["show"], ["show", "--timing"], ["show", "--watch"], ["compare"]])
def test_texts_of_a_run_file_are_spelt_out(hostile: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main([words[0], str(hostile), *words[1:]]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\x07" not in shown and r"\x1b[2J\x07 and words" in shown


@pytest.mark.parametrize("command", ["show", "compare"])
def test_json_holds_what_the_file_does(hostile: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, str(hostile), "--json"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and CLEARING in json.loads(shown).values()
