"""`mpidl partition` shows who would get what, before anyone trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpidl.cli.main import main

CONFIG = """
seed: 1
agents: 6
model: logistic
data: {name: digits, validation: 0.1, split: {name: dirichlet-class, alpha: 0.1}}
algorithm: {name: csgd, lr: 0.1}
train: {rounds: 2}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "run.yaml").write_text(CONFIG)
    return str(tmp_path / "run.yaml")


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()[:1].isdigit() and "training" not in line]


def test_the_table_adds_up(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["partition", config]) == 0
    text = capsys.readouterr().out
    assert "digits, dirichlet-class, seed 1" in text and "1437 training examples; 144 for validation\n" in text
    cells = [[int(cell.replace("·", "0")) for cell in row] for row in rows(text)]
    assert [row[0] for row in cells] == list(range(6))
    assert all(row[1] == sum(row[2:]) for row in cells) and sum(row[1] for row in cells) == 1293


def test_warnings_and_unused_examples_are_told(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["partition", config, "-s", "data.split={name: one-class}"]) == 0
    printed = capsys.readouterr()
    assert "; 144 for validation; " in printed.out and " unused" in printed.out
    assert printed.err == "warning: no agent holds classes 6, 7, 8, 9: there are fewer agents than classes\n"


@pytest.mark.parametrize("data", ["{name: quadratics}", "{name: synthetic, classes: 30, dimension: 9}"])
def test_without_few_classes_the_table_stays_narrow(config: str, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["partition", config, "-s", f"data={data}"]) == 0
    assert all(len(row) <= 5 for row in rows(capsys.readouterr().out))


@pytest.mark.parametrize("agents, suffix", [(6, "png"), (60, "pdf")])
def test_the_division_is_drawn(config: str, tmp_path: Path, agents: int, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"out.{suffix}"
    assert main(["partition", config, "-n", str(agents), "--plot", str(path)]) == 0
    assert path.read_bytes()[:4] == {"png": b"\x89PNG", "pdf": b"%PDF"}[suffix]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-s", "agents=auto"], "agents: is 'auto', one per rank; say how many with -n"),
        (["-s", "agents=2000"], "agents: 1293 training examples are not enough for 2000 agents"),
        (["-s", "data.split.alpha=-1"], "data.split.alpha: -1 is not allowed"),
        (["-s", "data.split=given"], "data.split.name: 'given' needs a data set that names owners"),
        (["--plot", "x.txt"], "--plot: 'x.txt' must end in one of"),
    ],
)
def test_a_mistake_is_one_sentence(
    config: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["partition", config, *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1
    assert printed.out == ""
