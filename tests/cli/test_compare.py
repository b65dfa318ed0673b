"""`mpidl compare`: groups over seeds, budgets and targets, in every format, and in windows of any width."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpidl.analysis.comparison import TableColumn
from mpidl.cli import tables
from mpidl.cli.compare import compare
from mpidl.cli.main import main
from mpidl.errors import ConfigError
from mpidl.results.run_file import RunFile
from tests.analysis.runs import run
from tests.cli import test_results_commands as commands

invoke = partial(commands.invoke, compare)
HOSTILE = "a_b & 50% | [red]$x^2$ {\\end} ünïcode–"
ALGORITHMS = [
    {"name": "dsgd", "lr": 0.05, "momentum": 0.9},
    {"name": "dsgd", "lr": 0.2, "momentum": 0.9},
    {"name": "csgd", "lr": 0.4, "momentum": 0.0},
]


def make(path: Path, accuracies: Sequence[float], status: str = "finished", **config: Any) -> Path:
    """A run that has these accuracies, a record every 10 rounds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = RunFile.create(path, {"name": "first"} | config, {"hosts": ["a", "b"]}, None, 4)
    for record, accuracy in enumerate(accuracies):
        scales = {"round": 10 * record, "epoch": float(record), "seconds": 2.0 * record, "bytes": 1e6 * record}
        file.append({**scales, "test_accuracy_consensus": accuracy, "test_loss_consensus": 1 - accuracy})
    if status == "running":
        file.flush()
        file.close()
    else:
        file.finish(status)
    return path


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three methods with three seeds each; of the last one run has diverged."""
    monkeypatch.chdir(tmp_path)
    for method, algorithm in enumerate(ALGORITHMS):
        graph = {"graph": {"name": "ring"}} if algorithm["name"] == "dsgd" else {}
        for seed in (1, 2, 3):
            last = 0.8 + 0.05 * method + 0.01 * seed
            name = f"{algorithm['name']}/lr={algorithm['lr']}_seed={seed}.h5"
            diverged = (method, seed) == (2, 3)
            accuracies = [0.1, 0.5, math.nan] if diverged else [0.1, 0.5, last]
            status = "diverged" if diverged else "finished"
            make(tmp_path / "runs" / name, accuracies, status, algorithm=algorithm, seed=seed, **graph)
    return tmp_path / "runs"


def rows(*words: object) -> list[dict[str, str]]:
    return list(csv.DictReader(invoke(*words, "--format", "csv").output.splitlines()))


def test_runs_are_rows_of_mean_and_deviation_over_seeds(sweep: Path) -> None:
    text = invoke(sweep).output
    table = [re.split(r"  +", line.strip()) for line in text.splitlines() if "±" in line]
    assert [line[1] for line in table] == ["csgd lr 0.4", "dsgd lr 0.05 momentum 0.9", "dsgd lr 0.2 momentum 0.9"]
    assert table[1][:5] == ["lr=0.05_seed=*", "dsgd lr 0.05 momentum 0.9", "1-3", "3", "82.0 ± 1.0 %"]
    assert "91.50 ± 0.71 % (2 of 3)" in table[0] and "2 finished, 1 diverged" in table[0]
    for constant in (r"^agents +4 *$", r"^graph +ring \(of runs that have a graph\) *$", r"^ranks +2 *$"):
        assert re.search(constant, text, re.MULTILINE), text
    assert "means are of the runs that have finished" in text


def test_a_single_run_is_shown_as_it_stands(tmp_path: Path) -> None:
    text = invoke(run(tmp_path, "ring").path).output
    assert re.search(r"ring +90.00 % +0.1 +40 +6 kB +8 s", text)
    assert "±" not in text and "algorithm  dsgd, lr 0.1" in text


def test_each_run_can_have_a_row(sweep: Path) -> None:
    text = invoke(sweep, "--no-group").output
    assert len(re.findall(r"seed=\d", text)) == 9 and "±" not in text
    with pytest.raises(ConfigError, match="--by: groups runs"):
        invoke(sweep, "--no-group", "--by", "lr")


def test_groups_by_a_key_say_what_differs_in_them(sweep: Path) -> None:
    found = {row["label"]: row for row in rows(sweep, "--by", "algorithm")}
    assert found["dsgd"]["count"] == "6" and json.loads(found["dsgd"]["algorithm.lr"]) == [0.05, 0.2]
    assert float(found["dsgd"]["test_accuracy"]) == pytest.approx(0.845)
    assert "dsgd lr 0.05 momentum 0.9, dsgd lr 0.2 momentum 0.9" in invoke(sweep, "--by", "algorithm").output


def test_metrics_are_read_at_a_budget(sweep: Path) -> None:
    for when in ("10 rounds", "19 rounds", "1.5 MB", "2 s", "1 epochs"):
        found = rows(sweep, "--at", when)
        assert {row["test_accuracy"] for row in found} == {"0.5"}, when
        assert {row["test_accuracy_count"] for row in found} == {"3"} and {row["round"] for row in found} == {"10.0"}
    assert re.search(r"values +at 2 MB", invoke(sweep, "--at", "2 MB").output)
    far = invoke(sweep, "--at", "100 rounds").output
    assert "9 runs of 9 did not come to 100 rounds" in far


def test_what_it_took_to_a_target_is_told(sweep: Path) -> None:
    for target in ("0.5", "50%", "50 %", ".5"):
        assert {row["round_to_target"] for row in rows(sweep, "--to", target)} == {"10.0"}
    found = {row["algorithm.lr"]: row for row in rows(sweep, "--to", "0.915")}
    assert [found[lr]["round_to_target_count"] for lr in ("0.05", "0.2", "0.4")] == ["0", "0", "1"]
    assert found["0.4"]["bytes_to_target"] == "2000000.0" and found["0.05"]["bytes_to_target"] == ""
    assert "rounds to 91.50 %" in invoke(sweep, "--to", "0.915").output
    with pytest.raises(ConfigError, match="--to: 'high' is no number"):
        invoke(sweep, "--to", "high")
    for text, meant in (("90 accurcy", "90%"), ("0.9 accuracy", "0.9"), ("0,9", "0.9"), ("95 percent", "95%")):
        with pytest.raises(ConfigError, match=f"--to: '{text}' is no number; did you mean {re.escape(meant)}[?]"):
            invoke(sweep, "--to", text)
    with pytest.raises(ConfigError, match="--to: test_accuracy lies between 0 and 1.*; did you mean 95%"):
        invoke(sweep, "--to", "95")
    assert "rounds to 95 " in invoke(sweep, "-m", "test_loss", "--to", "95").output


def test_numbers_for_programs_are_whole(tmp_path: Path) -> None:
    for seed, accuracy in ((1, 1 / 3), (2, 2 / 3)):
        make(tmp_path / f"{seed}.h5", [accuracy], seed=seed)
    (row,) = map(json.loads, invoke(tmp_path, "--json").output.splitlines())
    assert row["test_accuracy"] == pytest.approx(0.5, abs=1e-15) and row["test_accuracy_count"] == 2
    assert row["test_accuracy_deviation"] == pytest.approx(1 / math.sqrt(18), abs=1e-15)
    assert row["settings"]["seed"] == [1, 2] and row["settings"]["agents"] == 4
    assert [Path(file).name for file in row["files"]] == ["1.h5", "2.h5"]
    assert invoke(tmp_path, "--json").output == invoke(tmp_path, "--format", "json").output


def test_markdown_and_latex_are_escaped(tmp_path: Path) -> None:
    for name, label in ((HOSTILE, "1"), ("plain", "2")):
        file = RunFile.create(tmp_path / f"{label}.h5", {"name": name, "seed": int(label)}, {}, None, 1)
        file.append({"round": 1, "test_accuracy_consensus": 0.5, "bytes": np.nan, "seconds": np.nan})
        file.finish()
    markdown = invoke(tmp_path, "--no-group", "--format", "markdown").output
    assert r"| a_b \& 50% \| \[red\]\$x^2\$ {\\end} ünïcode– |" in markdown
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    latex = invoke(tmp_path, "--no-group", "--format", "latex").output
    # A row that begins with a bracket or a star is no option of the line before it.
    assert r"a\_b \& 50\% \textbar{} {[}red]\$x\textasciicircum{}2\$ \{\textbackslash{}end\} ünïcode-- & " in latex
    assert latex.count("\\toprule") == latex.count("\\midrule") == latex.count("\\bottomrule") == 1
    columns = len(re.search(r"tabular}{([lr]+)}", latex)[1])  # type: ignore[index]
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in body] == [columns - 1] * 3


@pytest.mark.parametrize("width", [80, 120])
def test_no_word_is_broken_at_the_width_of_a_window(sweep: Path, width: int) -> None:
    lines = in_window(width, "compare", "runs", "--to", "0.9")
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    whole = invoke(sweep, "--to", "0.9").output.split()
    assert {word for word in text[: text.index("left out")].split() if "─" not in word} <= set(whole)
    # What tells most stands there; what is left out is said.
    assert "csgd lr 0.4" in text and "82.0 ± 1.0 %" in text and "2 finished," in text
    assert re.search(r"left out for want of room: .*run.*; a wider window", text.replace("\n", " "))


def in_window(width: int, *words: str) -> list[str]:
    """The lines of a command in a terminal of this width, each as it stands there."""
    import fcntl
    import pty
    import struct
    import termios

    receiving, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    environment |= {"TERM": "xterm", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "mpidl", *words]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        text = b""
        try:
            while part := os.read(receiving, 65536):
                text += part
        except OSError:
            # Nobody has the terminal any longer.
            pass
        os.close(receiving)
        assert process.wait(60) == 0, text
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode()).splitlines()]


def test_a_broken_file_does_not_hide_the_others(sweep: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (sweep / "dsgd" / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    make(sweep / "dsgd" / "running.h5", [0.1, 0.3], "running", algorithm=ALGORITHMS[0], seed=9, graph={"name": "ring"})
    for words, code in ((["runs"], 0), (["runs/*/*.h5"], 0), (sorted(map(str, sweep.rglob("*.h5"))), 2)):
        assert main(["compare", *words]) == code
        out, err = capfd.readouterr()
        assert re.search(r"^mpidl: left out: '.*broken.h5' cannot be read: .*\n$", err)
        assert "82.0 ± 1.0 % (3 of 4)" in out and "3 finished, 1 killed" in out
    assert main(["compare", "runs/dsgd/broken.h5"]) == 2
    assert capfd.readouterr().out == ""


def test_an_unknown_metric_is_answered_with_the_nearest(sweep: Path) -> None:
    with pytest.raises(ConfigError, match="--metric: 'test_acc' is not known; did you mean 'test_accuracy'"):
        invoke(sweep, "-m", "test_acc")
    assert "consensus" in invoke(sweep, "-m", "test_loss_consensus").output


def test_rows_are_told_apart_in_the_narrowest_window() -> None:
    columns = [
        TableColumn("run", ("first", "second"), 2, is_text=True, distinctive=True),
        TableColumn("algorithm", ("dsgd lr 0.1", "dsgd lr 0.1"), 8, is_text=True, distinctive=True),
        TableColumn("train.rounds", ("60", "2000"), 7, distinctive=True),
        TableColumn("accuracy", ("90.00 %", "95.00 %"), 10),
    ]
    shown = [[column.title for column in tables._those_that_fit(columns, width)] for width in (37, 36, 30)]
    assert shown == [["algorithm", "train.rounds", "accuracy"], ["run", "algorithm", "accuracy"], ["run", "accuracy"]]


def test_a_table_that_cannot_fit_keeps_what_tells_most() -> None:
    columns = [
        TableColumn("run", ("x" * 200, "y" * 200), 8, is_text=True),
        TableColumn("accuracy", ("90.00 %", "91.00 %"), 9),
        TableColumn("loss", ("0.1", "0.2"), 6),
    ]
    shown = tables._those_that_fit(columns, 20)
    assert [column.title for column in shown] == ["accuracy"]
    assert [column.title for column in tables._those_that_fit(columns, 60)] == ["run", "accuracy", "loss"]
    assert tables._shortened("abcdefghij", 5) == "ab…ij"
