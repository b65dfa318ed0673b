"""The command line as a whole: its table of commands, its helps, and the commands that only tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mpidl.cli.info import settings_rows
from mpidl.cli.list import KINDS, registry_of
from mpidl.cli.main import COMMANDS, Commands, commands, main

PARTS = [(kind, name) for kind in KINDS for name in registry_of(kind)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_the_table_exists_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: mpidl {name}")
    command = commands.get_command(click.Context(commands), name)
    for option in command.params:
        assert isinstance(option, click.Argument) or option.help, f"{name} {option.name} has no help"


def test_help_imports_no_command_and_nothing_heavy() -> None:
    program = (
        "import sys; from mpidl.cli.main import main; main(['--help']);"
        "print(*sorted(set(sys.modules) & {'numpy', 'pydantic', 'yaml', 'torch', 'mpi4py', 'h5py', 'rich'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in COMMANDS)
    assert done.stdout.splitlines()[-1] == ""


def test_completion_offers_commands_with_their_help() -> None:
    offered = Commands.shell_complete(commands, click.Context(commands), "s")
    assert [item.value for item in offered] == [name for name in COMMANDS if name.startswith("s")]
    assert all(item.help for item in offered)


def test_list_names_every_part_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for kind in KINDS:
        assert f"{kind}:" in lines
    described = [line.split(None, 1) for line in lines if line.startswith("  ")]
    assert [name for _, name in PARTS] == [words[0] for words in described]
    assert all(len(words) == 2 for words in described)


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_info_shows_every_setting_with_its_meaning(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", name]) == 0
    text = capsys.readouterr().out
    assert f"{registry_of(kind).kind} {name}" in text
    for key, _, _, _, meaning in settings_rows(registry_of(kind).settings(name)):
        assert meaning, f"{name}.{key} has no description"
        assert f"\n{key} " in text


@pytest.mark.parametrize(
    ("name", "gradients", "cost"),
    [
        ("q-saddle", "2", "deg"),
        ("ngc", "1 + deg", "2 deg"),
        ("csgd", "1", "1 up, 1 down"),
        ("mime", "2 K and a pass", "2 up, 3 down"),
    ],
)
def test_info_tells_what_an_algorithm_costs(
    name: str, gradients: str, cost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", name]) == 0
    text = capsys.readouterr().out
    assert f"\ngradients per agent and round   {gradients}\n" in text
    assert f"\nrows sent per agent and round   {cost}\n" in text


def test_info_says_where_default_settings_tell_no_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = """
from mpidl.algorithms import AlgorithmSettings, Decentralized

class Hasty(Decentralized):
    class Settings(AlgorithmSettings):
        hurry: int

    def round(self, X):
        return self.mix(X)
"""
    (tmp_path / "needing_a_setting.py").write_text(text)
    assert main(["info", "needing_a_setting:Hasty"]) == 0
    told = capsys.readouterr().out
    assert "by `mpidl run --dry-run` only" in told and "hurry" in told and "gradients per agent" not in told


def test_schema_describes_every_section() -> None:
    done = subprocess.run([sys.executable, "-m", "mpidl", "schema"], capture_output=True, text=True, check=True)
    schema = json.loads(done.stdout)
    assert {"agents", "model", "data", "algorithm", "graph", "train"} <= set(schema["properties"])
    assert "momentum" in json.dumps(schema["properties"]["algorithm"])


def test_env_tells_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env"]) == 0
    text = capsys.readouterr().out
    for word in ("mpidl", "python", "torch", "h5py", "MPI", "cores", "GPU"):
        assert word in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from mpidl import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mpidl {__version__}\n"


@pytest.mark.parametrize(
    ("name", "key"), [("train", "precision"), ("gossip", "transport"), ("evaluate", "every"), ("checkpoint", "keep")]
)
def test_info_shows_the_keys_of_a_section(name: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", name]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"section {name}\n") and f"\n{key} " in text


def test_info_shows_a_part_of_ones_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "from mpidl.graphs.simple import Ring\nclass Own(Ring):\n    'A ring of ours.'\n    width: int = 2\n"
    (folder / "told.py").write_text(text)
    assert main(["info", "told:Own"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("graph told:Own\n") and "A ring of ours." in shown and "\nwidth " in shown
    assert main(["info", "told:Absent"]) == 2
    assert "'Absent' is not known" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["info", "fedavg"], ["list"], ["schema"]])
def test_a_reader_who_has_enough_ends_a_command_without_a_word(words: list[str]) -> None:
    command = [sys.executable, "-m", "mpidl", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
