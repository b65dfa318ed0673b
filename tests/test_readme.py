"""What the README shows is true: its configuration trains, its plug-in is complete, its commands and lists are real."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mpidl import results
from mpidl.cli.main import COMMANDS, commands
from tests.cli.test_run import mpidl
from tests.mpirun import environment
from tests.test_architecture import HEIGHT, LAYERS, PACKAGE

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = [(language, text) for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]
CONFIGURATION = next(text for language, text in BLOCKS if language == "yaml")
PYTHON = [text for language, text in BLOCKS if language == "python"]
PLUGINS = [text for text in PYTHON if "used as" in text.splitlines()[0]]
AFTER_A_RUN = [text for text in PYTHON if text not in PLUGINS]
SHOWN = [
    shlex.split(line, comments=True)[1:]
    for language, text in BLOCKS
    for line in text.splitlines()
    if not language and line.startswith("mpidl ")
]
# As short as a run can be, on what a machine without a GPU has.
SHORT = ["-s", "train={rounds: 2, device: cpu}"]


@pytest.mark.mpi
def test_the_first_configuration_and_the_commands_after_it_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("first.yaml").write_text(CONFIGURATION)
    assert [words[0] for words in SHOWN] == [
        *("run", "run", "show", "compare", "plot", "sweep", "compare", "plot", "analyze", "run", "checkpoint")
    ]
    for words in SHOWN:
        # As a shell does it.
        words = [str(path) for word in words for path in (sorted(Path().glob(word)) if "*" in word else [word])]
        done = mpidl(*words, *(SHORT if words[0] in ("run", "sweep") and "--dry-run" not in words else []))
        assert done.returncode == 0, (words, done.stderr)
    run = results.open("runs/first.h5")
    assert (run.status, run.config["algorithm"]["lr"], run.config["agents"]) == ("finished", 0.05, 8)
    assert Path("curves.png").stat().st_size > 0
    for text in AFTER_A_RUN:
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.mpi
@pytest.mark.parametrize("plugin", PLUGINS, ids=["algorithm", "scheme", "compressor"])
def test_a_part_of_ones_own_is_complete_and_trains(
    plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(plugin)
    Path("first.yaml").write_text(CONFIGURATION)
    usage = re.search(r"used as  (\w+): (\{.*\})\.", plugin.splitlines()[0])
    assert usage is not None
    assert len(plugin.splitlines()) < 32
    settings = f"{usage[1]}={usage[2]}"
    done = mpidl("run", "first.yaml", "-n", "2", "-s", settings, *SHORT, "-o", "mine.h5", "-s", "train.rounds=20")
    assert done.returncode == 0, done.stderr
    losses = results.open("mine.h5").metrics["test_loss_consensus"]
    assert losses[-1] < losses[0]


def test_what_each_kind_of_part_inherits_is_imported_from_its_package() -> None:
    rows = re.findall(r"^\| [^|]+ \| (an? [^|]+) \| `([\w/]+)/__init__.py` \|$", CONTRIBUTING, re.MULTILINE)
    assert len(rows) >= 11
    for holds, package in rows:
        offered = importlib.import_module(package.replace("/", "."))
        for name in re.findall(r"`([A-Z]\w+)`", holds):
            assert name in offered.__all__ and isinstance(getattr(offered, name), type), f"{package} has no {name}"


def test_every_command_that_is_shown_exists_with_its_options() -> None:
    text = re.sub(r"```.*?```", "", README + CONTRIBUTING, flags=re.DOTALL)
    quoted = [words.split() for words in re.findall(r"`mpidl ([^`]+)`", text)]
    runner = CliRunner()
    for words in [*SHOWN, *quoted]:
        assert words[0] in COMMANDS, words
        asked = runner.invoke(commands, [words[0], "--help"])
        assert asked.exit_code == 0
        for option in (word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)):
            assert re.search(rf"(^|\s){option}\b", asked.output), f"mpidl {words[0]} has no {option}"
    cells = re.findall(r"^\| (`mpidl .+?) \|", README, re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`(?:mpidl )?([a-z]+)", cell)} == set(COMMANDS)


def test_the_list_of_packages_is_the_tree() -> None:
    block = next(text for _, text in BLOCKS if text.startswith("cli/ "))
    # Names stand before the explanations, which begin in a column of their own; the last line has names alone.
    columns = [line[:16] if "/" in line else line for line in block.splitlines() if not line.startswith(" ")]
    names = [name.rstrip("/") for column in columns for name in column.split()]
    top = {path.stem for path in PACKAGE.iterdir() if path.stem not in ("__init__", "__main__", "__pycache__", "py")}
    assert top - set(names) == set()
    named = [name for name in names if name in HEIGHT]
    assert sorted(map(HEIGHT.__getitem__, named), reverse=True) == list(map(HEIGHT.__getitem__, named))
    assert set(named) == {name for layer in LAYERS for name in layer} - {"__main__"}
    rooms = {path.name for path in (PACKAGE / "comm").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(re.findall(r"^    (\w+)/", block, re.MULTILINE))


def test_a_row_reaches_mpi_within_the_files_that_are_listed() -> None:
    steps = re.findall(r"^\d\. `(mpidl/\S+\.py)`", README, re.MULTILINE)
    assert steps[0].endswith("dsgd.py") and len(steps) <= 5
    for path, following in zip(steps, steps[1:], strict=False):
        assert (ROOT / path).exists()
        module = following.removesuffix(".py").replace("/", ".")
        # An exchange is made by the gossip scheme, and known here by what it can do.
        assert module in (ROOT / path).read_text(encoding="utf-8") or "exchange" in module
    assert ".Isend" in (ROOT / steps[-1]).read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_file_that_is_named_exists(text: str) -> None:
    paths = set(re.findall(r"`((?:mpidl|tests|tools|configs|jobs)/[\w/.-]*)`", text))
    assert paths and [path for path in sorted(paths) if not (ROOT / path).exists()] == []
