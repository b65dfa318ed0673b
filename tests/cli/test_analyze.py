"""`mpidl analyze` on run files: results beside the run, drawn by `mpidl plot`, and mistakes in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from mpidl.cli.analyze import analyze
from mpidl.cli.analyze_words import KINDS, CommandLine, read
from mpidl.cli.plot import plot
from mpidl.errors import MpidlError
from mpidl.results import findings
from mpidl.spoken import with_deviation
from tests.analysis.kept import kept_run
from tests.cli.test_results_commands import invoke

FEW = ("--points", 3, "--draws", 2, "--eigenvalues", 2, "--steps", 6, "--examples", 60)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept_run(tmp_path_factory.mktemp("analyze") / "first.h5")


@pytest.fixture(scope="module")
def analysed(run: Path) -> Path:
    result = invoke(analyze, run, *FEW)
    assert "no compression: " in result.stderr
    assert f"results in {run.with_name('first.analysis.h5')}" in result.stderr
    for words in ("hessian trace", "line barrier", "gradient variance", "accuracy ensemble"):
        assert words in result.output
    return run.with_name("first.analysis.h5")


def test_findings_lie_beside_the_run_which_is_left_alone(run: Path, analysed: Path) -> None:
    before = run.read_bytes()
    opened = findings.open(analysed)
    assert list(opened.kinds) == sorted(set(KINDS) - {"compression"})
    assert opened.run == "first.h5"
    trace = opened.kinds["sharpness"].number("hessian_trace")
    again = json.loads(invoke(analyze, run, "sharpness", "--json", *FEW, "--seed", 5).stdout)
    assert again["hessian_trace"] != trace
    assert again["settings"]["seed"] == 5
    opened = findings.open(analysed)
    assert opened.kinds["sharpness"].number("hessian_trace") == again["hessian_trace"]
    assert list(opened.kinds) == sorted(set(KINDS) - {"compression"})
    assert run.read_bytes() == before


def test_others_tools_find_units_axes_and_a_signal(analysed: Path) -> None:
    with h5py.File(analysed) as file:
        assert file.attrs["NX_class"] == "NXroot"
        assert file.attrs["default"] in file
        for group in file.values():
            assert group.attrs["NX_class"] == "NXdata"
            assert json.loads(group.attrs["provenance"])["versions"]["torch"]
            signal = group[group.attrs["signal"]]
            axes = [None if name == "." else group[name].shape for name in group.attrs["axes"]]
            assert len(axes) == signal.ndim and any(axes)
            assert all(axis in (None, (size,)) for axis, size in zip(axes, signal.shape, strict=True))
            for dataset in group.values():
                assert dataset.attrs["units"] and dataset.attrs["description"]
                assert list(dataset.attrs["scales"]) == [each.label for each in dataset.dims]


def test_they_are_drawn_as_a_whole_or_by_kind(analysed: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    from mpidl.analysis.figures import panels
    from tests.analysis.figures import looks

    invoke(plot, analysed, "-o", tmp_path / "all.svg", "-m", "alignment")
    assert (tmp_path / "all.svg").stat().st_size > 1000
    figure = panels.draw([findings.open(analysed)])
    shown = [axes for row in figure.subfigs for axes in row.axes if axes.get_title()]
    assert len(shown) == 12
    looks.check(figure)
    twice = panels.draw([findings.open(analysed)] * 2, ["uncertainty"])
    assert [row.get_suptitle() for row in twice.subfigs] == ["uncertainty of first: consensus after round 20"] * 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("sharpnes",), "KIND: 'sharpnes' is not known; did you mean 'sharpness'?"),
        (("--agents", "0,1"), "--agents: '0,1' is not three different agents"),
        (("landscape", "--agents", "0,1,9"), "has no agent 9; its agents are 0 to 3"),
        (("--round", "11"), "keeps no model of round 11 (10, 20)"),
        (("compression",), "nothing was compressed"),
        (("-o", "."), "-o: the output '.' is a folder"),
    ],
)
def test_a_mistake_is_one_sentence(run: Path, words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises((MpidlError, ValueError)) as caught:
        invoke(analyze, run, *words, *FEW)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_without_models_says_which_setting_keeps_them(tmp_path: Path) -> None:
    for rounds, own, words in (((), False, "checkpoint.final: true"), ((10,), False, "checkpoint.final: all")):
        path = kept_run(tmp_path / f"{len(rounds)}.h5", rounds, own)
        with pytest.raises(MpidlError, match=words):
            invoke(analyze, path, "uncertainty", *FEW)
    assert "no uncertainty: " in invoke(analyze, path, *FEW).stderr


def test_other_files_in_the_way_are_not_replaced(run: Path, tmp_path: Path) -> None:
    other = kept_run(tmp_path / "other.h5", (10,), seed=8)
    invoke(analyze, other, "alignment", *FEW)
    with h5py.File(findings.beside(other), "r+") as file:
        file.attrs["run_created"] = "2026-01-01T00:00:00Z"
    for output, words in ((other, "is no file of analyses"), (findings.beside(other), "is about another run")):
        before = output.read_bytes()
        with pytest.raises(MpidlError, match=words):
            invoke(analyze, run, "alignment", "-o", output, *FEW)
        assert output.read_bytes() == before


def test_a_damaged_file_of_analyses_is_one_sentence(analysed: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.analysis.h5"
    damaged.write_bytes(analysed.read_bytes())
    with h5py.File(damaged, "r+") as file:
        del file["sharpness"].attrs["settings"]
    with pytest.raises(MpidlError, match="is damaged, or no file of analyses of mpidl"):
        invoke(plot, damaged, "-o", tmp_path / "damaged.png")
    damaged.write_bytes(analysed.read_bytes())
    with h5py.File(damaged, "r+") as file:
        del file["alignment/cosines"]
        file["alignment/cosines"] = 1.0
        file["alignment/cosines"].attrs.update(scales=np.empty(0, dtype=h5py.string_dtype()))
    with pytest.raises(MpidlError, match="is damaged: its alignment cannot be drawn"):
        invoke(plot, damaged, "-o", tmp_path / "damaged.png")
    with h5py.File(damaged, "r+") as file:
        file.attrs.modify("mpidl_analysis", 9)
    with pytest.raises(MpidlError, match=r"^'[^']*' has schema 9, this mpidl reads up to 1: update mpidl$"):
        findings.open(damaged)


def test_runs_and_analyses_are_drawn_apart(run: Path, analysed: Path, tmp_path: Path) -> None:
    with pytest.raises(MpidlError, match="draw them apart"):
        invoke(plot, run, analysed.rename(tmp_path / "elsewhere.h5"), "-o", tmp_path / "both.png")
    # Beside a run that is named, it is named by the same pattern.
    (tmp_path / "elsewhere.h5").rename(analysed)
    invoke(plot, run, analysed, "-k", "flatness", "-o", tmp_path / "both.png")


def test_ranks_are_told_all_that_was_said() -> None:
    options = {"round": "10", "to": None, "points": 3, "set": ("a=1", "b=2"), "plug_ins": True, "json": False}
    words = CommandLine((Path("a.h5"), Path("b.h5")), ("alignment",), options).program()
    assert words[4:] == [
        *("analyze", "a.h5", "b.h5", "alignment", "--round", "10", "--points", "3", "--set", "a=1", "--set", "b=2"),
        "--plug-ins",
    ]


def test_runs_that_differ_in_their_seed_are_told_together(tmp_path: Path) -> None:
    for seed, rounds in ((3, (20,)), (4, (20,)), (5, ())):
        kept_run(tmp_path / f"{seed}.h5", rounds, seed=seed)
    done = invoke(analyze, tmp_path, "sharpness", *FEW)
    assert "5.h5' keeps no model" in done.stderr and done.stderr.count("results in ") == 2
    traces = [
        findings.open(tmp_path / f"{seed}.analysis.h5").kinds["sharpness"].number("hessian_trace") for seed in (3, 4)
    ]
    told = with_deviation(float(np.mean(traces)), float(np.std(traces, ddof=1)))
    assert "sharpness of 2 runs" in done.stdout and told in done.stdout
    # Of the one round that models are kept of, alignment is numbers.
    told = invoke(analyze, tmp_path, "alignment", *FEW).stdout
    assert "alignment of 2 runs; mean" in told and "gradient variance" in told
    # What it wrote lies among the runs, and is none.
    each = invoke(analyze, *sorted(tmp_path.glob("[34].*")), "sharpness", "--json", *FEW).stdout.splitlines()
    assert [json.loads(line)["hessian_trace"] for line in each] == traces
    for option in (("-o", tmp_path / "all.h5"), ("--agents", "0,1,2"), ("--to", tmp_path / "3.h5")):
        with pytest.raises(MpidlError, match=f"^{option[0]}: is for one run, and here are 3"):
            invoke(analyze, tmp_path, *option, *FEW)
    with pytest.raises(MpidlError, match="^RUN.h5: name a run to be analysed"):
        read(("sharpness",), None)


def test_analyses_lie_beside_runs_and_beside_their_checkpoints() -> None:
    for path, name in (
        ("first.h5", "first.analysis.h5"),
        ("first.hdf5", "first.analysis.h5"),
        ("first.ckpt/round-000000010", "first.round-000000010.analysis.h5"),
    ):
        assert findings.beside(Path("runs") / path) == Path("runs") / name
