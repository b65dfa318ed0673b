"""The command line as a whole: its table of commands, its helps, and the commands that only tell."""

from __future__ import annotations

import json
import shlex
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


OFFERED = {
    ("info", "qg"): {"qgm"},
    ("list", "gra"): {"graphs"},
    ("graph", "--compare", "ring,tor"): {"ring,torus"},
    ("checkpoint", "li"): {"list"},
    ("run", "small.yaml", "-s", "algorithm.l"): {"algorithm.lr=", "algorithm.local_steps="},
    ("run", "small.yaml", "-s", "algorithm.name=fedavg", "-s", "algorithm.local_e"): {"algorithm.local_epochs="},
    ("run", "small.yaml", "-s", "graph=rin"): {"graph=ring"},
    ("partition", "small.yaml", "-s", "data.split.name=sh"): {"data.split.name=shards"},
    ("run", "absent.yaml", "-s", "train.det"): {"train.deterministic="},
    ("run", "small.yaml", "-s", "train.deterministic="): {"train.deterministic=true", "train.deterministic=false"},
    ("nothing", "x"): set(),
}


@pytest.mark.parametrize("words", OFFERED)
def test_a_shell_is_offered_how_a_word_may_go_on(words: tuple[str, ...], folder: Path, monkeypatch, capfd) -> None:
    monkeypatch.setenv("_MPIDL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", shlex.join(["mpidl", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    assert main([]) == 0
    out, err = capfd.readouterr()
    assert {line.partition(",")[2] for line in out.split()} == OFFERED[words] and not err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_what_completes(shell: str, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setenv("_MPIDL_COMPLETE", f"{shell}_source")
    # Click asks bash for its version.
    assert main([]) == 0
    out, err = capfd.readouterr()
    assert "_mpidl_completion" in out and not err


def test_list_names_every_part_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for kind in KINDS:
        assert f"{kind}:" in lines
    described = [line.split(None, 1) for line in lines if line.startswith("  ")]
    assert [name for _, name in PARTS] == [words[0] for words in described]
    assert all(len(words) == 2 for words in described)


def test_list_knows_a_kind_by_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "graph"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(registry_of("graphs"))


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


def test_schema_is_the_same_in_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    text = capsys.readouterr().out
    assert main(["schema", "-o", "keys.json"]) == 0
    assert (folder / "keys.json").read_text(encoding="utf-8") == text


def test_env_tells_what_a_bug_report_needs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--json", "-o", "small.yaml/below"]) == 0
    report = json.loads(capsys.readouterr().out)
    for name in ("mpidl", "python", "system", "packages", "MPI", "GPU", "output", "memory", "scheduler", "variables"):
        assert isinstance(report[name], list)
    for word in ("torch", "numpy", "mpi4py", "h5py", "click", "hdf5"):
        assert f"{word} " in report["packages"][0]
    assert "cores for this process" in report["system"][1]
    mpi = "\n".join(report["MPI"])
    for word in ("by mpi4py", "started by", "thread level multiple", "ULFM", "CUDA", "libfabric"):
        assert word in mpi
    (warning,) = [text for text in report["warnings"] if "cannot be written" in text]
    assert warning.endswith("name another output with -o")


def test_env_shows_a_line_for_each_fact(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("mpidl.cli.env._report", lambda output: {"MPI": ["one", "two"], "warnings": []})
    assert main(["env"]) == 0
    assert capsys.readouterr().out == "MPI        one\n           two\nwarnings   none\n"


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
    functions = """
def net(example_shape, outputs, width=3): "A net."
def edges(agents, many=2): "Some edges."
def examples(count=4): "Some points."
def error(module, x, y, power=2): "An error."
"""
    (folder / "functions.py").write_text(functions)
    for name, kind, key in (
        ("net", "model", "width"),
        ("edges", "graph", "many"),
        ("examples", "data", "count"),
        ("error", "loss", "power"),
    ):
        assert main(["info", f"functions:{name}"]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"{kind} functions:{name}\n") and f"\n{key} " in shown
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


def test_the_first_words_come_before_anything_heavy_is_imported(folder: Path) -> None:
    program = """
import sys
from mpidl.launch.process import Launch
HEAVY = {"torch", "h5py", "mpi4py.MPI", "networkx", "rich", "scipy"}
Launch.run = lambda launch: print(*sorted(set(sys.modules) & HEAVY))
from mpidl.cli.main import main
main(["run", "small.yaml", "-n", "2"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n" and done.stderr == "starting 2 ranks…\n"
