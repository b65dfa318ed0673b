"""A mistake is answered in one sentence with exit code 2, before MPI starts, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpidl.cli.main import main


def mistake(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    """The one sentence that this command is answered with."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in path.parts}
    code = main(words)
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("mpidl: ") and err.endswith("\n") and err.count("\n") == 1
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in path.parts}
    assert {path: time for path, time in after.items() if not path.is_dir()} == before
    return err.removeprefix("mpidl: ")


@pytest.mark.parametrize(
    ("assignment", "answer"),
    [
        ("algorithm.lrr=0.1", "algorithm.lrr: 'lrr' is not known; did you mean 'lr'?"),
        ("algoritm.lr=0.1", "algoritm: 'algoritm' is not known; did you mean 'algorithm'?"),
        ("algorithm.name=dsdg", "algorithm.name: algorithm 'dsdg' is not known; did you mean 'dsgd'?"),
        ("graph=rign", "graph.name: graph 'rign' is not known; did you mean 'ring'?"),
        ("data.split.name=dirichlet-clas", "'dirichlet-class'"),
        ("algorithm.lr=fast", "algorithm.lr: 'fast' is not allowed"),
        ("algorithm.lr=-0.1", "algorithm.lr: -0.1 is not allowed"),
        ("algorithm.momentum=1.5", "algorithm.momentum: 1.5 is not allowed"),
        ("algorithm.lr=.nan", "algorithm.lr: nan is not allowed"),
        ("agents=0", "agents"),
        ("agents=many", "agents"),
        ("data.batch=0", "data.batch"),
        ("train={epochs: 3, rounds: 4}", "train: give exactly one of 'rounds' and 'epochs'; remove the other, or set"),
        ("train.precision=float3", "train.precision"),
        ("evaluate.models=[consensus, locl]", "'locl' is not known; did you mean 'local'?"),
        ("evaluate.every=sometimes", "evaluate.every"),
        ("algorithm.lr", "-s wants key=value"),
        ("algorithm.lr=[1", "not valid YAML"),
        ("algorithm.name=csgd", "graph: csgd"),
        ("graph=null", "graph"),
        ("model.name=nowhere:Net", "nowhere"),
        ("train.rounds=1e3", "train.rounds: 1000.0 is not allowed: input should be a whole number, written 1000"),
        ("seed=1.0", "seed: 1.0 is not allowed: input should be a whole number, written 1"),
        ("gossip=choco", "gossip: 'choco' is not allowed: input should be a section, with keys of its own (scheme,"),
        ("evaluate=5", "evaluate: 5 is not allowed: input should be a section, with keys of its own (every,"),
        ("gossip.compressor=topk", "gossip.compressor.fraction: is missing: f, the part of the numbers that is sent"),
        ("data=./digits.npz", "a file is given by a key, as in {name: npz, file: ./digits.npz}"),
        ("data=train.csv", "a file is given by a key, as in {name: npz, file: train.csv}"),
        ("model=mine.net", "did you mean mine:net?"),
        ("model=mine.py", "a part of your own is mine:attribute"),
        ("schedule={name: step, milestones: 0.5}", "input should be a list, such as [0.5]"),
        ("train.walltime=1d", "train.walltime: '1d' is not a time; write 90 (seconds), '55 min' or '12 h'"),
        ("train.device=gpu", "train.device: 'gpu' is not allowed: input should be 'auto', 'cpu', 'cuda' or 'xpu'"),
        ("checkpoint.best=accuracy", "checkpoint.best: 'accuracy' is not known; did you mean 'test_accuracy_"),
        ("data.split=dirichlet", "did you mean 'dirichlet-"),
        ("algorithm.lr:0.1", "-s wants key=value, not 'algorithm.lr:0.1'"),
    ],
)
def test_a_wrong_key_or_value_is_named(
    capsys: pytest.CaptureFixture[str], folder: Path, assignment: str, answer: str
) -> None:
    (folder / "mine.py").write_text("")
    assert answer in mistake(capsys, folder, "run", "small.yaml", "-s", assignment)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["rnu"], "command 'rnu' is not known; did you mean 'run'?"),
        (["run"], "Missing argument 'CONFIG'"),
        (["run", "small.yaml", "--overwite"], "--overwrite"),
        (["run", "small.yaml", "-n", "0"], "0 is not in the range"),
        (["run", "small.yaml", "-n", "many"], "'many' is not a whole number"),
        (["run", "absent.yaml"], "cannot read the configuration 'absent.yaml'"),
        (["run", "."], "cannot read the configuration '.'"),
        (["list", "grphs"], "kind 'grphs' is not known; did you mean 'graphs'?"),
        (["list", "s"], "kind 's' is not known"),
        (["list", "dsgd"], "`mpidl info dsgd` describes that part"),
        (["list", "models", "graphs"], "extra argument (graphs): mpidl list takes [OPTIONS] [KIND]"),
        (["graph", "ring", "star"], "extra argument (star): mpidl graph takes [OPTIONS] [NAME]"),
        (["graph", "ring", "-p", "1.5"], "'1.5' is not a whole number from 1, such as 1000 or 25e6"),
        (["run", "small.yaml", "algorithm.lr=0.1"], "write -s algorithm.lr=0.1"),
        (["run", "small.yaml", "-n", "4.5"], "'4.5' is not a whole number"),
        (
            ["run", "smal.yml"],
            "cannot read the configuration 'smal.yml': No such file or directory; did you mean 'small.",
        ),
        (["run", "small"], "did you mean 'small.yaml'?"),
        (["help"], "that is `mpidl --help"),
        (["resume", "out.h5"], "that is `mpidl run CONFIG --resume`"),
        (["train", "small.yaml"], "that is `mpidl run CONFIG`"),
        (["evaluate", "small.yaml"], "'small.yaml' is not an HDF5 file; give a run file (*.h5)"),
        (["show", "small.yaml"], "give a run file (*.h5)"),
        (["compare", "."], "there is no run file (*.h5) in the folder '.'"),
        (["checkpoint", "small.yaml"], "say what to do with it, as in `mpidl checkpoint list small.yaml`"),
        (["info", "graphs"], "'graphs' is not known; `mpidl list graphs` names these"),
        (["info", "algorithm"], "`mpidl list algorithms` names these"),
        (["info", "train.rounds"], "it is a key, length of the run in rounds"),
        (["info", "lr"], "`mpidl info` of the algorithm, by its name, shows it"),
        (["info", "mine.net"], "a part of your own is named module:attribute, as in mine:net"),
        (["plot", "small.yaml", "-o", "c.jpg"], "'c.jpg' must end in one of .png, .pdf, .svg"),
        (["bench", "-p", "1e6,big"], "'1e6,big' is not a list of lengths such as 1,1e5,25e6"),
        (["bench", "-g", "ring,sun"], "--graphs: graph 'sun' is not known"),
        (["partition", "small.yaml", "--plot", "x.jpg"], "must end in one of .png"),
        (["--verbose", "run"], "No such option '--verbose'. Did you mean '--version'?"),
        (
            ["run", "small.yaml", "-o", "foo.txt"],
            "'foo.txt' will be an HDF5 file, whose name ends in .h5: give -o foo.h5",
        ),
        (["run", "small.yaml", "-o", "lr0.1"], "give -o lr0.1.h5"),
        (["bench", "-n", "1", "-o", "speed.csv"], "give -o speed.h5"),
        (["info", "dsg"], "'dsg' is not known; did you mean 'dsgd'?"),
        (["schema", "-o", "small.yaml"], "a schema is JSON: 'small.yaml' should end in .json"),
        (["schema", "-o", "absent/s.json"], "'absent/s.json' cannot be written: No such file or directory"),
    ],
)
def test_a_wrong_command_is_answered_with_the_right_one(
    capsys: pytest.CaptureFixture[str], folder: Path, words: list[str], answer: str
) -> None:
    assert answer in mistake(capsys, folder, *words)


def test_more_ranks_than_agents_are_refused(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    sentence = mistake(capsys, folder, "run", "small.yaml", "-n", "5")
    assert "5 ranks" in sentence and "4" in sentence


def test_an_existing_output_is_kept(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "out.h5").write_text("precious")
    sentence = mistake(capsys, folder, "run", "small.yaml", "-o", "out.h5")
    assert "'out.h5' exists" in sentence and "--overwrite" in sentence


@pytest.mark.parametrize("output", ["small.yaml/out.h5", ".", f"{300 * 'n'}.h5"])
def test_an_output_that_cannot_be_written_is_refused(
    capsys: pytest.CaptureFixture[str], folder: Path, output: str
) -> None:
    assert output in mistake(capsys, folder, "run", "small.yaml", "-n", "1", "-o", output)
    assert output in mistake(capsys, folder, "run", "small.yaml", "-n", "1", "--dry-run", "-o", output)


def test_a_file_that_is_no_configuration_is_refused(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    for number, text in enumerate(["just words", "a: [1", "a: 1\na: 2\n", ""]):
        (folder / f"{number}.yaml").write_text(text)
        mistake(capsys, folder, "run", f"{number}.yaml")
    (folder / "binary.yaml").write_bytes(b"\x89HDF\r\n\x1a\n\xff")
    assert "not a text file" in mistake(capsys, folder, "run", "binary.yaml")


def test_a_plug_in_that_raises_when_imported_is_named(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "broken_plugin.py").write_text("raise RuntimeError('half\\ndone')\n")
    sentence = mistake(capsys, folder, "run", "small.yaml", "-s", "data.name=broken_plugin:load")
    assert "'broken_plugin:load' could not be imported: RuntimeError: half done" in sentence


@pytest.mark.parametrize("what", ["SystemExit(3)", "GeneratorExit('3')", "BaseException('3')", "Fails('3')"])
@pytest.mark.parametrize("part", ["data.name", "model.name", "graph.name", "algorithm.name"])
def test_whatever_a_plug_in_raises_while_a_run_is_prepared_is_its_mistake(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch, what: str, part: str
) -> None:
    monkeypatch.setattr("mpidl.launch.process.Launch.run", lambda launch: pytest.fail("ranks were started"))
    module = f"raising_{part.partition('.')[0]}_{what[:2].lower()}"
    (folder / f"{module}.py").write_text(RAISING.format(what=what))
    name = "Method" if part == "algorithm.name" else "function"
    # Data and networks are loaded by ranks, or for a rehearsal.
    rehearsed = ["--dry-run"] if part in ("data.name", "model.name") else []
    sentence = mistake(capsys, folder, "run", "small.yaml", "-n", "2", "-s", f"{part}={module}:{name}", *rehearsed)
    assert what.partition("(")[0] in sentence and f"({module}.py, line 9)" in sentence


def test_what_a_plug_in_says_is_cut_and_made_printable(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "talkative.py").write_text("raise ValueError('\\x1b[2J\\udc80' + 'long ' * 100_000 + 'end')\n")
    sentence = mistake(capsys, folder, "run", "small.yaml", "-s", "data.name=talkative:load")
    assert r"ValueError: \x1b[2J\udc80long long" in sentence and "long end" in sentence
    assert "(talkative.py, line 1)" in sentence and len(sentence) < 1000


def test_an_internal_error_is_one_line_until_debug(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing that a user wrote, and no error of mpidl's: it is given a function that it cannot call.
    monkeypatch.setattr("mpidl.experiment.load", divmod)
    wrong = "TypeError: unsupported operand type(s) for divmod(): 'PosixPath' and 'tuple'"
    assert main(["run", "small.yaml"]) == 1
    assert capsys.readouterr().err == f"mpidl: internal error: {wrong}; run again with --debug for the traceback\n"
    assert main(["run", "small.yaml", "--debug"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown and shown.splitlines()[-1] == f"mpidl: internal error: {wrong}"


RAISING = """
from mpidl.algorithms.decentralized.base import Decentralized

class Fails(Exception):
    def __str__(self):
        raise self

def function(**keys):
    raise {what}

class Method(Decentralized):
    class Settings(Decentralized.Settings):
        def model_post_init(self, context):
            function()

    def round(self, X):
        return X
"""

PLUG_INS = """
from torch import nn, ones

def looks(example_shape, outputs):
    scale = ones(1).item()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, int(outputs * scale)))

def texts(example_shape, outputs):
    raise ValueError(f"no text has the shape {example_shape}")
"""


@pytest.mark.parametrize(
    ("assignment", "answer"),
    [
        ("data={name: npz, file: absent.npz}", "absent.npz"),
        ("model.init=./absent.pt", "model.init: cannot read the initial weights './absent.pt'"),
        ("model.name=gpt", "is made for language"),
        ("model.name=built:texts", "no text has the shape"),
        ("agents=5000", "5000"),
        ("data.batch=100000", "data.batch: 100,000 is more than the 360 examples that any agent has"),
    ],
)
def test_what_only_the_data_show_is_told_by_a_dry_run(
    capsys: pytest.CaptureFixture[str], folder: Path, assignment: str, answer: str
) -> None:
    (folder / "built.py").write_text(PLUG_INS)
    assert answer in mistake(capsys, folder, "run", "small.yaml", "-n", "2", "-s", assignment, "--dry-run")


def test_a_model_that_looks_at_its_numbers_can_be_planned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "built_twice.py").write_text(PLUG_INS)
    assert main(["run", "small.yaml", "-n", "2", "-s", "model.name=built_twice:looks", "--dry-run"]) == 0
    assert "parameters          650" in capsys.readouterr().out


def test_as_many_ranks_as_gpus_unless_the_run_is_on_the_cpu(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpidl.accelerator.usable", lambda: 3)
    monkeypatch.setattr("mpidl.makers.may_be_seen", lambda: True)
    monkeypatch.setattr("mpidl.launch.surroundings.cores", lambda: 2)
    for device, ranks in (("auto", 3), ("cpu", 2)):
        assert main(["run", "small.yaml", "-s", f"train.device={device}", "--dry-run"]) == 0
        assert f" -n {ranks} " in capsys.readouterr().out
