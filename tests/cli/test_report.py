"""`mpidl report` on the command line: one page, and mistakes in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the plot extra is not installed")

from mpidl.cli import report as command
from mpidl.errors import ConfigError, MpidlError
from tests.analysis.runs import run
from tests.cli.test_results_commands import invoke


def test_a_folder_of_runs_is_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        run(Path("runs"), f"s{seed}", seed=seed)
    Path("runs/torn.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"x" * 100)
    said = invoke(command.report, "runs", "--title", "Two <seeds>")
    assert said.stdout == "report.html\n"
    page = Path("report.html").read_text(encoding="utf-8")
    assert "<h1>Two &lt;seeds&gt;</h1>" in page and "Left out: &#x27;runs/torn.h5&#x27;" in page
    assert [path.name for path in tmp_path.glob("report*")] == ["report.html"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("runs", "-o", "page.pdf"), "-o: 'page.pdf' must end in one of .html, .htm"),
        (("nowhere.h5",), "'nowhere.h5' is not there"),
        (("runs/*.hdf",), "no file is called as the pattern"),
        (
            ("runs", "-o", "runs/s1.h5/page.html"),
            "the output 'runs/s1.h5/page.html' cannot be written: Not a directory",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    words: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(Path("runs"), "s1")
    monkeypatch.setattr("mpidl.analysis.report.page", lambda *_: "")
    with pytest.raises(MpidlError) as caught:
        invoke(command.report, *words)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_more_runs_than_anybody_reads_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpidl.analysis.report.MOST_RUNS", 1)
    for seed in (1, 2):
        run(tmp_path, f"s{seed}", seed=seed)
    with pytest.raises(ConfigError, match="2 runs are more than a page is for; name up to 1"):
        invoke(command.report, tmp_path, "-o", tmp_path / "page.html")
