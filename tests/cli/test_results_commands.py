"""`mpidl show`, `compare` and `plot` on run files: finished, running, killed."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from mpidl import results
from mpidl.cli import show as show_module
from mpidl.cli.compare import compare
from mpidl.cli.plot import plot
from mpidl.cli.show import show
from mpidl.cli.tables import console
from mpidl.errors import ConfigError, ResultsError
from mpidl.results.run_file import RunFile
from mpidl.results.snapshots import BEST, SNAPSHOTS
from mpidl.spoken import amount, duration, fraction, number
from tests.analysis.runs import run
from tests.results.kept import PLAIN, models

ROOT = Path(__file__).parents[2]


def invoke(command: object, *words: object) -> Result:
    result = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result


def test_show_tells_configuration_last_and_best_values_and_events(tmp_path: Path) -> None:
    text = invoke(show, run(tmp_path, "small").path).output
    for words in ("small", "finished; 5 records", "dsgd, lr 0.1", "3 over 2 ranks (2 on here)", "90.00 %", "2 ranks"):
        assert words in text
    assert "gradient" not in text


def test_ranks_print_for_the_window_they_were_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pretended(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Pretended())
    monkeypatch.setenv("MPIDL_LAUNCHED", "1")
    monkeypatch.delenv("MPIDL_OUTPUT", raising=False)
    assert not console().is_terminal and console().width == 200
    monkeypatch.setenv("MPIDL_OUTPUT", "90")
    assert console().is_terminal and console().width == 90


def test_show_tells_the_round_of_what_was_not_measured_in_the_last(tmp_path: Path) -> None:
    path = run(tmp_path, "small").path
    assert "in round 40" not in invoke(show, path).output
    writer = RunFile.open(path)
    writer.append({"round": 50, "epoch": 5.0, "seconds": 10.0, "bytes": 7500.0, "test_accuracy_consensus": 0.5})
    writer.finish("diverged")
    text = invoke(show, path).output
    assert re.search(r"consensus_distance \(in round 40\) +0.2 ", text), text
    assert re.search(r"test_accuracy_consensus +50.00 %", text), text
    assert re.search(r"test_accuracy_local \(mean of agents, in round 40\)", text), text


def test_show_tells_of_models_that_are_kept(tmp_path: Path) -> None:
    path = run(tmp_path, "small").path
    assert "models kept" not in invoke(show, path).output
    writer = RunFile.open(path)
    for round in (20, 40, 60, 80):
        writer.keep(SNAPSHOTS, PLAIN, models(round, PLAIN), 4)
    writer.keep(BEST, PLAIN, models(60, PLAIN), 2)
    writer.finish()
    words = "after round 20, …, after round 80, best round 60"
    assert re.search(rf"models kept +consensus; {words}", invoke(show, path).output)


def test_show_prints_lists_in_a_configuration_as_they_are(tmp_path: Path) -> None:
    file = run(tmp_path, "small", model={"name": "mlp", "hidden": ["red", "bold"]})
    assert "['red', 'bold']" in invoke(show, file.path).output


def test_show_timing_sums_over_records_by_rank(tmp_path: Path) -> None:
    text = invoke(show, "--timing", run(tmp_path, "small").path).output
    assert next(line.split() for line in text.splitlines() if "gradient" in line) == [
        *("gradient", "7.5", "s"),
        *("5", "s", "10", "s", "1"),
    ]


def test_show_json_is_json(tmp_path: Path) -> None:
    shown = json.loads(invoke(show, "--json", "--timing", run(tmp_path, "small").path).output)
    assert shown["records"] == 5
    assert shown["last"]["test_accuracy_consensus"] == 0.9
    assert shown["best"]["test_accuracy_consensus"] == {"value": 0.9, "round": 40}
    assert shown["config"]["graph"] == {"name": "ring"}
    assert shown["timing"]["gradient"] == [5, 10]


def test_json_has_null_for_what_is_not_a_number(tmp_path: Path) -> None:
    file = RunFile.create(tmp_path / "run.h5", {}, {}, None, 1)
    file.append({"round": 0, "train_loss": np.inf})
    file.finish("diverged")
    for command in (show, compare):
        json.loads(invoke(command, "--json", file.path).output, parse_constant=pytest.fail)


def test_show_tells_no_earlier_loss_where_the_last_is_no_number(tmp_path: Path) -> None:
    file = RunFile.create(tmp_path / "nan.h5", {"name": "nan"}, {}, None, 1)
    scales = {"epoch": 0, "seconds": 0, "bytes": 0}
    file.append(scales | {"round": 0, "test_accuracy_consensus": 0.5, "test_loss_consensus": 2.3})
    file.append(scales | {"round": 1, "test_accuracy_consensus": 0.1, "test_loss_consensus": np.nan})
    file.finish("diverged")
    assert re.search(r"test_loss_consensus +– +2.3 +0", invoke(show, file.path).output)


def test_show_follows_a_running_run_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show_module, "_WATCH_SECONDS", 0.02)
    program = (
        "import sys, time; from mpidl.results.run_file import RunFile\n"
        "run = RunFile.create(sys.argv[1], {}, {}, None, 1)\n"
        "for round in range(1, 5):\n"
        "    run.append({'round': round, 'train_loss': 1 / round}); run.flush()\n"
        "    print(round, flush=True); time.sleep(0.1)\n"
        "run.finish()"
    )
    path = tmp_path / "run.h5"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, cwd=ROOT) as writer:
        assert writer.stdout is not None
        # The writer has not even begun by now.
        text = invoke(show, "--watch", path).output
    assert f"waiting for '{path}', which is not there yet" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("round")] == ["1", "2", "3", "4"]
    assert text.splitlines()[-1] == "finished; 4 records"


@pytest.mark.parametrize("height", [10, 16, 30, 40, 90])
@pytest.mark.parametrize("width", [80, 120])
def test_what_is_watched_fits_the_window(tmp_path: Path, width: int, height: int) -> None:
    from rich.console import Console, Group

    (folder := tmp_path / "of a long name" / ("long" * 40)).mkdir(parents=True)
    path = run(folder, "small", model={"name": "mlp", "hidden": list(range(100, 140))}).path
    writer = RunFile.open(path)
    for place in range(20):
        writer.event("note", f"{place} " + "words " * 30)
    writer.finish()
    out = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    out.print(Group(*show_module._that_fit(results.open(path), True, out)))
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    text = " ".join(lines)
    assert len(lines) <= height and max(map(len, lines)) <= width
    assert "finished; 5 records" in lines[0] and re.search(r"test_accuracy_consensus +90.00 % +90.00 % +40", text)
    assert ("gradient" in text, "this window is too small for more" in text) == (height >= 30, height < 90)
    assert not re.search(r"\bword\b|\bfinishe\b|\brecor\b", text)


def test_show_tells_a_killed_run(tmp_path: Path) -> None:
    file = RunFile.create(tmp_path / "run.h5", {}, {}, None, 1)
    assert "running, last written" in invoke(show, file.path).output
    file.close()
    assert "killed" in invoke(show, file.path).output
    assert "killed" in invoke(show, "--watch", file.path).output
    (tmp_path / "run.h5.lock").write_text("process 7 on node3")
    assert "running, last written" in invoke(show, file.path).output
    os.utime(tmp_path / "run.h5.lock", (0, time.time() - 3600))
    silent = "silent: process 7 on node3 has given no sign of life for 1 h 00 min; it is gone, or stopped; 0 records"
    assert silent in " ".join(invoke(show, file.path).output.split())
    assert silent in " ".join(invoke(show, "--watch", file.path).output.split())


def test_plot_draws_and_names_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    picture = tmp_path / "picture.png"
    assert invoke(plot, run(tmp_path, "a").path, "-o", picture).output.strip() == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_plot_takes_folders_and_leaves_out_only_what_it_was_not_told_to_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    monkeypatch.chdir(tmp_path)
    whole = run(tmp_path, "a").path
    (tmp_path / "damaged.h5").write_bytes(whole.read_bytes()[:20_000])
    done = invoke(plot, tmp_path, "-k", "timing")
    assert done.stdout == "timing.png\n" and Path("timing.png").stat().st_size
    assert re.fullmatch(r"mpidl: left out: '\S*damaged.h5' [^\n]*\n", done.stderr)
    with pytest.raises(ResultsError, match="damaged.h5"):
        invoke(plot, whole, "damaged.h5", "-o", "both.png")
    with pytest.raises(ConfigError, match="^--by: groups runs, which --no-group asks not to do"):
        invoke(plot, whole, "--no-group", "--by", "lr")
    assert not Path("both.png").exists()


@pytest.mark.parametrize("command", [show, compare, plot])
def test_a_missing_file_is_one_sentence(command: object, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path / "nothing.h5")])  # type: ignore[arg-type]
    assert isinstance(result.exception, ResultsError)


def test_numbers_read_well() -> None:
    assert [number(value) for value in (0.0, 12345.0, 0.123456, 1e-9, float("nan"))] == [
        "0",
        "12,345",
        "0.1235",
        "1e-09",
        "–",
    ]
    assert [amount(value) for value in (0, 999, 1500, 2.5e9, 3e15)] == ["0 B", "999 B", "1.5 kB", "2.5 GB", "3e+03 TB"]
    # What rounds to a thousand of a unit is one of the next.
    assert [amount(value) for value in (999.4, 999.7, 999.4e3, 999.7e3)] == ["999 B", "1 kB", "999 kB", "1 MB"]
    assert [amount(value) for value in (999.4, 999.5, 999.4e3, 999.7e3)] == ["999 B", "1 kB", "999 kB", "1 MB"]
    assert [duration(value) for value in (0.5, 99, 250, 7500)] == ["0.5 s", "99 s", "4 min 10 s", "2 h 05 min"]
    assert fraction(0.93914) == "93.91 %"
